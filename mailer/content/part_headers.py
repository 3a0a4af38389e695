"""Headers of the parts inside a message: media types, file names in any script (RFC 2045, RFC 2183, RFC 2231)."""

from __future__ import annotations

from typing import Final

__all__ = ["content_type", "file_disposition"]

# A parameter stands on a line of its own: a blank, the parameter, a semicolon. Under 78 together.
_ROOM: Final = 76
# attribute-char of RFC 2231 section 7, without `%`.
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`{|}~")


def content_type(mime_type: str, **parameters: str) -> bytes:
    """`Content-Type` with its CRLF; the parameters are ours: short, ASCII, without quotes."""
    lines = "".join(f';\r\n {name.rstrip("_")}="{value}"' for name, value in parameters.items())
    return f"Content-Type: {mime_type}{lines}\r\n".encode("ascii")


def file_disposition(disposition: str, file_name: str) -> bytes:
    """`Content-Disposition` with a file name of any length and script, with its CRLF."""
    return f"Content-Disposition: {disposition}{_parameter('filename', file_name)}\r\n".encode("ascii")


def _parameter(name: str, value: str) -> str:
    # Readers tidy blanks in quotes.
    if value.isascii() and value.isprintable() and value.strip() == value and "  " not in value:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        if len(name) + len(escaped) + 4 <= _ROOM:
            return f';\r\n {name}="{escaped}"'
    # Also for long plain names: `filename*0*=` says how what follows is written, so quotes are no question.
    tokens = [_percent(char) for char in value]
    whole = "utf-8''" + "".join(tokens)
    if len(name) + len(whole) + 3 <= _ROOM:
        return f";\r\n {name}*={whole}"
    sections = [f"{name}*0*=utf-8''"]
    for token in tokens:
        if len(sections[-1]) + len(token) + 1 > _ROOM:
            sections.append(f"{name}*{len(sections)}*=")
        sections[-1] += token
    return "".join(f";\r\n {section}" for section in sections)


def _percent(char: str) -> str:
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in char.encode())
