"""The text part of a campaign that has HTML only.

Walking every recipient's HTML would cost some thirty times the rest of a message. Where the template allows it, it is
walked once, with its jinja tags as holes: what comes out is a template of marked text, and a recipient costs one more
rendering. It allows it as long as every hole stands in plain words, or within the quotes of an attribute, and nothing
put in can be markup. Otherwise each recipient's HTML is walked. The text is the same either way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from jinja2 import TemplateSyntaxError, nodes

from mailer.content.html_text import MARKS, Marker, fold, link_texts, mark, settle
from mailer.content.template import Template, environment, parse
from mailer.errors import InputError

__all__ = ["TextOfHtml", "text_template"]

_OPEN: Final = "\x08"
_CLOSE: Final = "\x0e"
_HOLE: Final = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
_NOT_MINE: Final = re.compile(f"[{MARKS}]")
# A hole as, or in, the name of a tag or of a character: what it makes decides what the HTML is.
_IN_MARKUP: Final = re.compile(f"<[!/]?[^\\s>]*{_OPEN}|&#?\\w*{_OPEN}")
_QUOTED: Final = re.compile(r"\"[^\"]*\"|'[^']*'")
# Blanks that a tag takes away were taken when it was found; in the text it must not take others.
_TRIMMING: Final = re.compile(r"^(\{[{%])[-+]|[-+]?([%}]\})\s*$")
_KEYWORD: Final = re.compile(r"\{%[-+]?\s*(\w+)")
# Tags that may be dropped with what is around them, if they are dropped as a whole.
_BALANCE: Final = {"if": ("if", 1), "endif": ("if", -1), "for": ("for", 1), "endfor": ("for", -1)}

# Filters that give the same to a text as to HTML. All others may make markup, or escape what a text must not.
_FILTERS_ALLOWED: Final = frozenset({
    "abs", "attr", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "first", "float", "format",
    "groupby", "indent", "int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject",
    "rejectattr", "replace", "reverse", "round", "select", "selectattr", "slice", "sort", "string", "sum", "title",
    "trim", "truncate", "unique", "upper", "urlencode", "wordcount",
})  # fmt: skip
_NODES_REFUSED: Final = (
    nodes.AssignBlock,
    nodes.Block,
    nodes.CallBlock,
    nodes.FilterBlock,
    nodes.Macro,
    nodes.ScopedEvalContextModifier,
)


class _NotByTemplate(Exception):
    """This HTML has to be walked for each recipient."""


class TextOfHtml:
    """Gives the text for each recipient."""

    def __init__(self, html: str, fixed: Mapping[str, Any]) -> None:
        source = text_template(html)
        self._template = Template(source, "the HTML", escape=False, fixed=fixed) if source is not None else None

    @property
    def by_template(self) -> bool:
        """Whether the HTML is not walked for each recipient."""
        return self._template is not None

    def text(self, values: dict[str, Any], html: str) -> str:
        """The text for one recipient, whose HTML is `html`. Raises Unfit."""
        return settle(self._template.render(values) if self._template is not None else mark(html))


def text_template(html: str) -> str | None:
    """The template of marked text that belongs to the template `html`, or None if there is none."""
    try:
        _refuse_markup_from_holes(html)
        source, holes = _with_holes(html)
        marker = _TemplateMarker(holes)
        marker.feed(source)
        marker.close()
        marked = fold(link_texts(marker.finished(), leave=_OPEN))
        made = _HOLE.sub(lambda hole: holes[int(hole[1])], marked)
        parse(made, "", escape=False)
    except (_NotByTemplate, InputError, TemplateSyntaxError):
        return None
    return made


def _refuse_markup_from_holes(html: str) -> None:
    tree = environment(escape=True).parse(html)
    for _ in tree.find_all(_NODES_REFUSED):
        raise _NotByTemplate
    for used in tree.find_all(nodes.Filter):
        if used.name not in _FILTERS_ALLOWED:
            raise _NotByTemplate


def _with_holes(html: str) -> tuple[str, list[str]]:
    """`html` with its jinja tags numbered, and the tags. Comments of jinja's are gone."""
    if _NOT_MINE.search(html):
        raise _NotByTemplate
    pieces: list[str] = []
    holes: list[str] = []
    inside = False
    for _line, kind, value in environment(escape=True).lex(html):
        match kind:
            case "data":
                pieces.append(value)
            case "variable_begin" | "block_begin":
                inside = True
                holes.append(value)
            case "variable_end" | "block_end":
                inside = False
                holes[-1] = _TRIMMING.sub(r"\1\2", holes[-1] + value)
                pieces.append(f"{_OPEN}{len(holes) - 1}{_CLOSE}")
            case "comment_begin" | "comment" | "comment_end":
                pass
            case _ if inside:
                holes[-1] += value
            case _:
                raise _NotByTemplate  # a raw block: rare, and not worth a rule of its own
    return "".join(pieces), holes


class _TemplateMarker(Marker):
    """Walks HTML with holes in it."""

    def __init__(self, holes: list[str]) -> None:
        super().__init__()
        self._holes = holes
        self._dropped: list[str] = []
        self._in_link: list[str] = []

    def feed(self, data: str) -> None:
        if _IN_MARKUP.search(data):
            raise _NotByTemplate
        super().feed(data)

    def finished(self) -> str:
        """The marked text, once everything was fed."""
        if self._unseen:
            raise _NotByTemplate
        return self.marked

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if _OPEN in _QUOTED.sub("", self.get_starttag_text() or ""):
            raise _NotByTemplate  # what is put in without quotes may make another attribute
        for name, value in attrs:
            self._attribute(tag, name, value or "")
        super().handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        super().handle_endtag(tag)
        if not self._unseen:
            self._check_dropped()

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            # A brace of the page's own beside a hole would be read as jinja's.
            if "{" in data or (self._pre_depth and _OPEN in data):
                raise _NotByTemplate
            if self._target is not None:
                self._in_link += self._holes_in(data)
        super().handle_data(data)

    def handle_comment(self, data: str) -> None:
        self.unseen_data(data)
        if not self._unseen:
            self._check_dropped()

    def unknown_decl(self, data: str) -> None:
        self.handle_comment(data)

    def unseen_data(self, data: str) -> None:
        self._dropped += self._holes_in(data)

    def _attribute(self, tag: str, name: str, value: str) -> None:
        if name == "style" and _OPEN in value:
            raise _NotByTemplate  # it may be what hides the element
        if not self._unseen and (tag, name) in (("a", "href"), ("img", "alt")):
            if "{" in value:
                raise _NotByTemplate
            _refuse_unless_whole(self._holes_in(value))
        else:
            self.unseen_data(value)
            if not self._unseen:
                self._check_dropped()

    def _end_link(self) -> None:
        # A link that begins in one branch and ends in another has as many targets as there are ways through.
        _refuse_unless_whole(self._in_link)
        self._in_link.clear()
        super()._end_link()

    def _check_dropped(self) -> None:
        _refuse_unless_whole(self._dropped)
        self._dropped.clear()

    def _holes_in(self, text: str) -> list[str]:
        return [self._holes[int(hole[1])] for hole in _HOLE.finditer(text)]


def _refuse_unless_whole(holes: list[str]) -> None:
    """What these tags open they must close, and they must set nothing for what follows."""
    open_: list[str] = []
    for hole in holes:
        keyword = _KEYWORD.match(hole)
        if keyword is None:
            continue  # an expression
        if keyword[1] in ("else", "elif") and open_:
            continue
        name, step = _BALANCE.get(keyword[1], ("", 0))
        if step == 1:
            open_.append(name)
        elif step == -1 and open_ and open_[-1] == name:
            open_.pop()
        else:
            raise _NotByTemplate
    if open_:
        raise _NotByTemplate
