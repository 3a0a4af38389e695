"""Which media type a file has, from its name and bytes: the same answer on every machine.

The system's own tables are not asked: they differ between machines, and with them the digest of a content would.
"""

from __future__ import annotations

import mimetypes
from typing import Final

__all__ = ["extension_of", "media_type_of"]

UNKNOWN: Final = "application/octet-stream"

_OFFICE: Final = "application/vnd.openxmlformats-officedocument"
# What the standard library's table lacks in one of the supported Python versions, or has differently in them.
_BY_EXTENSION: Final = {
    ".7z": "application/x-7z-compressed",
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".docx": f"{_OFFICE}.wordprocessingml.document",
    ".epub": "application/epub+zip",
    ".gz": "application/gzip",
    ".heic": "image/heic",
    ".ics": "text/calendar",
    ".ico": "image/vnd.microsoft.icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".md": "text/markdown",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".pptx": f"{_OFFICE}.presentationml.presentation",
    ".rar": "application/vnd.rar",
    ".rtf": "application/rtf",
    ".svg": "image/svg+xml",
    ".tgz": "application/gzip",
    ".vcf": "text/vcard",
    ".webp": "image/webp",
    ".xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    ".zip": "application/zip",
}
_EXTENSIONS: Final = {type_: extension for extension, type_ in _BY_EXTENSION.items()} | {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "application/gzip": ".gz",
}
# The signatures of what is embedded in HTML (an inline part may be named anything).
_BY_BEGINNING: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
_BUILT_IN: Final = mimetypes.MimeTypes(filenames=())


def media_type_of(name: str, data: bytes) -> str:
    """The media type of a file named `name`; where the name says nothing, by how `data` begins."""
    dot = name.rfind(".")
    found = _BY_EXTENSION.get(name[dot:].lower()) if dot >= 0 else None
    if found is None:
        # As a path: a name such as `data:x.png` is no URL here.
        found, packed = _BUILT_IN.guess_type(f"./{name}", strict=True)
        if packed is not None:
            found = UNKNOWN
    # An enclosed message may not be encoded (RFC 2046 section 5.2.1), and a file of ours always is.
    if found is None or found.startswith(("message/", "multipart/")):
        found = next((type_ for beginning, type_ in _BY_BEGINNING if data.startswith(beginning)), UNKNOWN)
    return found


def extension_of(mime_type: str) -> str:
    """The usual extension for `mime_type`, with its dot; empty if there is none."""
    return _EXTENSIONS.get(mime_type) or _BUILT_IN.guess_extension(mime_type) or ""
