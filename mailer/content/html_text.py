"""Plain text from HTML: what a reader of the text part sees instead.

In two steps. The first walks the HTML and writes "marked text": the words, and between them single characters that say
what stood there (a paragraph's end, a list item, a link). It knows nothing of what comes before or behind, so it can be
done to a template once, around the holes in it (`html_template`). The second step, `settle`, looks at the whole: it
folds blanks, turns marks into line breaks, numbers list items and writes links.

The marks are Unicode's noncharacters, which no text may hold in interchange. A field that holds one all the same gets
a line break there, and nothing worse.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

__all__ = ["MARKS", "Marker", "mark", "settle"]

PARAGRAPH: Final = "\ufdd0"
BLOCK: Final = "\ufdd1"
BREAK: Final = "\ufdd2"
CELL: Final = "\ufdd3"
ITEM: Final = "\ufdd4"
NUMBERED: Final = "\ufdd5"
BULLETS: Final = "\ufdd6"
LIST_END: Final = "\ufdd7"
LINK: Final = "\ufdd8"
LINK_TARGET: Final = "\ufdd9"
LINK_END: Final = "\ufdda"
KEPT_BLANK: Final = "\ufddb"
KEPT_BREAK: Final = "\ufddc"
MARKS: Final = "\ufdd0-\ufddc"

RULE: Final = "-" * 40

_PARAGRAPHS: Final = frozenset(
    (
        "p",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "blockquote",
        "pre",
        "table",
        "form",
        "fieldset",
        "address",
        "dl",
        "figure",
        "hr",
        "article",
        "section",
    )
)
_BLOCKS: Final = frozenset(
    (
        "div",
        "tr",
        "header",
        "footer",
        "main",
        "nav",
        "aside",
        "center",
        "dt",
        "dd",
        "caption",
        "figcaption",
        "thead",
        "tbody",
        "tfoot",
        "body",
        "html",
        "legend",
    )
)
_UNSEEN: Final = frozenset(("head", "title", "style", "script", "template", "svg", "noframes"))
_HIDDEN: Final = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_NOT_FOLLOWED: Final = re.compile(r"\s*(?:#|javascript:|cid:|data:|$)", re.IGNORECASE)

_BLANKS: Final = " \\t\\n\\r\\f"
_RUN: Final = re.compile(
    f"[{_BLANKS}]*[\ufdd0-\ufdd3][{_BLANKS}\ufdd0-\ufdd3]*|[\\t\\n\\r\\f][{_BLANKS}]*| [{_BLANKS}]+"
)
_LIST: Final = re.compile(f"{ITEM}[{_BLANKS}\ufdd0\ufdd1\ufdd3]*|[{NUMBERED}{BULLETS}{LIST_END}]")
_LINK: Final = re.compile(f"{LINK}([^\ufdd8-\ufdda]*){LINK_TARGET}([^\ufdd8-\ufdda]*){LINK_END}")
_LINK_MARKS: Final = re.compile("[\ufdd8-\ufdda]")
_TRAILING: Final = re.compile(f"[{_BLANKS}\ufdd0-\ufdd3]*$")
_AT_END_OF_LINE: Final = re.compile(r" +(?=\n|$)")


def text_of_html(html: str) -> str:
    """The text of a finished HTML document."""
    return settle(mark(html))


def mark(html: str) -> str:
    """Marked text of `html`."""
    marker = Marker()
    marker.feed(html)
    marker.close()
    return marker.marked


class Marker(HTMLParser):
    """Writes marked text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._made: list[str] = []
        self._unseen = ""
        self._unseen_depth = 0
        self._target: str | None = None
        self._pre_depth = 0

    @property
    def marked(self) -> str:
        """What was written. Call `close` first."""
        if self._target is not None:
            self._end_link()
        return "".join(self._made)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._unseen:
            if tag == self._unseen:
                self._unseen_depth += 1
            elif self._unseen == "head" and tag == "body":
                self._unseen = ""  # its end tag may be left out
            return
        given = {name: value or "" for name, value in attrs}
        if self.is_unseen(tag, given):
            self._unseen, self._unseen_depth = tag, 1
            return
        match tag:
            case "br":
                self._made.append(BREAK)
            case "img":
                self._made.append(given.get("alt", ""))
            case "a":
                self._end_link()
                if "href" in given:
                    self._target = given["href"]
                    self._made.append(LINK)
            case "hr":
                self._made.append(f"{PARAGRAPH}{RULE}{PARAGRAPH}")
            case "ul" | "menu":
                self._made.append(BULLETS)
            case "ol":
                self._made.append(NUMBERED)
            case "li":
                self._made.append(ITEM)
            case "td" | "th":
                self._made.append(CELL)
            case _:
                self._pre_depth += tag == "pre"
                self._block(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # HTML knows no `<div/>`: it is a start tag, only void elements end by themselves, and those have no end tag.
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._unseen:
            if tag == self._unseen:
                self._unseen_depth -= 1
                if self._unseen_depth == 0:
                    self._unseen = ""
            return
        match tag:
            case "a":
                self._end_link()
            case "ul" | "ol" | "menu":
                self._made.append(LIST_END)
            case "li":
                self._made.append(BLOCK)
            case "br" | "hr" | "img":
                pass
            case _:
                self._pre_depth = max(0, self._pre_depth - (tag == "pre"))
                self._block(tag)

    def handle_data(self, data: str) -> None:
        if self._unseen:
            self.unseen_data(data)
        elif self._pre_depth:
            text = data.replace("\r\n", "\n").expandtabs().replace(" ", KEPT_BLANK).replace("\n", KEPT_BREAK)
            self._made.append(text)
        else:
            self._made.append(data)

    def is_unseen(self, tag: str, given: dict[str, str]) -> bool:
        """Whether a reader sees nothing of the element."""
        return tag in _UNSEEN or (tag not in _VOID and _HIDDEN.search(given.get("style", "")) is not None)

    def unseen_data(self, data: str) -> None:
        """Text that nobody sees."""

    def _block(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._made.append(PARAGRAPH)
        elif tag in _BLOCKS:
            self._made.append(BLOCK)

    def _end_link(self) -> None:
        if self._target is not None:
            self._made.append(f"{LINK_TARGET}{self._target}{LINK_END}")
            self._target = None


_VOID: Final = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)


def settle(marked: str) -> str:
    """The text that `marked` stands for; it ends in a line break, if it is not empty."""
    text = marked.replace("\xa0", " ")
    if LINK in text:
        text = _LINK_MARKS.sub("", _LINK.sub(_written_link, text))
    if ITEM in text:
        text = _List().written(text)
    text = _RUN.sub(_written_run, text)
    if KEPT_BLANK in text or KEPT_BREAK in text:
        text = _AT_END_OF_LINE.sub("", text.replace(KEPT_BLANK, " ").replace(KEPT_BREAK, "\n"))
        text = text.strip("\n")
    else:
        text = text.strip(" \n")
    return text + "\n" if text else ""


def _written_run(run: re.Match[str]) -> str:
    marks = run[0]
    lines = 2 if PARAGRAPH in marks else max(BLOCK in marks, min(2, marks.count(BREAK)))
    return "\n" * lines if lines else " "


def _written_link(link: re.Match[str]) -> str:
    text, target = link[1], link[2].strip()
    if _NOT_FOLLOWED.match(target):
        return text
    plain = " ".join(_RUN.sub(" ", text).split())
    end = _TRAILING.search(text)
    behind = end[0] if end else ""
    if not plain:
        return target + behind
    shown = target.removeprefix("mailto:").removeprefix("tel:")
    if plain in (target, shown, shown.partition("://")[2], shown.partition("://")[2].rstrip("/")):
        # `example.com` for https://example.com: the whole address is of more use.
        return text if plain in (target, shown) else target + behind
    return f"{text[: len(text) - len(behind)]} ({target}){behind}"


class _List:
    """Lists, one in another."""

    def __init__(self) -> None:
        self._counters: list[int | None] = []

    def written(self, text: str) -> str:
        return _LIST.sub(self._mark, text)

    def _mark(self, found: re.Match[str]) -> str:
        match found[0][0]:
            case "\ufdd5" | "\ufdd6":
                self._counters.append(0 if found[0] == NUMBERED else None)
                return PARAGRAPH if len(self._counters) == 1 else BLOCK
            case "\ufdd7":
                if self._counters:
                    self._counters.pop()
                return BLOCK if self._counters else PARAGRAPH
        if not self._counters:
            self._counters.append(None)  # an item without a list
        number = self._counters[-1]
        sign = "-"
        if number is not None:
            self._counters[-1] = number + 1
            sign = f"{number + 1}."
        return f"{BLOCK}{KEPT_BLANK * 2 * (len(self._counters) - 1)}{sign}{KEPT_BLANK}"
