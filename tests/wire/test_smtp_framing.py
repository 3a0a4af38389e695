"""A message as DATA or as a chunk, and what a transcript shows of it."""

from __future__ import annotations

from typing import Any

from support.modes import CHUNKED, FIRST_LINE, expect, greet, parcel_of, replies, text_of
from support.scripted_server import Peer, Unexpected, scripted_server
from support.wire import Parcel, finished, run_on, running_pool, settings_for

from mailer.smtp import Transcript

SENT = "answered end-of-data 250"
ODD_TEXT = b"Subject: odd\r\nMIME-Version: 1.0\r\n\r\nHello\r\n"


def sent_one_by_one(port: int, *parcels: Parcel, **others: Any) -> list[str]:
    """Send them over one connection, each when the one before is finished; what came of them."""

    async def main() -> list[str]:
        settings = settings_for(port, max_connections=1, messages_per_connection=len(parcels))
        async with running_pool(settings, **others) as pool:
            for parcel in parcels:
                pool.submit(parcel)
                await finished(parcel)
            return [parcel.brief for parcel in parcels]

    return list(run_on("asyncio", main()))


def expect_bytes(peer: Peer, wanted: bytes) -> None:
    if (got := peer.read(len(wanted))) != wanted:
        raise Unexpected(f"expected {wanted!r}, got {got!r}")


def test_a_text_that_cannot_begin_with_the_proof_goes_as_data_until_there_has_been_one() -> None:
    odd = [parcel_of(1), parcel_of(3)]
    for parcel in odd:
        parcel.chunks = (ODD_TEXT,)

    def play(peer: Peer) -> None:
        greet(peer, CHUNKED)
        expect(peer, "mail1 rcpt1 data")
        replies(peer, "250 250 354")
        expect_bytes(peer, ODD_TEXT + b".\r\n")
        replies(peer, "250")
        expect(peer, "rset mail2 rcpt2 proof2")
        replies(peer, "250 250 250 250 250")
        expect(peer, "rest2")
        replies(peer, "250")
        expect(peer, "rset mail3 rcpt3")
        expect_bytes(peer, b"BDAT %d LAST\r\n" % len(ODD_TEXT) + ODD_TEXT)
        replies(peer, "250 250 250 250")
        peer.expect("QUIT")

    with scripted_server(play) as server:
        assert sent_one_by_one(server.port, odd[0], parcel_of(2), odd[1]) == [SENT] * 3


def test_a_transcript_shows_the_size_of_a_chunk_and_not_its_text() -> None:
    lines: list[str] = []
    size = len(text_of(1))

    def transcript() -> Transcript:
        return Transcript(lines.append)

    def play(peer: Peer) -> None:
        greet(peer, CHUNKED)
        expect(peer, "mail1 rcpt1 proof1")
        replies(peer, "250 250 250 250")
        expect(peer, "rest1")
        replies(peer, "250")
        expect(peer, "next2")
        replies(peer, "250 250 250 250")
        peer.expect("QUIT")

    with scripted_server(play) as server:
        assert sent_one_by_one(server.port, parcel_of(1), parcel_of(2), transcript=transcript) == [SENT, SENT]
    ours = [line for line in lines if not line.startswith("S:")]
    first = ours.index("C: NOOP") + 1
    assert ours[first : first + 7] == [
        f"C: BDAT {size - len(FIRST_LINE)} LAST",
        f"-- the message, {size} bytes",
        "C: RSET",
        "C: MAIL FROM:<a@sender.example>",
        "C: RCPT TO:<2@recipient.example>",
        f"C: BDAT {size} LAST",
        f"-- the message, {size} bytes",
    ]
    assert not [line for line in lines if "Subject" in line or "Hello" in line]
