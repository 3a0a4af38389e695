"""Replies (RFC 5321 section 4.2): how bytes become them, in whatever pieces they come, and what is none."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.core.reply import Reply
from mailer.smtp.reply_parser import MAX_REPLY_BYTES, ReplyParser

READ = [
    (b"250 ok\r\n", Reply(250, None, "ok")),
    (b"250 2.1.5 ok\r\n", Reply(250, "2.1.5", "ok")),
    (b"250\r\n", Reply(250, None, "")),
    (b"250 \r\n", Reply(250, None, "")),
    (b"250 ok\n", Reply(250, None, "ok")),
    (b"250-one\r\n250-two\r\n250 three\r\n", Reply(250, None, "one\ntwo\nthree")),
    (b"550-5.1.1 no such\r\n550 5.1.1 user\r\n", Reply(550, "5.1.1", "no such\nuser")),
    (b"550-5.1.1 no such\r\n550 user\r\n", Reply(550, "5.1.1", "no such\nuser")),
    # A class that contradicts the code is text (RFC 2034 section 4); so is a number with four parts.
    (b"550 4.1.1 odd\r\n", Reply(550, None, "4.1.1 odd")),
    (b"354 3.0.0 go on\r\n", Reply(354, None, "3.0.0 go on")),
    (b"250 2.1.5.7 ok\r\n", Reply(250, None, "2.1.5.7 ok")),
    (b"550 5.7.1\r\n", Reply(550, "5.7.1", "")),
    ("550 没有此用户\r\n".encode(), Reply(550, None, "没有此用户")),
    (b"550 \x1b[31mred\x00\r\n", Reply(550, None, "\ufffd[31mred\ufffd")),
    (b"550 tab\there\r\n", Reply(550, None, "tab here")),
]


@pytest.mark.parametrize(("data", "reply"), READ)
def test_reads_a_reply(data: bytes, reply: Reply) -> None:
    parser = ReplyParser()
    assert parser.feed(data) == [reply]
    assert parser.error is None
    assert not parser.has_leftover


def test_text_that_is_not_utf_8_is_kept_as_far_as_it_goes() -> None:
    (reply,) = ReplyParser().feed("550 无此用户\r\n".encode("gbk"))
    assert reply.code == 550
    assert "\ufffd" in reply.text
    reply.text.encode()  # no surrogates: it can be stored


NO_REPLY = [
    b"\r\n",
    b"25 ok\r\n",
    b"2500 ok\r\n",
    b"25x ok\r\n",
    b"250_ok\r\n",
    b"650 ok\r\n",
    b"050 ok\r\n",
    b" 250 ok\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"+OK POP3 ready\r\n",
    b"250-one\r\n251 two\r\n",
    b"250-one\r\nand more\r\n",
    "２５０ ok\r\n".encode(),
]


@pytest.mark.parametrize("data", NO_REPLY)
def test_what_is_no_reply_is_an_error_and_nothing_is_read_after_it(data: bytes) -> None:
    parser = ReplyParser()
    assert parser.feed(data) == []
    assert parser.error is not None
    assert parser.feed(b"250 ok\r\n") == []


def test_replies_before_the_broken_one_still_count() -> None:
    parser = ReplyParser()
    assert parser.feed(b"250 taken\r\nnonsense\r\n") == [Reply(250, None, "taken")]
    assert parser.error is not None


@pytest.mark.parametrize(
    "line", [b"250 " + b"x" * MAX_REPLY_BYTES + b"\r\n", b"250-x\r\n" * (MAX_REPLY_BYTES // 7 + 1)]
)
def test_an_endless_reply_is_given_up(line: bytes) -> None:
    parser = ReplyParser()
    assert parser.feed(line) == []
    assert parser.error is not None
    assert "32 KiB" in parser.error.message


def test_a_long_reply_within_the_limit_is_read() -> None:
    data = b"250-" + b"x" * 1000 + b"\r\n"
    (reply,) = ReplyParser().feed(data * 30 + b"250 end\r\n")
    assert len(reply.text) == 30 * 1001 + 3


def test_the_limit_is_for_each_reply() -> None:
    parser = ReplyParser()
    assert len(parser.feed(b"250 ok\r\n" * 10_000)) == 10_000


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(ends)]


_LINES = st.one_of(
    st.sampled_from([data for data, _ in READ] + NO_REPLY),
    st.binary(max_size=40),
    st.just(b"250-" + b"y" * 20_000 + b"\r\n"),
)


@given(st.lists(_LINES, max_size=8).map(b"".join), st.lists(st.integers(0, 100_000), max_size=12))
def test_any_way_of_cutting_the_bytes_gives_the_same_replies_and_the_same_end(data: bytes, places: list[int]) -> None:
    whole, pieces = ReplyParser(), ReplyParser()
    expected = whole.feed(data)
    got = [reply for piece in _cut(data, places) for reply in pieces.feed(piece)]
    assert got == expected
    assert (pieces.error is None) == (whole.error is None)


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing(data: bytes) -> None:
    for reply in ReplyParser().feed(data):
        assert 100 <= reply.code < 600
        assert all(char.isprintable() or char == "\n" for char in reply.text)
