"""Bodies on their way into a message: line ends, and which transfer encoding costs least (RFC 2045 section 6).

What comes out is ASCII with CRLF line ends, ends in CRLF, and has no line that a relay would break.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

__all__ = ["BOUNDARY_MARK", "encode_file", "encode_text"]

# Sendmail breaks longer lines on their way out (its mailers' default L=990), RFC 5322 ends at 998.
LONGEST_PLAIN_LINE: Final = 990

# What begins every boundary of ours and can stand in neither quoted-printable nor base64 (RFC 2045 section 6.7).
BOUNDARY_MARK: Final = "=_"

_BASE64_LINE: Final = 76
# Octets that quoted-printable leaves alone, and `=`, which is the only other one that 7bit does.
_UNESCAPED: Final = bytes(each for each in range(0x20, 0x7F) if each != 0x3D) + b"\t\r\n"
# A line of more than 76 characters (RFC 2045 section 6.7 rule 5) that ends in an encoded blank.
_TOO_LONG: Final = re.compile(rb"([^\n]{74,})(=20|=09)(?=\r\n)")

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
    # b2a_qp writes a blank at the end of a line as =20 without looking at the length it has by then.
    if b" \r\n" in data or b"\t\r\n" in data:
        encoded = _TOO_LONG.sub(rb"\1=\r\n\2", encoded)
    return encoded


def _may_travel_plain(data: bytes) -> bool:
    """Whether what is all printable ASCII may go as it is."""
    # Fields come from outside, and the boundary is the same in all messages of a campaign: whoever has seen one could
    # write it into the next.
    if b"--=_" in data:
        return False
    return len(data) <= LONGEST_PLAIN_LINE or max(map(len, data.split(b"\r\n"))) <= LONGEST_PLAIN_LINE
