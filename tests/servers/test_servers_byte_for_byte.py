"""What a server stores is what was handed over, byte for byte, whichever way it is spoken to.

The messages are random, from a seed that stands in the test's name; what they may hold is in `support.strange_mail`. Of
line ends that are not CRLF the engine makes CRLF, and adds one where the last line has none; nothing else may differ.
What the servers themselves would change is not in there: see `support.depot`.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

import pytest
from support.aiosmtpd_server import Keeper
from support.daemon import Place
from support.depot import USER, Depot, password
from support.smtpsink import SmtpSink
from support.strange_mail import LONGEST_LINE, StrangeMail, assert_same, strange_mail
from support.wire import Parcel, finished, run_on, running_pool, settings_for

from mailer.core.message import Envelope

TAKEN: Final = "answered end-of-data 250"


async def send(mails: dict[str, StrangeMail], place: Place, **others: Any) -> None:
    """Send all of them, and have all of them taken, with nothing that makes the engine speak in a plainer way."""
    distrust: list[str] = []
    parcels = [Parcel(Envelope("s@sender.test", to), mail.chunks) for to, mail in mails.items()]
    # More than one connection's worth, so that connections end and begin in between.
    settings = settings_for(place[1], host=place[0], messages_per_connection=200, **others)
    async with running_pool(settings, on_distrust=distrust.append) as pool:
        for parcel in parcels:
            pool.submit(parcel)
        answers = await finished(*parcels)
    assert answers == [TAKEN] * len(parcels)
    assert distrust == []


def strange_mails(addresses: list[str], seed: int) -> dict[str, StrangeMail]:
    """One for each address."""
    random = Random(seed)
    return {address: strange_mail(random) for address in addresses}


def expected(mails: dict[str, StrangeMail]) -> dict[str, bytes]:
    """What should be stored for each address."""
    return {to: mail.expected for to, mail in mails.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("others", "seed", "loop"), [({}, 1, "uvloop"), ({"pipelining": "off"}, 2, "asyncio")], ids=["pipelined", "step"]
)
def test_smtp_sink_keeps_what_was_composed(
    storing_sink: SmtpSink, others: dict[str, str], seed: int, loop: str
) -> None:
    """Slow because rare coincidences of dots, line ends and borders need thousands of messages to come up."""
    mails = strange_mails([f"{n}@sink.test" for n in range(3000)], seed)
    run_on(loop, send(mails, (storing_sink.host, storing_sink.port), **others))
    kept = storing_sink.kept()
    assert_same(expected(mails), kept)
    assert len(kept) == storing_sink.messages() == len(mails)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("others", "seed", "loop"),
    [({}, 3, "asyncio"), ({}, 4, "uvloop"), ({"chunking": "off"}, 5, "uvloop"), ({"pipelining": "off"}, 6, "asyncio")],
    ids=["chunked-asyncio", "chunked-uvloop", "pipelined", "step"],
)
def test_postfix_keeps_what_was_composed(depot: Depot, others: dict[str, str], seed: int, loop: str) -> None:
    """Slow because Postfix writes each message to the disk twice."""
    mails = strange_mails(depot.fresh(1000), seed)
    run_on(loop, send(mails, depot.places["all"], **others))
    assert_same(expected(mails), depot.kept(mails))
    # Written ahead, every MAIL but a session's first has RSET in front; among a thousand many have no dots to double.
    given = depot.commands("all", mail=len(mails))
    assert (given["bdat"] > 200, given["rset"] > 900) == (others == {}, "pipelining" not in others)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("others", "seed", "loop"), [({}, 7, "uvloop"), ({"chunking": "off"}, 8, "asyncio")], ids=["chunked", "pipelined"]
)
def test_dovecot_hands_on_what_was_composed(
    depot: Depot, submission: Place, others: dict[str, str], seed: int, loop: str
) -> None:
    """Slow because each message goes through two servers."""
    mails = strange_mails(depot.fresh(300), seed)
    login = {"auth": "plain", "username": USER, "password": password}
    run_on(loop, send(mails, submission, **login, **others))
    assert_same(expected(mails), depot.kept(mails, received=2))


@pytest.mark.slow
def test_aiosmtpd_keeps_what_was_composed(keeper: tuple[Place, Keeper]) -> None:
    """Slow because a Python server shares this process. It offers no extension: step by step."""
    place, kept = keeper
    mails = strange_mails([f"{n}@keeper.test" for n in range(600)], 9)
    run_on("uvloop", send(mails, place))
    assert_same(expected(mails), kept.kept)
    assert len(kept.kept) == len(mails)


async def test_a_line_that_no_server_has_to_take_is_not_sent(storing_sink: SmtpSink) -> None:
    """RFC 5321 allows 998 octets and CRLF; its neighbours on the same connection go as ever."""
    longest, too_long = (b"MIME-Version: 1.0\r\n\r\n" + b"." * n for n in (LONGEST_LINE, LONGEST_LINE + 1))
    texts = [longest, too_long, longest + b"\n", b"x" + too_long, longest]
    parcels = [Parcel(Envelope("s@sender.test", f"{n}@sink.test"), (text,)) for n, text in enumerate(texts)]
    async with running_pool(settings_for(storing_sink.port, host=storing_sink.host, max_connections=1)) as pool:
        for parcel in parcels:
            pool.submit(parcel)
        assert await finished(*parcels) == [TAKEN, "unfit", TAKEN, "unfit", TAKEN]
    assert parcels[1].steps == []
    assert_same({f"{n}@sink.test": longest + b"\r\n" for n in (0, 2, 4)}, kept := storing_sink.kept())
    assert len(kept) == 3
