"""Messages that carry a second mail behind what some server might take for the end of the first (SMTP smuggling).

RFC 5321 knows one end of data, `\\r\\n.\\r\\n`. Servers that take a bare CR or LF for a line end know more of them, and
a client that lets one through sends two mails: its own, and one with a sender and a recipient of a stranger's.
"""

from __future__ import annotations

from typing import Final

HEAD: Final = b"MIME-Version: 1.0\r\nSubject: the only one\r\n\r\nfirst line"

# What was ever taken for an end of data somewhere, its neighbours, and the right one, with which a client has to deal
# by doubling its dot. The last ones have no dot: in a chunk whose size is wrong any line is the next command.
ENDS: Final = (
    b"\r\n.\r\n",
    b"\n.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\n",
    b"\r.\r\n",
    b"\n.\r",
    b"\n\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\r\n.\r\n",
    b"\r\n.\r\n.\r\n",
    b"\r\n..\r\n",
    b"\n..\n",
    b"\r\n...\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n\0.\0\r\n",
    b"\0\n.\n\0",
    b"\n\0.\n",
    b"\r\n. \r\n",
    b"\r\n.\x0b\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\n\r",
)
_KINDS: Final = (("DATA", b"\r\n"), ("DATA", b"\n"), ("DATA", b"\r"), ("BDAT", b"\r\n"), ("BDAT", b"\n"))


def smuggled_mail(end: bytes, recipient: str, way: str = "DATA", line_end: bytes = b"\r\n") -> bytes:
    """One message, in which `end` is followed by a whole mail to `recipient`, by DATA or by BDAT.

    The one by BDAT has no line that is a dot: unless `end` has one, the message may go as a chunk as it is.
    """
    text = (b"DATA", b"Subject: smuggled", b"", b"second", b".") if way == "DATA" else (b"BDAT 8 LAST", b"second")
    commands = (b"MAIL FROM:<stranger@evil.test>", b"RCPT TO:<%b>" % recipient.encode(), *text, b"NOOP", b"")
    return HEAD + end + line_end.join(commands)


def smuggled_mails(recipient: str) -> list[bytes]:
    """All of them: each end with each way of writing the second mail."""
    return [smuggled_mail(end, recipient, way, line_end) for way, line_end in _KINDS for end in ENDS]


def cut_mails(recipient: str) -> list[tuple[bytes, ...]]:
    """The same in chunks: where lines end with CRLF cut at every place around the end, elsewhere into single bytes."""
    mails: list[tuple[bytes, ...]] = []
    for way, line_end in _KINDS:
        for end in ENDS:
            text = smuggled_mail(end, recipient, way, line_end)
            first, last = len(HEAD) - 1, len(HEAD) + len(end) + 1
            mails.append((text,))
            mails.append((text[:first], *(text[n : n + 1] for n in range(first, last)), text[last:]))
            if line_end == b"\r\n":
                mails += [(text[:place], text[place:]) for place in range(first, last + 1)]
    return mails
