"""What an operator names on the command line, read and checked: from files to a `Content` and its bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mailer.content.columns import RESERVED
from mailer.content.content import Content, Part
from mailer.content.media_type import media_type_of
from mailer.content.template import parse
from mailer.errors import InputError

__all__ = ["ContentFiles", "read_content"]

# Providers take messages of 20 to 50 MB; without a limit one wrong path costs gigabytes of memory.
LARGEST_TEXT_BYTES: Final = 10_000_000
LARGEST_FILES_BYTES: Final = 50_000_000

_STDIN: Final = "-"
# What needs no escaping in a `cid:` URL (RFC 2392) and in a Content-ID alike.
_INLINE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
_CID: Final = re.compile(r"""["'(]\s*cid:([^"')\s{}]+)\s*["')]""", re.IGNORECASE)


@dataclass(frozen=True)
class ContentFiles:
    """What an operator names."""

    sender: str
    subject: str
    text: Path | str | None = None
    """A file, or `-` for standard input."""
    html: Path | str | None = None
    attach: tuple[Path, ...] = ()
    inline: tuple[tuple[str, Path], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    reply_to: str | None = None
    to_name: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    list_name: str | None = None
    keeps: Content | None = None
    """What is there already, when it is edited: HTML and inline parts not named here stay as they are in it."""


def read_content(files: ContentFiles, stdin: Callable[[], bytes]) -> tuple[Content, dict[str, bytes]]:
    """The content, and the bytes of its files by digest. `stdin` is called at most once.

    Raises InputError with the option, the file and what is wrong: not there, not readable, not UTF-8, too large, a
    template that is none (with its line).
    """
    _check_words(files)
    _check_variables(files.variables)
    if str(files.text) == str(files.html) == _STDIN:
        raise InputError("--text - and --html - both want standard input.", "Only one option can be `-`.")
    text = _read_text("--text", files.text, stdin, escape=False)
    html = _read_text("--html", files.html, stdin, escape=True)
    blobs: dict[str, bytes] = {}
    attachments = tuple(_attachment(path, blobs) for path in files.attach)
    inline = tuple(_inline_part(name, path, blobs) for name, path in files.inline)
    _check_inline(inline, html, files.keeps)
    size = sum(part.size_bytes for part in (*attachments, *inline))
    if size > LARGEST_FILES_BYTES:
        raise InputError(
            f"the files of the message have {size:,} bytes together; at most {LARGEST_FILES_BYTES:,} can be sent.",
            "Put large files somewhere on the web and send a link.",
        )
    content = Content(
        sender=files.sender,
        subject=files.subject,
        text=text,
        html=html,
        reply_to=files.reply_to,
        to_name=files.to_name,
        headers=files.headers,
        variables=dict(files.variables),
        attachments=attachments,
        inline=inline,
        list_name=files.list_name,
    )
    return content, blobs


def _check_words(files: ContentFiles) -> None:
    """A command line may hold any bytes; what is stored and sent is text."""
    words: Iterable[tuple[str, str | None]] = (
        ("--from", files.sender),
        ("--subject", files.subject),
        ("--reply-to", files.reply_to),
        ("--to-name", files.to_name),
        ("--list", files.list_name),
        *((f"--header {name!r}", f"{name}{value}") for name, value in files.headers),
        *((f"--set {name!r}", f"{name}{value}") for name, value in files.variables.items()),
    )
    for option, word in words:
        if word is not None and not _is_text(word):
            raise InputError(f"{option} holds bytes that are not UTF-8.")


def _check_variables(variables: Mapping[str, str]) -> None:
    for name in variables:
        if name in RESERVED:
            raise InputError(f"--set {name}: in every template {name} has a meaning already.", "Choose another name.")
        if not name.isidentifier():
            raise InputError(
                f"--set {name!r}: a template cannot ask for a name like that.", "Letters, digits and `_` make a name."
            )


def _read_text(option: str, source: Path | str | None, stdin: Callable[[], bytes], *, escape: bool) -> str | None:
    if source is None:
        return None
    if str(source) == _STDIN:
        where, data = f"{option}, standard input", stdin()
    else:
        where, data = f"{option} {source}", _read(option, Path(source), LARGEST_TEXT_BYTES)
    if len(data) > LARGEST_TEXT_BYTES:
        raise InputError(f"{where}: it has {len(data):,} bytes; a text may have {LARGEST_TEXT_BYTES:,}.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{where}: it is not UTF-8 (line {line}).", "Save it as UTF-8.") from None
    if not text.strip():
        raise InputError(f"{where}: it is empty.")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    parse(text, where, escape=escape)
    return text


def _attachment(path: Path, blobs: dict[str, bytes]) -> Part:
    if not _is_text(path.name) or not path.name.isprintable():
        raise InputError(f"--attach {str(path)!r}: recipients could not read its name.", "Rename it.")
    return _part(path.name, path.name, _read("--attach", path, LARGEST_FILES_BYTES), blobs)


def _inline_part(name: str, path: Path, blobs: dict[str, bytes]) -> Part:
    if _INLINE_NAME.fullmatch(name) is None:
        raise InputError(
            f"--inline {name!r}: expected a name of letters, digits, `.`, `_` and `-`.",
            "It is like --inline logo=images/logo.png, and the HTML has cid:logo.",
        )
    return _part(name, path.name, _read("--inline", path, LARGEST_FILES_BYTES), blobs)


def _part(name: str, file_name: str, data: bytes, blobs: dict[str, bytes]) -> Part:
    digest = hashlib.sha256(data).hexdigest()
    blobs[digest] = data
    return Part(name, media_type_of(file_name, data), digest, len(data))


def _check_inline(inline: tuple[Part, ...], html: str | None, keeps: Content | None) -> None:
    if keeps is not None:
        inline, html = inline or keeps.inline, keeps.html if html is None else html
    names = [part.name for part in inline]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--inline {name}: there are two of that name.")
    if inline and html is None:
        raise InputError(f"--inline {names[0]}: without --html nothing can show it.", "--attach sends a file.")
    for asked in _CID.findall(html or ""):
        if asked not in names:
            raise InputError(
                f"--html shows cid:{asked}, and nothing is given under that name.", f"Add --inline {asked}=FILE."
            )


def _read(option: str, path: Path, largest: int) -> bytes:
    """The bytes of a file. Raises InputError."""
    try:
        if path.is_dir():
            raise InputError(f"{option} {path}: it is a directory.", "Name a file.")
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except FileNotFoundError:
        raise InputError(f"{option} {path}: there is no such file.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{option} {str(path)!r}: it cannot be read: {reason}.") from None
    if len(data) > largest:
        raise InputError(
            f"{option} {path}: it has more than {largest:,} bytes, which nobody would take.",
            "Put large files somewhere on the web and send a link.",
        )
    return data


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True
