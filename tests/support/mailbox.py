"""A recipient's mailbox as its owner sees it: read by POP3 and by IMAP, and waited for by IMAP IDLE."""

from __future__ import annotations

import imaplib
import poplib
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

# Through two Postfix and Dovecot in well under a second here; a loaded machine gets more.
DELIVERED_WITHIN_S: Final = 30.0

_TALK_WITHIN_S: Final = 15.0

# What servers on the way put before a message (RFC 5321 section 4.4; Delivered-To is Dovecot's).
_TRACE: Final = (b"return-path:", b"delivered-to:", b"received:")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox. Each call is a session of its own; nothing is deleted or marked as read."""

    address: str
    password: str
    host: str
    imap_port: int
    pop3_port: int

    def fetch_pop3(self) -> list[bytes]:
        """Every message in order of arrival, byte for byte as POP3 (RFC 1939) hands it out, with CRLF."""
        with closing(poplib.POP3(self.host, self.pop3_port, timeout=_TALK_WITHIN_S)) as pop3:
            pop3.user(self.address)
            pop3.pass_(self.password)
            count, _ = pop3.stat()
            messages = [b"".join(line + b"\r\n" for line in pop3.retr(n)[1]) for n in range(1, count + 1)]
            pop3.quit()
        return messages

    def fetch_imap(self) -> list[bytes]:
        """Every message in order of arrival, byte for byte as IMAP (RFC 3501) hands it out."""
        with self._inbox() as (imap, count):
            if count == 0:
                return []
            _, answer = imap.fetch("1:*", "(BODY.PEEK[])")
            # A message is a pair (what is fetched, its bytes); between them stand the closing brackets alone.
            return [part[1] for part in answer if isinstance(part, tuple)]

    def wait_for(self, count: int = 1, within_s: float = DELIVERED_WITHIN_S) -> None:
        """Return as soon as it holds at least `count` messages; AssertionError if that takes longer than `within_s`."""
        with self._inbox() as (imap, exists):
            if exists >= count:
                return
            for exists in _arrivals(imap, within_s):
                if exists >= count:
                    return
        raise AssertionError(f"{self.address} holds {exists} of {count} messages after {within_s:.0f} s")

    @contextmanager
    def _inbox(self) -> Iterator[tuple[imaplib.IMAP4, int]]:
        """A session with INBOX open for reading, and the number of messages in it."""
        imap = imaplib.IMAP4(self.host, self.imap_port, timeout=_TALK_WITHIN_S)
        try:
            imap.login(self.address, self.password)
            _, (count,) = imap.select("INBOX", readonly=True)
            yield imap, int(count or 0)
        finally:
            imap.shutdown()


def without_trace(message: bytes) -> bytes:
    """A fetched message without the headers that the servers on its way put before it: what was sent."""
    lines = message.splitlines(keepends=True)
    start = 0
    while start < len(lines) and lines[start].lower().startswith(_TRACE):
        start += 1
        while start < len(lines) and lines[start][:1] in (b" ", b"\t"):
            start += 1
    return b"".join(lines[start:])


def _arrivals(imap: imaplib.IMAP4, within_s: float) -> Iterator[int]:
    """The number of messages each time the server tells it (IDLE, RFC 2177), until `within_s` are over.

    The session can only be shut down afterwards: it is left in the middle of IDLE.
    """
    deadline = time.monotonic() + within_s
    imap.send(b"idle IDLE\r\n")
    while (left := deadline - time.monotonic()) > 0:
        imap.sock.settimeout(left)
        try:
            line = imap.readline()
        except TimeoutError:
            return
        words = line.split()
        if words[:1] == [b"*"] and words[2:3] == [b"EXISTS"]:
            yield int(words[1])
        elif not line or words[:1] == [b"idle"]:
            raise AssertionError(f"the server ended IDLE: {line!r}")
