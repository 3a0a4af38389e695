"""Which encoding a file of recipients has, decided on evidence and never in silence.

The order is by how much can be proven. A byte order mark says it. UTF-16 without one shows in where its zeros are. A
file that is valid UTF-8 from its first byte to its last is UTF-8: text in another encoding practically never is.

What is left are the old encodings, in which nearly every sequence of bytes is text of some kind. Two are told apart
here, by how bytes beyond ASCII stand together: in GB18030 they come in pairs of a common character each, in Latin-1
mostly alone between ASCII letters. A general detector has to agree to the first, for Japanese can look alike; in the
second the letters have to be of languages that were written in it. Where the picture is not clear the file is refused:
a name in the wrong letters in ten thousand greetings is worse than a question.
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
_COMMON_HANZI: Final = range(0xB0, 0xD8)
# Its second half. In Korean (EUC-KR) no syllable begins with one of these; of Chinese characters a third do.
_LATE_HANZI: Final = range(0xC9, 0xD8)
# Punctuation and full-width letters.
_HANZI_SIGNS: Final = range(0xA1, 0xA4)
# What the detector calls Chinese names; a few of them it takes for Korean, which `_LATE_HANZI` has ruled out by then.
_CHINESE: Final = frozenset({"gb18030", "gbk", "gb2312", "cp949"})
# Letters of Western European languages as Windows-1252 writes them, and the signs that stand in their texts. Without
# those that are Turkish or Slavic ones far more often than Icelandic or Finnish.
_WESTERN: Final = frozenset("ÀÂÄÁÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÖÕØŒÙÚÛÜŸàâäáãåæçèéêëìíîïñòóôöõøœùúûüÿßªº")
_WESTERN_SIGNS: Final = frozenset("\xa0€‘’“”„–—…«»¡¿°·©®™£§")
# Letters that no Western language has together: what Hungarian and Czech look like there.
_NOT_TOGETHER: Final = ((frozenset("õÕûÛ"), frozenset("öÖüÜ")), (frozenset("øØ"), frozenset("ìèùòïÌÈÙÒÏ")))
# What the detector is good at naming; of those that share the Latin letters it is not.
_NAMED_WELL: Final = frozenset(
    {"big5", "big5hkscs", "cp932", "shift_jis", "cp949", "euc_kr", "cp1251", "koi8_r", "cp1253", "cp874"}
)
# Its time grows with what it is given.
_FOR_DETECTOR: Final = 4 * 1024

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
    if _is_western(evidence):
        return "cp1252"
    guess = _guess(evidence)
    if _is_chinese(evidence) and guess in _CHINESE:
        return "gb18030"
    looks_like = f"It may be {guess}. " if guess in _NAMED_WELL else ""
    raise InputError(f"{where}: it is not UTF-8, and its encoding is not clear.", looks_like + _HINT)


def _guess(evidence: bytes) -> str | None:
    from charset_normalizer import from_bytes  # only files that are not UTF-8 pay for it

    best = from_bytes(evidence[: evidence.rfind(b"\n", 0, _FOR_DETECTOR) + 1 or _FOR_DETECTOR]).best()
    return best.encoding if best is not None else None


def _is_chinese(evidence: bytes) -> bool:
    """Whether bytes beyond ASCII come in pairs that are common characters."""
    runs = _HIGH_RUN.findall(evidence)
    even = [run for run in runs if len(run) % 2 == 0]
    first_bytes = [first for run in even for first in run[::2]]
    common = sum(first in _COMMON_HANZI for first in first_bytes)
    late = sum(first in _LATE_HANZI for first in first_bytes)
    signs = sum(first in _HANZI_SIGNS for first in first_bytes)
    # An odd run is a rare character whose second byte is an ASCII letter.
    return (
        len(even) >= 0.9 * len(runs)
        and common + signs >= 0.85 * len(first_bytes)
        and late >= 0.1 * common > 0
        and _decodes(evidence, "gb18030")
    )


def _is_western(evidence: bytes) -> bool:
    """Whether bytes beyond ASCII are Western letters that stand alone, or nearly, among ASCII ones."""
    if not _decodes(evidence, "cp1252"):
        return False
    high = {char for char in evidence.decode("cp1252") if not char.isascii()}
    runs = _HIGH_RUN.findall(evidence)
    return (
        high <= _WESTERN | _WESTERN_SIGNS
        and not high.isdisjoint(_WESTERN)
        and sum(len(run) <= 2 for run in runs) >= 0.95 * len(runs)
        and not any(high & some and high & others for some, others in _NOT_TOGETHER)
    )


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
