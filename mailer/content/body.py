"""Bodies on their way into a message: line ends, and which transfer encoding costs least (RFC 2045 section 6).

What comes out is ASCII with CRLF line ends, ends in CRLF, and has no line that a relay would break. No line begins
with a dot either: SMTP would have to double it (RFC 5321 section 4.5.2), and servers that differ about a lone one have
let messages be smuggled into others.
"""

from __future__ import annotations

import binascii
from typing import Final

__all__ = ["BOUNDARY_MARK", "encode_file", "encode_text"]

# Sendmail breaks longer lines on their way out (its mailers' default L=990), RFC 5322 ends at 998.
LONGEST_PLAIN_LINE: Final = 990

# What begins every boundary of ours and can stand in neither quoted-printable nor base64 (RFC 2045 section 6.7).
BOUNDARY_MARK: Final = "=_"

# RFC 2045 sections 6.7 (5) and 6.8.
_BASE64_LINE: Final = 76
_QP_LINE: Final = 76
# Octets that quoted-printable leaves alone, and `=`, which is the only other one that 7bit does.
_UNESCAPED: Final = bytes(each for each in range(0x20, 0x7F) if each != 0x3D) + b"\t\r\n"

_PLAIN_HEAD: Final = b"Content-Transfer-Encoding: 7bit\r\n\r\n"
_QP_HEAD: Final = b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
_BASE64_HEAD: Final = b"Content-Transfer-Encoding: base64\r\n\r\n"


def encode_text(text: str) -> bytes:
    """`text` as a body with the last of its headers before it: Content-Transfer-Encoding, a blank line, the lines.

    Bare CR and LF become CRLF. Raises UnicodeEncodeError for half a character.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    data = text.replace("\n", "\r\n").encode()
    if not data.endswith(b"\r\n"):
        data += b"\r\n"
    escaped = len(data.translate(None, _UNESCAPED))
    if escaped == data.count(b"=") and _may_travel_plain(data):
        return _PLAIN_HEAD + data
    # Three octets for one against four for three; each with its line ends.
    if (len(data) + 2 * escaped) * 78 // 75 > len(data) * 4 // 3 * 78 // 76:
        return _BASE64_HEAD + encode_file(data)
    return _QP_HEAD + _quoted_printable(data)


def encode_file(data: bytes) -> bytes:
    """`data` in base64, in lines of 76 characters, each with its CRLF."""
    line = binascii.b2a_base64(data, newline=False)
    lines = [line[at : at + _BASE64_LINE] for at in range(0, len(line), _BASE64_LINE)]
    return b"\r\n".join([*lines, b""])


def _quoted_printable(data: bytes) -> bytes:
    # It ends in CRLF, so that b2a_qp makes its soft line breaks of the same.
    encoded = binascii.b2a_qp(data)
    # b2a_qp writes a blank at the end of a line as =20 without looking at the length it has by then. Of dots it encodes
    # those that are alone on a line; and its soft line breaks bring new ones to a beginning.
    if b" \r\n" in data or b"\t\r\n" in data or _has_dotted_line(encoded):
        lines = encoded.split(b"\r\n")
        encoded = b"\r\n".join([_mended(x) if len(x) > _QP_LINE or x[:1] == b"." else x for x in lines])
    return encoded


def _mended(line: bytes) -> bytes:
    """A line of quoted-printable, of at most 78 octets, without a dot at its beginning; in two where it is too long."""
    if line.startswith(b"."):
        line = b"=2E" + line[1:]
    if len(line) <= _QP_LINE:
        return line
    end = _QP_LINE - len(b"=")
    escape = line.rfind(b"=", end - 2, end)  # the cut would go through it
    if escape >= 0:
        end = escape
    rest = line[end:]
    return line[:end] + b"=\r\n" + (b"=2E" + rest[1:] if rest.startswith(b".") else rest)


def _has_dotted_line(data: bytes) -> bool:
    return b"\n." in data or data.startswith(b".")


def _may_travel_plain(data: bytes) -> bool:
    """Whether what is all printable ASCII may go as it is."""
    # Fields come from outside, and the boundary is the same in all messages of a campaign: whoever has seen one could
    # write it into the next.
    if b"--=_" in data or _has_dotted_line(data):
        return False
    # The last line end that a line from here may have, and on from there: over many lines at a time.
    at, longest = 0, LONGEST_PLAIN_LINE + len(b"\r\n")
    while len(data) - at > longest:
        at = data.rfind(b"\n", at, at + longest) + 1
        if not at:
            return False
    return True
