"""The MIME structure of a campaign's messages, made once: everything around and behind the two texts.

    multipart/mixed                 where there are attachments
      multipart/related             where there are inline parts (RFC 2387)
        multipart/alternative       where there is HTML (RFC 2046 section 5.1.4)
          text/plain
          text/html
        inline parts
      attachments

A level with nothing to hold is left out. All that differs between recipients comes first, so the rest is one run of
bytes that all messages share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mailer.content.body import BOUNDARY_MARK, encode_file
from mailer.content.content import Content, Part
from mailer.content.media_type import extension_of
from mailer.content.part_headers import content_type, file_disposition
from mailer.errors import InputError

__all__ = ["Skeleton", "build_skeleton"]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What stands before, between and behind the texts; each text brings its transfer encoding and a blank line."""

    before_text: bytes
    """From the message's own Content-Type to the one of the text."""
    before_html: bytes
    """Empty if there is no HTML."""
    tail: bytes
    """Everything behind the last text; empty for a message of one part."""


def build_skeleton(content: Content, blobs: Mapping[str, bytes]) -> Skeleton:
    """The skeleton of `content`, its files taken from `blobs` by digest. Raises InputError if one is missing."""
    # Deterministic, so that a message is the same on every attempt; distinct, also as beginnings of one another.
    boundary = f"{BOUNDARY_MARK}{{}}_{content.digest[:24]}".format
    before = b""
    tail: list[bytes] = []
    if content.attachments:
        before += _open("multipart/mixed", boundary("m"))
        tail = [*_parts(content.attachments, blobs, boundary("m"), inline=False), *tail]
    if content.inline:
        # The type of its first part (RFC 2387 section 3.1).
        first = "multipart/alternative" if content.html is not None else "text/plain"
        before += _open("multipart/related", boundary("r"), type_=first)
        tail = [*_parts(content.inline, blobs, boundary("r"), inline=True), *tail]
    before_html = b""
    if content.html is not None:
        before += _open("multipart/alternative", boundary("a"))
        before_html = _next(boundary("a")) + content_type("text/html", charset="utf-8")
        tail = [_close(boundary("a")), *tail]
    return Skeleton(before + content_type("text/plain", charset="utf-8"), before_html, b"".join(tail))


def _open(mime_type: str, boundary: str, **parameters: str) -> bytes:
    # The body begins with its first delimiter: there is no preamble, nobody would see it.
    return content_type(mime_type, **parameters, boundary=boundary) + f"\r\n--{boundary}\r\n".encode("ascii")


def _next(boundary: str) -> bytes:
    # The line break before a delimiter belongs to the delimiter (RFC 2046 section 5.1.1), not to the part.
    return f"\r\n--{boundary}\r\n".encode("ascii")


def _close(boundary: str) -> bytes:
    return f"\r\n--{boundary}--\r\n".encode("ascii")


def _parts(parts: tuple[Part, ...], blobs: Mapping[str, bytes], boundary: str, *, inline: bool) -> list[bytes]:
    pieces: list[bytes] = []
    for part in parts:
        data = blobs.get(part.digest)
        if data is None:
            raise InputError(f"the file {part.name} of this content is not there.", "Run `mailer db check`.")
        pieces += [_next(boundary), *_file_headers(part, data, inline=inline), b"\r\n", encode_file(data)]
    return [*pieces, _close(boundary)]


def _file_headers(part: Part, data: bytes, *, inline: bool) -> list[bytes]:
    parameters = {"charset": "utf-8"} if part.mime_type.startswith("text/") and _is_utf8(data) else {}
    headers = [content_type(part.mime_type, **parameters), b"Content-Transfer-Encoding: base64\r\n"]
    if not inline:
        return [*headers, file_disposition("attachment", part.name)]
    # Readers that list inline parts show this name, and some open nothing without an extension.
    name = part.name if "." in part.name else part.name + extension_of(part.mime_type)
    return [*headers, f"Content-ID: <{part.name}>\r\n".encode("ascii"), file_disposition("inline", name)]


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
