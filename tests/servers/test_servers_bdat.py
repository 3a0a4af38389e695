"""What servers nobody here wrote do with commands that are written ahead, asked byte by byte: why the engine speaks so.

Answers of Postfix 3.7.11 and of Dovecot's submission service 2.3.19, which relays to that Postfix:

- A refused recipient's chunk is refused with 554. After a last one (`BDAT n LAST`) Postfix takes the next MAIL, and
  Dovecot says 503 until RSET; after one that is not the last both say 503. With RSET before every MAIL all is well.
- The first chunk that is not the last, NOOP, and the rest as last chunk: 250 each, and one message.
- `BDAT 0` that is not the last is refused by Postfix (551) and taken by Dovecot; `BDAT 0 LAST` is taken by both.
- MAIL that is in Dovecot's hands before it has written its 250 to the end of the last message ends its process: 20 of
  20, in DATA and in chunks alike ("Panic: file smtp-server-transaction.c: line 226: assertion failed:
  (conn->state.pending_rcpt_cmds == 0)"). The message has been relayed, and its 250 is never heard. A RSET (or NOOP)
  between the two prevents it: 20 of 20.
- A recipient whose refusal and whose chunk's refusal are two errors costs Postfix's patience twice: it ends a session
  after 20 errors in a row (`smtpd_hard_error_limit`), so after 10 such messages. One message taken in between sets the
  count back to zero, and to any number of RSETs as well (`smtpd_junk_command_limit`).
- When the Postfix behind it says 421, Dovecot closes without a word.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import pytest
from support.depot import PASSWORD, USER, Depot
from support.raw_smtp import RawSmtp

Speak = Callable[[], AbstractContextManager[RawSmtp]]

HEAD: Final = b"MIME-Version: 1.0\r\n"
REST: Final = b"Subject: x\r\n\r\nHello\r\n"
MAIL: Final = b"MAIL FROM:<s@sender.test>\r\n"
NOBODY: Final = b"RCPT TO:<nobody@depot.test>\r\n"


def rcpt(address: str) -> bytes:
    return b"RCPT TO:<%b>\r\n" % address.encode()


def chunk(text: bytes) -> bytes:
    return b"BDAT %d LAST\r\n%b" % (len(text), text)


@pytest.fixture(params=["postfix", "dovecot"])
def speak(request: pytest.FixtureRequest, depot: Depot) -> Speak:
    """Opens a session in which mail may be sent, at each of the two."""
    is_proxy = request.param == "dovecot"
    place = request.getfixturevalue("submission") if is_proxy else depot.places["all"]

    @contextmanager
    def session() -> Iterator[RawSmtp]:
        with RawSmtp(place) as client:
            assert client.codes(b"EHLO client.test\r\n") == "250"
            if is_proxy:
                login = b64encode(f"\0{USER}\0{PASSWORD}".encode())
                assert client.codes(b"AUTH PLAIN %b\r\n" % login) == "235"
            yield client

    return session


def test_a_last_chunk_without_a_recipient_is_refused_and_after_rset_all_is_well(speak: Speak, depot: Depot) -> None:
    """Without RSET the next MAIL gets 250 from Postfix, and 503 "MAIL already given" from Dovecot."""
    (box,) = depot.fresh(1)
    with speak() as client:
        assert client.codes(MAIL + NOBODY + chunk(HEAD + REST), 3) == "250 550 554"
        assert client.codes(b"RSET\r\n" + MAIL + rcpt(box) + chunk(HEAD + REST), 4) == "250 250 250 250"
    assert depot.kept([box], received=0)[box][0].endswith(HEAD + REST)


def test_a_first_chunk_without_a_recipient_is_refused_and_noop_is_answered(speak: Speak, depot: Depot) -> None:
    """So NOOP shows that the chunk was read as one, though 554 answers it; MAIL without RSET gets 503 from both."""
    (box,) = depot.fresh(1)
    with speak() as client:
        assert client.codes(MAIL + NOBODY + b"BDAT 19\r\n" + HEAD + b"NOOP\r\n", 4) == "250 550 554 250"
        assert client.codes(MAIL) == "503"
        assert client.codes(b"RSET\r\n" + MAIL + rcpt(box) + chunk(HEAD + REST), 4) == "250 250 250 250"
    assert depot.kept([box], received=0)[box][0].endswith(HEAD + REST)


def test_a_chunk_that_is_not_the_last_is_answered_and_leaves_room_for_noop(speak: Speak, depot: Depot) -> None:
    (box,) = depot.fresh(1)
    with speak() as client:
        assert client.codes(MAIL + rcpt(box) + b"BDAT 19\r\n" + HEAD + b"NOOP\r\n", 4) == "250 250 250 250"
        assert client.codes(chunk(REST)) == "250"
    assert depot.kept([box], received=0)[box][0].endswith(HEAD + REST)


def test_a_message_that_was_begun_in_chunks_is_given_up_by_rset(speak: Speak, depot: Depot) -> None:
    first, second = depot.fresh(2)
    with speak() as client:
        assert client.codes(MAIL + rcpt(first) + b"BDAT 19\r\n" + HEAD + b"NOOP\r\n", 4) == "250 250 250 250"
        assert client.codes(b"DATA\r\n") == "503"
        assert client.codes(b"RSET\r\n" + MAIL + rcpt(second) + chunk(REST), 4) == "250 250 250 250"
    kept = depot.kept([first, second], received=0)
    assert kept[first] == []
    assert len(kept[second]) == 1 and HEAD not in kept[second][0]


def test_whole_messages_in_one_write_are_each_answered(speak: Speak, depot: Depot) -> None:
    """Eight of them, four to nobody. RSET before each MAIL: without it Dovecot's process dies."""
    boxes = depot.fresh(4)
    good = [b"RSET\r\n" + MAIL + rcpt(box) + chunk(HEAD + REST) for box in boxes]
    refused = b"RSET\r\n" + MAIL + NOBODY + chunk(HEAD + REST)
    with speak() as client:
        codes = client.codes(refused + good[0] + good[1] + refused * 2 + good[2] + refused + good[3], 32)
    yes, no = "250 250 250 250", "250 250 550 554"
    assert codes == " ".join([no, yes, yes, no, no, yes, no, yes])
    assert all(len(kept) == 1 for kept in depot.kept(boxes, received=0).values())


def test_the_end_of_a_text_and_the_next_commands_in_one_write_are_each_answered(speak: Speak, depot: Depot) -> None:
    """RSET between the dot and MAIL: without it Dovecot's process dies, and the 250 to the dot with it."""
    boxes = depot.fresh(10)
    with speak() as client:
        assert client.codes(MAIL + rcpt(boxes[0]) + b"DATA\r\n", 3) == "250 250 354"
        for box in boxes[1:]:
            end = HEAD + REST + b".\r\nRSET\r\n"
            assert client.codes(end + MAIL + rcpt(box) + b"DATA\r\n", 5) == "250 250 250 250 354"
        assert client.codes(HEAD + REST + b".\r\n") == "250"
    assert all(len(kept) == 1 for kept in depot.kept(boxes, received=0).values())


def test_an_empty_message_may_be_a_last_chunk_of_nothing(speak: Speak, depot: Depot) -> None:
    (box,) = depot.fresh(1)
    with speak() as client:
        assert client.codes(MAIL + rcpt(box) + b"BDAT 0 LAST\r\n", 3) == "250 250 250"
    assert len(depot.kept([box], received=0)[box]) == 1


def test_postfix_counts_a_refused_recipient_and_its_refused_chunk_as_two_errors(depot: Depot) -> None:
    """Ten in a row end the session, where twenty do that are reset before their chunk; one taken sets it back."""
    (box,) = depot.fresh(1)
    refused = b"RSET\r\n" + MAIL + NOBODY + chunk(HEAD + REST)
    with RawSmtp(depot.places["all"]) as client:
        client.say(b"EHLO client.test\r\n")
        for _ in range(9):
            assert client.codes(refused, 4) == "250 250 550 554"
        assert client.codes(b"RSET\r\n" + MAIL + rcpt(box) + chunk(HEAD + REST), 4) == "250 250 250 250"
        for _ in range(10):
            assert client.codes(refused, 4) == "250 250 550 554"
        assert client.codes(b"RSET\r\n") == "421"
