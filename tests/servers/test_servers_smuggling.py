"""SMTP smuggling: whatever stands in a message, one message arrives, and nobody else gets mail.

The messages are in `support.smuggled_mail`. They go to servers that nobody here wrote, among them a Postfix that takes
bare line feeds for line ends; the first test shows that it would be fooled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest
from support.aiosmtpd_server import Keeper
from support.daemon import Place
from support.depot import SMUGGLED, USER, Depot, password
from support.raw_smtp import RawSmtp
from support.smtpsink import SmtpSink
from support.smuggled_mail import cut_mails, smuggled_mail
from support.strange_mail import as_expected, assert_same
from support.wire import Parcel, finished, run_on, running_pool, settings_for

from mailer.core.message import Envelope

TAKEN: Final = "answered end-of-data 250"

MAILS: Final = cut_mails(SMUGGLED)


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\n\n.\r\r\n", b"\r\r\n.\r\r\n"])
def test_this_postfix_would_be_fooled(depot: Depot, end: bytes) -> None:
    """The same text by a client that lets it through: two mails. So the tests below can fail."""
    first, second = (box.encode() for box in depot.fresh(2))
    text = smuggled_mail(end, second.decode())
    with RawSmtp(depot.places["all"]) as client:
        client.say(b"EHLO client.test\r\n")
        client.say(b"MAIL FROM:<s@sender.test>\r\nRCPT TO:<%b>\r\nDATA\r\n" % first, 3)
        # The end that it sees, the stranger's MAIL, RCPT, DATA and end, and NOOP.
        assert client.codes(text + b"\r\n.\r\n", 6) == "250 250 250 354 250 250"
    assert [len(kept) for kept in depot.kept([first.decode(), second.decode()]).values()] == [1, 1]


@dataclass(frozen=True, slots=True)
class Target:
    """A server, and how to ask it what it has."""

    place: Place
    addresses: list[str]
    kept: Callable[[], Mapping[str, Sequence[bytes]]]
    login: Mapping[str, Any]


@pytest.fixture(params=["postfix", "dovecot", "smtp-sink", "aiosmtpd"])
def target(request: pytest.FixtureRequest) -> Target:
    """Each of the servers, with an address for each of the MAILS."""
    others = [f"{n}@target.test" for n in range(len(MAILS))]
    match request.param:
        case "smtp-sink":
            sink: SmtpSink = request.getfixturevalue("storing_sink")
            return Target((sink.host, sink.port), others, sink.kept, {})
        case "aiosmtpd":
            place, keeper = request.getfixturevalue("keeper")
            assert isinstance(keeper, Keeper)
            return Target(place, others, lambda: keeper.kept, {})
    depot: Depot = request.getfixturevalue("depot")
    boxes = depot.fresh(len(MAILS))
    is_proxy = request.param == "dovecot"

    def kept() -> Mapping[str, Sequence[bytes]]:
        by_box = depot.kept([*boxes, SMUGGLED], received=2 if is_proxy else 1)
        return {box: mails for box, mails in by_box.items() if mails}

    if is_proxy:
        login = {"auth": "plain", "username": USER, "password": password}
        return Target(request.getfixturevalue("submission"), boxes, kept, login)
    return Target(depot.places["all"], boxes, kept, {})


@pytest.mark.parametrize(
    ("others", "loop"),
    [({}, "asyncio"), ({"chunking": "off"}, "uvloop"), ({"pipelining": "off"}, "asyncio")],
    ids=["chunked", "pipelined", "step"],
)
def test_no_text_ends_a_message_and_begins_another(target: Target, others: dict[str, Any], loop: str) -> None:
    """As fast as each server offers and no further; smtp-sink knows no chunks, aiosmtpd neither of the two."""
    parcels = [
        Parcel(Envelope("s@sender.test", to), chunks) for to, chunks in zip(target.addresses, MAILS, strict=True)
    ]

    distrust: list[str] = []

    async def send() -> list[str]:
        settings = settings_for(target.place[1], host=target.place[0], **target.login, **others)
        async with running_pool(settings, on_distrust=distrust.append) as pool:
            for parcel in parcels:
                pool.submit(parcel)
            return await finished(*parcels)

    assert run_on(loop, send()) == [TAKEN] * len(parcels)
    assert distrust == []
    kept = target.kept()
    assert_same({each.envelope.recipient: as_expected(b"".join(each.chunks)) for each in parcels}, kept)
    assert len(kept) == len(parcels), f"mail for somebody else: {set(kept) - set(target.addresses)}"
