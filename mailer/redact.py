"""The last net under secrets: text that is about to be written anywhere is searched for every secret that was resolved.

Nothing of ours puts a password into a log or an error on purpose. What others raise may hold one, a traceback may quote
it, and a server may repeat what it was sent; whoever writes such text passes it through a `Redactor` first.

Theory of operation
- Whole forms: the secret as it is, quoted, and in base64. Each is looked for as a string.
- Base64 travels in company: PLAIN and XOAUTH2 encode the user name with the secret, a JSON text may be encoded around
  it, and a server may repeat a part of a line. The letters of base64 that depend on the secret alone are the same in
  every text where it begins at the same place of three; these three `cores` are what pieces are compared with.
- A piece is `PIECE` letters or more. So that a reply of the usual kind costs next to nothing, the text is first asked
  whether any fourth group of four letters in it occurs in a core at all: a piece cannot be without one.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import quote_from_bytes

MASK: Final = "***"

# A shorter one would turn every log line into stars, and is no secret to anybody who can guess.
SHORTEST: Final = 4
# Letters of base64, six octets' worth: fewer say little, and would be found in innocent words.
PIECE: Final = 8
# Pieces of a secret as it is are looked for from this length on. An access token is a random text; a shorter secret may
# be made of words, and a mask over a word that everybody uses would give it away.
LONG: Final = 64
# Characters of all secrets that are remembered. Each login may bring a new access token, which have up to 2 KiB.
MOST: Final = 16 * 1024

_MARK: Final = 4  # any PIECE letters hold a whole group of so many, wherever the groups begin
_LETTER: Final = "[A-Za-z0-9+/=_.~-]"
_GROUP: Final = re.compile(rf"{_LETTER}{{{_MARK}}}")
_WORD: Final = re.compile(rf"{_LETTER}{{{PIECE},}}")


class _Forms(NamedTuple):
    """How one secret looks."""

    whole: frozenset[str]
    pieces: frozenset[str]
    """All runs of `PIECE` letters in the cores."""
    marks: frozenset[str]
    """All groups of `_MARK` letters in the cores."""


class _Net(NamedTuple):
    """All secrets together; replaced as a whole, since other threads write logs meanwhile."""

    whole: tuple[str, ...] = ()
    """Longest first, so that no form is broken up by another one that it contains."""
    pieces: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()

    def without_pieces(self, found: re.Match[str]) -> str:
        """The word with all pieces hidden, and a letter on each side: it holds the first or last bits of the secret."""
        word = found[0]
        hidden = bytearray(len(word))
        for n in range(len(word) - PIECE + 1):
            if word[n : n + PIECE] in self.pieces:
                start, end = max(0, n - 1), min(len(word), n + PIECE + 1)
                hidden[start:end] = b"\1" * (end - start)
        runs = re.finditer(rb"\x00+|\x01+", hidden)
        return "".join(MASK if run[0][0] else word[run.start() : run.end()] for run in runs)


class Redactor:
    """Replaces the secrets it was told of, in the forms in which they travel, by ***."""

    def __init__(self) -> None:
        self._known: dict[str, _Forms] = {}  # the one added last is the last one
        self._net = _Net()

    def add(self, secret: str) -> None:
        """Remember `secret`: as it is, as `repr` and JSON quote it, percent-encoded, in base64 alone and with others.

        Those added longest ago are forgotten when there are too many (`MOST`).
        """
        if len(secret) < SHORTEST:
            return
        forms = self._known.pop(secret, None)
        self._known[secret] = forms or _forms(secret)
        if forms is not None:
            return
        if sum(map(len, self._known)) > MOST:
            self._forget()
        known = self._known.values()
        self._net = _Net(
            tuple(sorted(frozenset().union(*(forms.whole for forms in known)), key=len, reverse=True)),
            frozenset().union(*(forms.pieces for forms in known)),
            frozenset().union(*(forms.marks for forms in known)),
        )

    def _forget(self) -> None:
        # Down to a half, so that not every login has to do it; the newest one stays, however long it is.
        *older, newest = self._known
        size = len(newest)
        for secret in reversed(older):
            size += len(secret)
            if size > MOST // 2:
                del self._known[secret]

    def __call__(self, text: str) -> str:
        net = self._net
        for form in net.whole:
            if form in text:
                text = text.replace(form, MASK)
        if net.marks and not net.marks.isdisjoint(_GROUP.findall(text)):
            text = _WORD.sub(net.without_pieces, text)
        return text


def _forms(secret: str) -> _Forms:
    raw = _octets(secret)
    encoded = base64.b64encode(raw).decode("ascii")
    whole = {secret, repr(secret)[1:-1], quote_from_bytes(raw, safe=""), encoded, encoded.rstrip("=")}
    whole |= {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    cores = list(_cores(raw))
    # Of a short secret a core may be no longer than a piece may be short.
    whole |= {core for core in cores if SHORTEST <= len(core) < PIECE}
    if len(secret) >= LONG:
        cores.append(secret)
    marks = {core[n : n + _MARK] for core in cores for n in range(len(core) - _MARK + 1)}
    pieces = {core[n : n + PIECE] for core in cores for n in range(len(core) - PIECE + 1)}
    return _Forms(frozenset(whole), frozenset(pieces), frozenset(marks))


def _cores(raw: bytes) -> Iterator[str]:
    """The letters of base64 that depend on `raw` alone, if it stands behind 0, 1 or 2 octets of a group of three."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw).decode("ascii")
        yield encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]


def _octets(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which only a broken source gives; it is hidden all the same
        return text.encode("utf-8", "surrogatepass")
