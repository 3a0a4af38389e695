"""Plain text from HTML: what a reader of the text part sees instead.

In two steps. The first walks the HTML and writes "marked text": the words, and between them marks that say what stood
there (a paragraph's end, a list item, a link). It knows nothing of what comes before or behind, so it can be done to a
template once, around the holes in it (`html_template`). The second step, `settle`, looks at the whole: it folds blanks,
turns marks into line breaks, numbers list items and writes links.

A mark begins with a control character, which no text has a use for; a field that holds one all the same loses it, or
gets a line break there, and nothing worse. One leading character for all marks of a kind is what makes `settle` cheap:
searching for it costs nothing, searching for one of several costs more than all the rest.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

__all__ = ["MARKS", "Marker", "fold", "link_texts", "mark", "settle", "text_of_html"]

# Ends of lines.
PARAGRAPH: Final = "\x01p"
BLOCK: Final = "\x01b"
BREAK: Final = "\x01r"
# Lists and their items.
ITEM: Final = "\x02i"
NUMBERED: Final = "\x02n"
BULLETS: Final = "\x02u"
LIST_END: Final = "\x02e"
# Before a link's words, between them and its target, behind the target.
LINK: Final = "\x03"
LINK_TARGET: Final = "\x04"
LINK_END: Final = "\x05"
# Not folded with others.
KEPT_BLANK: Final = "\x06"
KEPT_BREAK: Final = "\x07"
# All of the above and two more, for a character class.
MARKS: Final = r"\x01-\x08\x0e"

RULE: Final = "-" * 40

_PARAGRAPHS: Final = frozenset({
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "table", "form", "fieldset", "address", "dl",
    "figure", "hr", "article", "section",
})  # fmt: skip
_BLOCKS: Final = frozenset({
    "div", "tr", "header", "footer", "main", "nav", "aside", "center", "dt", "dd", "caption", "figcaption", "thead",
    "tbody", "tfoot", "body", "html", "legend",
})  # fmt: skip
_UNSEEN: Final = frozenset(("head", "title", "style", "script", "template", "svg", "noframes"))
_HIDDEN: Final = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_NOT_FOLLOWED: Final = re.compile(r"\s*(?:#|javascript:|cid:|data:|$)", re.IGNORECASE)

_RUN: Final = re.compile(r"\x01.(?: |\x01.)+")
_ANY_LINES: Final = re.compile(r"\x01.")
_LINES_AT_END: Final = re.compile(r"(?: |\x01.)*$")
_LIST: Final = re.compile(r"\x02(?:i(?: |\x01[pb])*|.)")
_LINK: Final = re.compile(r"\x03([^\x03-\x05]*)\x04([^\x03-\x05]*)\x05")


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
                self._made.append(" ")
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
                if tag == "pre" and self._pre_depth:
                    self._pre_depth -= 1
                    if self._made[-1].endswith(KEPT_BREAK):  # the line break before the end tag is the block's own
                        self._made[-1] = self._made[-1][:-1]
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


_VOID: Final = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr",
})  # fmt: skip


def fold(marked: str) -> str:
    """`marked` with each run of blanks and line marks as one of them: the same text in fewer characters.

    Folding pieces and then what they make together gives the same as folding the whole.
    """
    return _RUN.sub(_folded, _without_blanks_before_marks(marked))


def settle(marked: str) -> str:
    """The text that `marked` stands for; it ends in a line break, if it is not empty."""
    text = _without_blanks_before_marks(marked)
    if LINK in text:
        text = link_texts(text)
        for left_over in (LINK, LINK_TARGET, LINK_END):
            text = text.replace(left_over, "")
    if ITEM in text:
        text = _List().written(text)
    text = _RUN.sub(_folded, text)
    text = text.replace(PARAGRAPH, "\n\n").replace(BLOCK, "\n").replace(BREAK, "\n").strip(" \n")
    if KEPT_BLANK in text or KEPT_BREAK in text:
        text = text.replace(KEPT_BLANK, " ").replace(KEPT_BREAK, "\n")
        while " \n" in text:
            text = text.replace(" \n", "\n")
        text = text.rstrip(" \n").lstrip("\n")
    return text + "\n" if text else ""


def _without_blanks_before_marks(text: str) -> str:
    for blank in "\xa0\t\n\r\f":
        if blank in text:
            text = text.replace(blank, " ")
    while "  " in text:
        text = text.replace("  ", " ")
    return text.replace(" \x01", "\x01")


def link_texts(marked: str, leave: str = LINK) -> str:
    """`marked` with its links written out, but for those that hold the character `leave`."""
    return _LINK.sub(lambda link: link[0] if leave in link[0][1:] else _written_link(link), marked)


def _folded(run: re.Match[str]) -> str:
    marks = run[0]
    if PARAGRAPH in marks:
        return PARAGRAPH
    breaks = marks.count(BREAK)
    if breaks:
        return PARAGRAPH if breaks > 1 else BREAK
    return BLOCK


def _written_link(link: re.Match[str]) -> str:
    text, target = link[1], link[2].strip()
    if _NOT_FOLLOWED.match(target):
        return text
    end = _LINES_AT_END.search(text)
    inner = text[: end.start()] if end is not None else text
    behind = text[len(inner) :]
    plain = " ".join(_ANY_LINES.sub(" ", inner).split())
    if not plain:
        return target + behind
    shown = target.removeprefix("mailto:").removeprefix("tel:")
    if plain in (target, shown):
        return text
    # `example.com` for https://example.com: the whole address is of more use.
    if plain == shown.partition("://")[2].rstrip("/"):
        return target + behind
    return f"{inner} ({target}){behind}"


class _List:
    """Lists, one in another."""

    def __init__(self) -> None:
        self._counters: list[int | None] = []

    def written(self, text: str) -> str:
        """`text` with its items numbered and indented."""
        return _LIST.sub(self._mark, text)

    def _mark(self, found: re.Match[str]) -> str:
        mark = found[0][:2]
        if mark in (NUMBERED, BULLETS):
            self._counters.append(0 if mark == NUMBERED else None)
            return PARAGRAPH if len(self._counters) == 1 else BLOCK
        if mark == LIST_END:
            if self._counters:
                self._counters.pop()
            return BLOCK if self._counters else PARAGRAPH
        if mark != ITEM:
            return ""
        if not self._counters:
            self._counters.append(None)  # an item without a list
        number = self._counters[-1]
        sign = "-"
        if number is not None:
            self._counters[-1] = number + 1
            sign = f"{number + 1}."
        return f"{BLOCK}{KEPT_BLANK * 2 * (len(self._counters) - 1)}{sign}{KEPT_BLANK}"
