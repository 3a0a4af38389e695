"""A server that takes any mail from anyone and throws it away, and announces PIPELINING and CHUNKING.

    python -m bench.chunk_sink

Postfix's smtp-sink is the model and knows no BDAT (RFC 3030). The port is printed on the first line; when standard
input ends, so does the server, with a line that counts what it took:

    {"messages": 1000, "as_chunks": 1000, "octets": 4096000}

A buffer is looked at once, with `bytes.find`, and everything in it is answered with one write. A body is not kept:
what is left between two buffers is a part of a line. Octets are those of the wire, doubled dots included.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import asdict, dataclass
from typing import Final, cast

from bench._processes import serve

# RFC 5321 section 4.5.3.1.4 asks for 512; addresses with parameters of extensions may need more.
MAX_LINE: Final = 4096

_GREETING: Final = b"220 chunk-sink ESMTP\r\n"
_EHLO: Final = (
    b"250-chunk-sink\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SIZE 0\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
)
_HELO: Final = b"250 chunk-sink\r\n"
_SENDER_OK: Final = b"250 2.1.0 Ok\r\n"
_RECIPIENT_OK: Final = b"250 2.1.5 Ok\r\n"
_GO_ON: Final = b"354 End data with <CR><LF>.<CR><LF>\r\n"
_TAKEN: Final = b"250 2.0.0 Ok\r\n"
_BYE: Final = b"221 2.0.0 Bye\r\n"
_UNKNOWN: Final = b"500 5.5.2 Command unknown\r\n"
_TOO_LONG: Final = b"500 5.5.2 Line too long\r\n"
_SYNTAX: Final = b"501 5.5.4 Syntax error in parameters\r\n"
_OUT_OF_ORDER: Final = b"503 5.5.1 Bad sequence of commands\r\n"

_END: Final = b"\r\n.\r\n"
_CHUNK: Final = re.compile(rb"(?i)BDAT ([0-9]{1,10})( LAST)?[ \t]*")


@dataclass
class Totals:
    """What all connections took together."""

    messages: int = 0
    as_chunks: int = 0
    """Those of them whose text came by BDAT."""
    octets: int = 0


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._has_sender = False
        self._has_recipient = False
        self._has_chunks = False
        self._reads_text = False
        self._text_octets = 0  # of the message under way
        self._chunk_left = 0
        self._after_chunk = b""  # the answer that is due when the chunk has been read
        self._is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by their class
        self._transport.write(_GREETING)

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._is_over:
            return
        answers = self._answers(self._rest + data if self._rest else data)
        if answers:
            self._transport.write(answers[0] if len(answers) == 1 else b"".join(answers))
        if self._is_over:
            self._transport.close()

    def _answers(self, data: bytes) -> list[bytes]:
        """What is to be said to it; what is left of it goes to `_rest`."""
        answers: list[bytes] = []
        at, size = 0, len(data)
        while at < size and not self._is_over:
            if left := self._chunk_left:
                read = min(left, size - at)
                self._chunk_left = left - read
                at += read
                if read == left:
                    answers.append(self._after_chunk)
                continue
            if self._reads_text:
                end = data.find(_END, at)
                if end < 0:
                    kept = max(at, size - len(_END) + 1)  # the end may have begun there
                    self._text_octets += kept - at
                    at = kept
                    break
                self._text_octets += end - at  # the CRLF of DATA is in it in place of the one before the dot
                at = end + len(_END)
                self._reads_text = False
                answers.append(self._take())
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                if size - at > MAX_LINE:
                    answers.append(self._hang_up(_TOO_LONG))
                break
            answer = self._command(data[at:end])
            # A text may be nothing but the dot: the CRLF before it is that of DATA.
            at = end if answer is _GO_ON else end + 2
            if answer:
                answers.append(answer)
        self._rest = data[at:]
        return answers

    def _command(self, line: bytes) -> bytes:
        """The answer to it; empty if that is not due yet."""
        match line[:4].upper():
            case b"MAIL":
                if self._has_sender:
                    return _OUT_OF_ORDER
                self._has_sender = True
                return _SENDER_OK
            case b"RCPT":
                if not self._has_sender or self._has_chunks:
                    return _OUT_OF_ORDER
                self._has_recipient = True
                return _RECIPIENT_OK
            case b"BDAT":
                return self._begin_chunk(line)
            case b"DATA":
                if not self._has_recipient or self._has_chunks:
                    return _OUT_OF_ORDER
                self._reads_text = True
                return _GO_ON
            case b"EHLO" | b"HELO" as verb:
                self._reset()
                return _EHLO if verb == b"EHLO" else _HELO
            case b"RSET":
                self._reset()
                return _TAKEN
            case b"NOOP":
                return _TAKEN
            case b"QUIT":
                return self._hang_up(_BYE)
            case _:
                return _UNKNOWN

    def _begin_chunk(self, line: bytes) -> bytes:
        found = _CHUNK.fullmatch(line)
        if found is None:
            return self._hang_up(_SYNTAX)  # nobody knows where the next command begins
        octets = int(found[1])
        if not self._has_recipient:
            answer = _OUT_OF_ORDER  # and the chunk is read all the same (RFC 3030 section 2)
        else:
            self._has_chunks = True
            self._text_octets += octets
            answer = self._take() if found[2] else _TAKEN
        if not octets:
            return answer
        self._chunk_left, self._after_chunk = octets, answer
        return b""

    def _take(self) -> bytes:
        self._totals.messages += 1
        self._totals.as_chunks += self._has_chunks
        self._totals.octets += self._text_octets
        self._reset()
        return _TAKEN

    def _reset(self) -> None:
        self._has_sender = self._has_recipient = self._has_chunks = False
        self._text_octets = 0

    def _hang_up(self, answer: bytes) -> bytes:
        self._is_over = True
        return answer


def main() -> None:
    totals = Totals()
    serve(lambda: Session(totals))
    print(json.dumps(asdict(totals)))


if __name__ == "__main__":
    main()
