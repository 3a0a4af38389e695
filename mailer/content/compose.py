"""A campaign's message, compiled once and composed for each recipient.

What is the same for all recipients is bytes before the first one comes: the structure, the files, the headers that no
field can change. A recipient costs the rendering of two or three templates, one encoding of what came out, and a join.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Any, Final

from mailer.content.body import encode_text
from mailer.content.columns import check_columns
from mailer.content.content import Content
from mailer.content.headers import HeaderTrouble, check_header_name, check_header_text, mailbox_header, text_header
from mailer.content.html_template import TextOfHtml
from mailer.content.skeleton import build_skeleton
from mailer.content.template import Template
from mailer.content.unfit import Unfit
from mailer.core.address import BadAddress, Mailbox, header_address, parse_mailbox
from mailer.core.message import FIRST_LINE, Composed
from mailer.errors import InputError

__all__ = ["Compiled", "Occasion", "Rendered", "compile_content"]

# What a compiled template takes: so much by itself, and its source so many times. Measured, about.
_TEMPLATE_BYTES: Final = 10_000
_SOURCE_WEIGHT: Final = 10
# Addresses that need no look at their domain: what nearly all are. Everything else goes through core.address.
_PLAIN_ADDRESS: Final = re.compile(r"[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]{1,180}", re.ASCII)
_BREAK: Final = re.compile(r"[\r\n\0]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Occasion:
    """When and as what a content is sent."""

    campaign: str
    today: date
    """The date at queueing, in the campaign's zone."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One recipient's message as a person reads it."""

    subject: str
    to: str
    text: str
    html: str | None


def compile_content(content: Content, blobs: Mapping[str, bytes], occasion: Occasion) -> Compiled:
    """Everything of `content` that needs no recipient. `blobs` holds the bytes of its files by digest.

    Raises InputError: a template with its line, an address, a header's name or value, a file that is missing.
    """
    return Compiled(content, blobs, occasion)


class Compiled:
    """A content that messages are composed from. Made by `compile_content`. Safe to use from several threads."""

    def __init__(self, content: Content, blobs: Mapping[str, bytes], occasion: Occasion) -> None:
        self._fixed: dict[str, Any] = {
            **content.variables,
            "campaign": occasion.campaign,
            "today": occasion.today,
        }
        self._variables = frozenset(content.variables)
        if content.text is None and content.html is None:
            raise InputError("there is nothing to send: neither a text nor HTML.", "Give --text, --html or both.")
        self._subject = self._template(content.subject, "the subject", one_line=True)
        self._html = self._template(content.html, "the HTML", escape=True) if content.html is not None else None
        self._text = self._template(content.text, "the text") if content.text is not None else None
        self._text_of_html = TextOfHtml(content.html or "", self._fixed) if self._text is None else None
        self._to_name = self._template(content.to_name, "the To name") if content.to_name is not None else None
        self._headers = tuple(self._own_header(name, value) for name, value in content.headers)
        self._skeleton = build_skeleton(content, blobs)
        author = _mailbox("--from", content.sender)
        answered = _mailbox("--reply-to", content.reply_to) if content.reply_to else None
        self._first = FIRST_LINE + mailbox_header("From", author.name, author.address)
        self._middle = mailbox_header("Reply-To", answered.name, answered.address) if answered is not None else b""
        beyond_ascii = (box.address for box in (author, answered) if box and not box.address.isascii())
        self._utf8_address = next(beyond_ascii, None)
        self._sources = tuple(
            each
            for each in (self._subject, self._text, self._html, self._to_name, *map(_second, self._headers))
            if each
        )
        self.required: frozenset[str] = frozenset().union(*(each.needed for each in self._sources))
        """Fields that every row must have."""
        self.size_bytes: int = len(self._skeleton.tail) + sum(
            _TEMPLATE_BYTES + _SOURCE_WEIGHT * len(each.source) for each in self._sources
        )
        """What it takes in memory, about."""

    def check_columns(self, known: Collection[str]) -> None:
        """Raises InputError for the first field that a template needs and `known` does not have."""
        check_columns(known, ((each.where, each.needed) for each in self._sources), self._variables)

    def compose(
        self,
        address: str,
        fields: Mapping[str, Any],
        *,
        message_id: str,
        mailer_id: str,
        date: datetime,
        subject_prefix: str = "",
    ) -> Composed:
        """The message for `address`, ready for the wire. `message_id` has its angle brackets; `date` is aware.

        Raises Unfit if this row cannot be rendered, or what comes out may not be sent.
        """
        values = {**fields, **self._fixed, "address": address}
        subject, text, html = self._rendered(values, fields)
        to = _header_address(address)
        head = [
            self._first,
            self._to(to, values, fields),
            text_header("Subject", subject_prefix + subject),
            f"Date: {_date(date)}\r\nMessage-ID: {message_id}\r\n".encode("ascii"),
            self._middle,
        ]
        for name, template in self._headers:
            head.append(self._header(name, template, values, fields))
        head.append(f"X-Mailer-Id: {mailer_id}\r\n".encode("ascii"))
        skeleton = self._skeleton
        pieces = [*head, skeleton.before_text, _body(text, "the text", fields)]
        if html is not None:
            pieces += [skeleton.before_html, _body(html, "the HTML", fields)]
        first = b"".join(pieces)
        return Composed(
            (first, skeleton.tail) if skeleton.tail else (first,),
            len(first) + len(skeleton.tail),
            self._utf8_address or (None if to.isascii() else to),
        )

    def preview(self, address: str, fields: Mapping[str, Any]) -> Rendered:
        """The message for `address` as a person reads it. Raises Unfit."""
        values = {**fields, **self._fixed, "address": address}
        subject, text, html = self._rendered(values, fields)
        name = self._name_for(values, fields)
        return Rendered(subject, f"{name} <{address}>" if name else address, text, html)

    def _rendered(self, values: dict[str, Any], fields: Mapping[str, Any]) -> tuple[str, str, str | None]:
        subject = self._subject.render(values)
        try:
            check_header_text(subject)
        except HeaderTrouble as trouble:
            raise _unfit(trouble, fields, "the subject", self._subject) from None
        html = self._html.render(values) if self._html is not None else None
        if self._text is not None:
            return subject, self._text.render(values), html
        assert self._text_of_html is not None and html is not None  # noqa: S101 - one of both is always there
        return subject, self._text_of_html.text(values, html), html

    def _to(self, address: str, values: dict[str, Any], fields: Mapping[str, Any]) -> bytes:
        name = self._name_for(values, fields)
        try:
            return mailbox_header("To", name, address)
        except HeaderTrouble as trouble:
            raise _unfit(trouble, fields, "the name in To", self._to_name) from None

    def _name_for(self, values: dict[str, Any], fields: Mapping[str, Any]) -> str:
        if self._to_name is not None:
            return self._to_name.render(values).strip(" \t")
        name = fields.get("name")
        return "" if name is None else str(name).strip(" \t")

    def _header(self, name: str, template: Template, values: dict[str, Any], fields: Mapping[str, Any]) -> bytes:
        value = template.render(values)
        if not value.strip(" \t"):
            return b""  # `{% if … %}` around a whole value: this recipient gets no such header
        try:
            return text_header(name, value)
        except HeaderTrouble as trouble:
            address = values["address"]
            if address.isascii() or address not in value:
                raise _unfit(trouble, fields, f"the header {name}", template) from None
            way_out = "{{ address | urlencode }}"
            raise Unfit(f"the header {name} {trouble}: the address brings them in; in a URL use {way_out}") from None

    def _template(self, source: str, where: str, *, escape: bool = False, one_line: bool = False) -> Template:
        made = Template(source, where, escape=escape, fixed=self._fixed)
        if one_line and _BREAK.search(made.literal) is not None:
            raise InputError(f"{where} has a line break in it.", "It is one line.")
        return made

    def _own_header(self, name: str, value: str) -> tuple[str, Template]:
        wrong = check_header_name(name)
        if wrong is not None:
            raise InputError(f"--header: {name!r} {wrong[0]}.", wrong[1])
        template = self._template(value, f"the header {name}", one_line=True)
        if template.constant is not None:
            try:
                text_header(name, template.constant)
            except HeaderTrouble as trouble:
                raise InputError(f"--header: {name} {trouble}.") from None
        return name, template


def _unfit(trouble: HeaderTrouble, fields: Mapping[str, Any], where: str, template: Template | None) -> Unfit:
    """`where` and its trouble, and the field that brought it in."""
    used = template.used if template is not None else {"name"}
    for name in sorted(used & fields.keys()):
        value = str(fields[name])
        if _BREAK.search(value) is not None or _half_character(value):
            return Unfit(f"{where} {trouble}: the field {name} brings it in")
    return Unfit(f"{where} {trouble}")


def _second(pair: tuple[str, Template]) -> Template:
    return pair[1]


def _body(text: str, where: str, fields: Mapping[str, Any]) -> bytes:
    try:
        return encode_text(text)
    except UnicodeEncodeError:
        guilty = sorted(name for name, value in fields.items() if _half_character(str(value)))
        raise Unfit(
            f"{where} holds half a character (a lone surrogate)"
            + (f": the field {guilty[0]} brings it in" if guilty else "")
        ) from None


def _half_character(text: str) -> bool:
    return _SURROGATE.search(text) is not None


def _header_address(address: str) -> str:
    """As it stands in To. Raises Unfit for what cannot be sent to."""
    if _PLAIN_ADDRESS.fullmatch(address) is not None:
        return address
    try:
        return header_address(address)
    except BadAddress as error:
        raise Unfit(f"the address {address!r} cannot be sent to: {error}") from None


def _mailbox(option: str, value: str) -> Mailbox:
    """One that is the same in every message, its address as it stands in a header. Raises InputError."""
    try:
        mailbox = parse_mailbox(value)
        return Mailbox(mailbox.name, header_address(mailbox.address))
    except BadAddress as error:
        raise InputError(f"{option} {value!r}: {error}.", "It is like News <news@example.com>.") from None


@lru_cache(maxsize=2)
def _date(date: datetime) -> str:
    """The value of Date. All messages of a second share it."""
    return format_datetime(date)
