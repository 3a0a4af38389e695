"""Header fields as bytes: any script in, 7-bit lines out (RFC 5322 for the lines, RFC 2047 for what is not ASCII).

A value is written as it is where it is plain ASCII. Anything else is encoded as a whole: mixing plain and encoded
words saves a few bytes and loses blanks in readers that join them differently. Nothing here ever writes a line break
that a value brought along: CR, LF and NUL are refused before anything else is looked at. No line begins with a dot.

For one thing there is no 7-bit form: what stands before the `@` of an address. Letters beyond ASCII in it go out as
they are, in UTF-8 (RFC 6532); the name beside it is encoded all the same, so that nothing else of a header is raw.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

__all__ = ["HeaderTrouble", "check_header_name", "check_header_text", "mailbox_header", "text_header"]

# RFC 5322 section 2.1.1: lines should have at most 78 characters and must have at most 998.
FOLD_AT: Final = 78
LONGEST_LINE: Final = 998
# RFC 2047 section 2.
LONGEST_WORD: Final = 75

_B_OPEN: Final = "=?utf-8?b?"
_Q_OPEN: Final = "=?utf-8?q?"
_AROUND: Final = len("=?utf-8?b??=")
# Behind a longer one no encoded word of use fits the line, and a line with a name alone is misread by some parsers.
LONGEST_NAME: Final = 50

_BREAKS: Final = re.compile(r"[\r\n\0]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
# atext of RFC 5322 section 3.2.3. A phrase of such words needs no quotes.
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_PHRASE: Final = re.compile(rf"{_ATOM}(?: {_ATOM})*")
_TOKEN: Final = re.compile(r"[ \t]*[^ \t]+")
# RFC 2047 section 5 (3): what may stand unencoded in a word wherever the word stands.
_Q_PLAIN: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/"
_Q_TABLE: Final = tuple(
    chr(byte) if byte in _Q_PLAIN else "_" if byte == 0x20 else f"={byte:02X}" for byte in range(256)
)
# ftext of RFC 5322 section 3.6.8; but a dot at the beginning of a line is SMTP's (RFC 5321 section 4.5.2).
_FIELD_NAME: Final = re.compile(r"(?!\.)[!-9;-~]+")

# What mailer writes itself, or what only servers and signers may.
_OWN: Final = {
    "bcc": "Every recipient gets a message of their own.",
    "cc": "Every recipient gets a message of their own.",
    "date": "It is set when a message is sent.",
    "dkim-signature": "A signature covers the finished message; the relay adds it.",
    "from": "--from sets it.",
    "message-id": "It is made from the message's identity.",
    "mime-version": "It follows from the content.",
    "received": "Servers write it.",
    "reply-to": "--reply-to sets it.",
    "return-path": "--envelope-from sets what servers make it from.",
    "sender": "--from sets who it is from.",
    "subject": "--subject sets it.",
    "to": "It is each recipient; --to-name sets the name beside the address.",
    "x-mailer-id": "It is made from the message's identity.",
}
# Fields made of addresses, URLs and tokens, in which there can be no encoded words (RFC 2047 section 5).
_ASCII_ONLY: Final = ("list-", "references", "in-reply-to", "auto-submitted", "precedence", "feedback-id", "x-priority")


class HeaderTrouble(ValueError):
    """A value that cannot be a header's. The text completes a sentence that begins with what the value is."""


def check_header_name(name: str) -> tuple[str, str] | None:
    """What is wrong with `name` for a header of the operator's own, and a hint; None if it may be set."""
    lowered = name.lower()
    if _FIELD_NAME.fullmatch(name) is None:
        return "is no name of a header", "A name is made of letters, digits and `-`, as in X-Campaign."
    if len(name) > LONGEST_NAME:
        return f"is too long: a name has at most {LONGEST_NAME} characters", ""
    if lowered in _OWN:
        return "cannot be set", _OWN[lowered]
    if lowered.startswith("content-"):
        return "cannot be set", "It follows from the content."
    if lowered.startswith("resent-"):
        return "cannot be set", "Only someone who forwards a message writes it."
    return None


def check_header_text(value: str) -> None:
    """Raises HeaderTrouble for what no header may hold however it is encoded."""
    found = _BREAKS.search(value)
    if found is not None:
        raise HeaderTrouble("has a NUL character in it" if found[0] == "\0" else "has a line break in it")
    if _SURROGATE.search(value) is not None:
        raise HeaderTrouble("has half a character in it (a lone surrogate)")


def text_header(name: str, value: str) -> bytes:
    """The field `name` with a text of any script, folded, with its CRLF. Raises HeaderTrouble."""
    # At its ends a value has no blanks: readers strip them, and a line of nothing but blanks may not be.
    value = value.strip(" \t")
    if len(name) + len(value) + 2 <= FOLD_AT and value.isascii() and value.isprintable() and "=?" not in value:
        return f"{name}: {value}\r\n".encode("ascii")  # what nearly all values are
    check_header_text(value)
    if value.isascii() and value.replace("\t", " ").isprintable() and "=?" not in value:
        folded = _fold(name, value)
        if folded is not None:
            return folded
    if name.lower().startswith(_ASCII_ONLY):
        if value.isascii():
            raise HeaderTrouble("holds what it cannot: a word that fits no line, or a control character")
        raise HeaderTrouble("holds characters beyond ASCII, which it cannot")
    return _encoded(f"{name}:", value).encode("ascii") + b"\r\n"


def mailbox_header(name: str, display_name: str, address: str) -> bytes:
    """The field `name` with one mailbox, folded, with its CRLF. `address` is as `core.address.header_address` gives it.

    Raises HeaderTrouble for a display name with a line break or half a character.
    """
    if not display_name:
        return _with_address(f"{name}:", address)
    plain = _plain_phrase(display_name)
    if plain is not None and len(name) + 2 + len(plain) <= FOLD_AT:
        return _with_address(f"{name}: {plain}", f"<{address}>")
    check_header_text(display_name)
    return _with_address(_encoded(f"{name}:", display_name), f"<{address}>")


def _plain_phrase(display_name: str) -> str | None:
    """`display_name` without encoding, quoted where it must be; None if it has to be encoded."""
    if "=?" in display_name:
        return None
    if _PHRASE.fullmatch(display_name) is not None:
        return display_name
    if not display_name.isascii() or not display_name.isprintable():
        return None
    # Blanks at its ends, or several together, are not safe even in quotes: many programs tidy them up.
    if "  " in display_name or display_name[0] == " " or display_name[-1] == " ":
        return None
    escaped = display_name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _with_address(line: str, address: str) -> bytes:
    last = len(line) - (line.rfind("\n") + 1)
    between = " " if last + 1 + len(address) <= FOLD_AT else "\r\n "
    return f"{line}{between}{address}\r\n".encode()


def _fold(name: str, value: str) -> bytes | None:
    """Plain ASCII folded before blanks; None if a single word does not fit the longest line there may be."""
    lines = [f"{name}:"]
    for token in _TOKEN.findall(f" {value}"):
        # The first word stays beside the name: some old readers take a name alone for the end of the headers.
        if len(lines[-1]) + len(token) > FOLD_AT and (len(lines) > 1 or len(lines[0]) > len(name) + 1):
            lines.append("")
        lines[-1] += token
    if any(len(line) > LONGEST_LINE for line in lines):
        return None
    return "\r\n".join(lines).encode("ascii") + b"\r\n"


def _encoded(opening: str, text: str) -> str:
    """`opening` and `text` in encoded words, folded. Each word is whole by itself (RFC 2047 section 5)."""
    data = text.encode()
    escaped = len(data.translate(None, _Q_PLAIN + b" "))
    write = _q_words if len(data) + 2 * escaped <= len(data) * 4 // 3 else _b_words
    first = min(FOLD_AT - len(opening) - 1, LONGEST_WORD)
    return f"{opening} " + "\r\n ".join(write(text, data, first))


def _b_words(_text: str, data: bytes, first: int) -> list[str]:
    words = []
    at, room = 0, (first - _AROUND) // 4 * 3
    while at < len(data):
        end = at + room
        if end < len(data):
            while data[end] & 0xC0 == 0x80:  # in the middle of a character
                end -= 1
        payload = binascii.b2a_base64(data[at:end], newline=False).decode("ascii")
        words.append(f"{_B_OPEN}{payload}?=")
        at, room = end, (LONGEST_WORD - _AROUND) // 4 * 3
    return words


def _q_words(text: str, _data: bytes, first: int) -> list[str]:
    words = []
    word, room = "", first - _AROUND
    for char in text:
        code = ord(char)
        token = _Q_TABLE[code] if code < 0x80 else "".join([_Q_TABLE[byte] for byte in char.encode()])
        if len(word) + len(token) > room:
            words.append(f"{_Q_OPEN}{word}?=")
            word, room = "", LONGEST_WORD - _AROUND
        word += token
    words.append(f"{_Q_OPEN}{word}?=")
    return words
