"""Which encoding a file of recipients has, decided on evidence and never in silence.

The order is by how much can be proven. A byte order mark says it. UTF-16 without one shows in where its zeros are. A
file that is valid UTF-8 from its first byte to its last is UTF-8: text in another encoding practically never is.

What is left are the old encodings, in which nearly every sequence of bytes is text of some kind. Two are told apart
here, by how bytes beyond ASCII stand together: in GB18030 they come in pairs of a common character each, in Latin-1
mostly alone between ASCII letters. Where neither picture is clear the file is refused: a name in the wrong letters in
ten thousand greetings is worse than a question.
"""

from __future__ import annotations

import codecs
import re
from typing import BinaryIO, Final

from mailer.errors import InputError

__all__ = ["find_encoding", "named_encoding"]

_STEP: Final = 1024 * 1024
# Of lines with bytes beyond ASCII, enough to judge by: some thousand names.
_EVIDENCE: Final = 64 * 1024
_HEAD: Final = 64 * 1024

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The first bytes of what people name by mistake.
_ZIP: Final = b"PK\x03\x04"
_OLD_OFFICE: Final = b"\xd0\xcf\x11\xe0"
_OTHERS: Final = (
    (b"%PDF-", "a PDF"),
    (b"\x1f\x8b", "compressed (gzip)"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
)
# Python's codecs that are no encodings of files, or hide what is in them.
_NO_ENCODINGS: Final = frozenset(
    {"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "utf-7", "mbcs", "oem"}
)

_HIGH_RUN: Final = re.compile(rb"[\x80-\xff]+")
# GB2312's first level: the 3,755 characters that make up more than 99 % of running text, sorted by their sound.
_COMMON_HANZI: Final = re.compile(rb"[\xb0-\xd7][\xa1-\xfe]")
# Punctuation and full-width letters.
_HANZI_SIGNS: Final = re.compile(rb"[\xa1-\xa3][\xa1-\xfe]")
_PAIR: Final = re.compile(rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]")
# Letters of Western European languages as Windows-1252 writes them, and the signs that stand in their texts.
_WESTERN: Final = frozenset("ÀÂÄÁÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÖÕØŒÙÚÛÜŸÝÐÞàâäáãåæçèéêëìíîïñòóôöõøœùúûüÿýðþßŠšŽžªº")
_WESTERN_SIGNS: Final = frozenset("\xa0€‘’“”„–—…«»¡¿°·©®™£§")

_HINT: Final = "--encoding names it, such as gb18030, big5, shift_jis, cp1251, cp1250; or save the file as UTF-8."


def named_encoding(name: str) -> str:
    """The encoding that `--encoding` names. Raises InputError."""
    try:
        found = codecs.lookup(name)
        "".encode(name)  # raises for what is no encoding of text
    except (LookupError, ValueError, TypeError):
        raise InputError(f"--encoding {name!r}: there is no such encoding.", _HINT) from None
    if found.name in _NO_ENCODINGS:
        raise InputError(f"--encoding {name!r}: files are not written in it.", _HINT)
    # Both take a byte order mark away where there is one, and do without.
    return "utf-8-sig" if found.name == "utf-8" else found.name


def find_encoding(stream: BinaryIO, where: str) -> str:
    """The encoding of what `stream` has from here on; it stands where it stood afterwards. Raises InputError."""
    start = stream.tell()
    head = stream.read(_HEAD)
    stream.seek(start)
    _refuse_other_kinds(head, where)
    for sign, encoding in _MARKS:
        if head.startswith(sign):
            return encoding
    if b"\0" in head:
        return _without_mark(head, where)
    evidence = _look_through(stream)
    stream.seek(start)
    return "utf-8" if evidence is None else _old_encoding(evidence, where)


def _refuse_other_kinds(head: bytes, where: str) -> None:
    if head.startswith(_OLD_OFFICE) or (head.startswith(_ZIP) and (b"xl/" in head or b"[Content_Types]" in head)):
        raise InputError(f"{where}: it is a spreadsheet. XLSX comes in a later version; save as CSV.")
    if head.startswith(_ZIP):
        raise InputError(f"{where}: it is a ZIP archive.", "Name the file in it.")
    for sign, kind in _OTHERS:
        if head.startswith(sign):
            raise InputError(f"{where}: it is {kind}, no list of recipients.")


def _without_mark(head: bytes, where: str) -> str:
    """UTF-16 by its zeros: ASCII, of which every list has much, has one in every second byte."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    units = len(head) // 2
    for encoding, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if others == 0 and zeros * 5 >= units:
            return encoding
    raise InputError(f"{where}: it is no text: it holds zero bytes.", "Recipients are CSV, JSON lines or plain text.")


def _look_through(stream: BinaryIO) -> bytes | None:
    """None if everything is UTF-8, else lines with bytes beyond ASCII, as many as one needs to judge."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    evidence = bytearray()
    valid = True
    while piece := stream.read(_STEP):
        if valid:
            try:
                decoder.decode(piece)
            except UnicodeDecodeError:
                valid = False
        if not piece.isascii() and len(evidence) < _EVIDENCE:
            for line in piece.splitlines(keepends=True):
                if not line.isascii():
                    evidence += line
                    if len(evidence) >= _EVIDENCE:
                        break
        if not valid and len(evidence) >= _EVIDENCE:
            return bytes(evidence)
    if valid:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            valid = False
    return None if valid else bytes(evidence)


def _old_encoding(evidence: bytes, where: str) -> str:
    if _is_chinese(evidence):
        return "gb18030"
    if _is_western(evidence):
        return "cp1252"
    raise InputError(f"{where}: it is not UTF-8, and its encoding is not clear.", _HINT)


def _is_chinese(evidence: bytes) -> bool:
    """Whether bytes beyond ASCII come in pairs that are common characters."""
    runs = _HIGH_RUN.findall(evidence)
    pairs = common = signs = whole = 0
    for run in runs:
        even = len(run) % 2 == 0
        whole += even
        if even:
            found = [run[at : at + 2] for at in range(0, len(run), 2)]
            pairs += len(found)
            common += sum(_COMMON_HANZI.fullmatch(pair) is not None for pair in found)
            signs += sum(_HANZI_SIGNS.fullmatch(pair) is not None for pair in found)
    if not pairs or not _decodes(evidence, "gb18030"):
        return False
    # An odd run is a rare character whose second byte is an ASCII letter. Cyrillic text in an 8-bit encoding has as
    # many odd runs as even ones, and its small letters are no first bytes of common characters.
    return whole >= 0.9 * len(runs) and common + signs >= 0.85 * pairs and common > 0


def _is_western(evidence: bytes) -> bool:
    """Whether bytes beyond ASCII are Western letters that stand alone, or nearly, among ASCII ones."""
    if not _decodes(evidence, "cp1252"):
        return False
    text = evidence.decode("cp1252")
    high = [char for char in text if not char.isascii()]
    letters = sum(char in _WESTERN for char in high)
    signs = sum(char in _WESTERN_SIGNS for char in high)
    runs = _HIGH_RUN.findall(evidence)
    single = sum(len(run) <= 2 for run in runs)
    return letters + signs == len(high) and letters > 0 and single >= 0.95 * len(runs)


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
