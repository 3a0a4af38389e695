"""Each way in which a server may be spoken to, at servers that nobody here wrote.

Fifty messages on two connections, and among them recipients that are refused or put off: each is answered for itself,
and what was accepted has arrived unchanged, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from support.daemon import Place
from support.depot import LATER, USER, Depot, password
from support.servers import missing
from support.strange_mail import assert_same
from support.wire import LOOPS, Parcel, finished, run_on, running_pool, settings_for, until

from mailer.core.message import Envelope
from mailer.smtp import Transcript

TAKEN: Final = (250, "2.0.0", "end-of-data")
UNKNOWN: Final = (550, "5.1.1", "rcpt")
PUT_OFF: Final = (450, "4.2.0", "rcpt")
NO_RELAY: Final = (554, "5.7.1", "rcpt")

# In the middle of others, two in a row, and as the last one.
OTHERS: Final[Mapping[int, tuple[str, tuple[int, str, str]]]] = {
    7: ("nobody@depot.test", UNKNOWN),
    20: (LATER, PUT_OFF),
    21: ("x@elsewhere.test", NO_RELAY),
    40: ("nobody@depot.test", UNKNOWN),
    54: (LATER, PUT_OFF),
}
COUNT: Final = 50 + len(OTHERS)


def parcels_for(addresses: list[str]) -> list[Parcel]:
    """A message for each address, with the OTHERS at their places."""
    recipients = list(addresses)
    for place, (address, _) in OTHERS.items():
        recipients.insert(place, address)
    return [Parcel(Envelope("s@sender.test", to), (text_for(n, to),)) for n, to in enumerate(recipients)]


def text_for(n: int, recipient: str) -> bytes:
    """Every third with a line that DATA has to change, which no chunk can carry."""
    dots = ".\r\n..\r\n" if n % 3 == 0 else ""
    return f"MIME-Version: 1.0\r\nSubject: {n}\r\nTo: <{recipient}>\r\n\r\nHello\r\n{dots}{'x' * 70}\r\n".encode()


def answers(parcels: list[Parcel]) -> list[tuple[int, str | None, str | None]]:
    """What each was answered, and where."""
    replies = [(parcel.result.reply, parcel.result.phase) for parcel in parcels]
    return [(reply.code, reply.enhanced, phase) for reply, phase in replies if reply is not None]


def expected_answers() -> list[tuple[int, str | None, str | None]]:
    return [OTHERS[n][1] if n in OTHERS else TAKEN for n in range(COUNT)]


async def send(
    parcels: list[Parcel], place: Place, transcript: Callable[[], Transcript] | None = None, **others: Any
) -> None:
    """Send all of them on two connections, and wait until each is decided."""
    distrust: list[str] = []
    settings = settings_for(place[1], host=place[0], max_connections=2, **others)
    async with running_pool(settings, transcript=transcript, on_distrust=distrust.append) as pool:
        for parcel in parcels:
            pool.submit(parcel)
        await finished(*parcels)
        # The first may be done with all of them while the second still shakes hands.
        await until(lambda: pool.connections == 2)
    assert distrust == []


def arrived(parcels: list[Parcel]) -> dict[str, bytes]:
    return {each.envelope.recipient: each.chunks[0] for n, each in enumerate(parcels) if n not in OTHERS}


def way_of(given: Counter[str]) -> str:
    """How the server was spoken to, by the commands that it says it was given in two sessions."""
    if given["bdat"]:
        # Each message was a chunk unless dots had to be doubled in it, or two before it had been refused in a row; and
        # a session began its chunks with one of one line. The second session may have come late, and to none.
        dotted = len(range(0, COUNT, 3))
        assert dotted <= given["data"] + len(OTHERS)
        assert COUNT - len(OTHERS) + 1 <= given["data"] + given["bdat"] <= COUNT + 2
        assert given["bdat"] >= COUNT - dotted - len(OTHERS)
        assert given["noop"] >= 1
        return "chunked"
    # DATA that was written ahead is given for refused recipients, too.
    return "pipelined" if COUNT - len(OTHERS) < given["data"] <= COUNT else "step by step"


def way_said(lines: list[str]) -> str:
    """How a server was spoken to, by our own transcript of one session: Dovecot's log does not say."""
    if any(line.startswith("C: BDAT ") for line in lines):
        return "chunked"
    first = next(n for n, line in enumerate(lines) if line.startswith("C: MAIL "))
    return "pipelined" if lines[first + 1].startswith("C: RCPT ") else "step by step"


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("port", "others", "way"),
    [
        ("all", {}, "chunked"),
        ("all", {"chunking": "off"}, "pipelined"),
        ("all", {"pipelining": "off"}, "step by step"),
        ("all", {"window": 1}, "chunked"),
        ("all", {"window": 50}, "chunked"),
        ("no-chunking", {}, "pipelined"),
        ("no-pipelining", {}, "step by step"),
        ("neither", {}, "step by step"),
        ("starttls", {"tls": "starttls"}, "chunked"),
        ("starttls", {"tls": "starttls", "chunking": "off"}, "pipelined"),
        ("implicit", {"tls": "implicit"}, "chunked"),
        ("implicit", {"tls": "implicit", "pipelining": "off"}, "step by step"),
        ("ipv6", {}, "chunked"),
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(f"{k}={v}" for k, v in value.items()) or "-",
)
def test_postfix_answers_each_recipient_and_keeps_each_message(
    depot: Depot, loop: str, port: str, others: dict[str, Any], way: str
) -> None:
    if port not in depot.places:
        missing("this machine has no IPv6 loopback (::1)")
    if "tls" in others:
        others = {**others, "ca_file": depot.certificates.ca_file}
    parcels = parcels_for(depot.fresh(50))
    run_on(loop, send(parcels, depot.places[port], **others))
    assert answers(parcels) == expected_answers()
    sent = arrived(parcels)
    assert_same(sent, depot.kept(sent))
    given = depot.commands(port, mail=COUNT)
    assert given["mail"] == given["rcpt"] == COUNT
    assert given["ehlo"] == (4 if port == "starttls" else 2)
    assert way_of(given) == way


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    ("others", "way"),
    [({}, "chunked"), ({"chunking": "off"}, "pipelined"), ({"pipelining": "off"}, "step by step")],
    ids=["chunked", "pipelined", "step"],
)
def test_dovecot_hands_on_each_answer_and_each_message(
    depot: Depot, submission: Place, loop: str, others: dict[str, Any], way: str
) -> None:
    """Dovecot's submission service, which relays command by command to the Postfix behind it.

    2.3.19 has a fault that decides how it can be spoken to: where MAIL is in its hands before the 250 to the end of the
    last message has been written, its process dies ("Panic: smtp-server-transaction.c: pending_rcpt_cmds == 0"). The
    message has been relayed and the client never hears of it, so it would come again and again. With RSET between the
    two this does not happen: see test_servers_bdat.
    """
    parcels = parcels_for(depot.fresh(50))
    login = {"auth": "plain", "username": USER, "password": password}
    sessions: list[list[str]] = []

    def new_session() -> Transcript:
        sessions.append([])
        return Transcript(sessions[-1].append)

    run_on(loop, send(parcels, submission, new_session, **login, **others))
    assert answers(parcels) == expected_answers()
    sent = arrived(parcels)
    assert_same(sent, depot.kept(sent, received=2))
    assert [way_said(lines) for lines in sessions] == [way] * 2
