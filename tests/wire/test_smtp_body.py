"""A body on the wire (RFC 5321 section 4.5.2): whatever it holds, the server reads one message and what we meant."""

from __future__ import annotations

import itertools
import re
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailer.smtp.body import (
    LONGEST_LINE_BYTES,
    MOST_REMEMBERED,
    MOST_REMEMBERED_BYTES,
    PIECE_BYTES,
    REMEMBERED_BYTES,
    Stuffer,
    in_pieces,
)
from mailer.smtp.envelope import Misfit

LF = b"\n"
LINES = (b"x" * 600 + b"\r\n") * (REMEMBERED_BYTES // 600 + 1)  # just large enough to be remembered


def on_the_wire(*chunks: bytes) -> bytes:
    return b"".join(Stuffer().fit(chunks).parts)


def read_by_server(wire: bytes) -> list[bytes]:
    """The messages that a strict server reads of `wire`, which holds DATA text and its lone dot, and what is left."""
    messages = []
    while wire:
        text, end, wire = (b"\r\n" + wire).partition(b"\r\n.\r\n")
        assert end, "it never ends"
        messages.append((text + b"\r\n")[2:].replace(b"\r\n..", b"\r\n.").removeprefix(b"."))
    return messages


@pytest.mark.parametrize(
    ("chunks", "wire"),
    [
        ((b"hello\r\n",), b"hello\r\n"),
        ((b".\r\n",), b"..\r\n"),
        ((b".hidden\r\n",), b"..hidden\r\n"),
        ((b"a\r\n.\r\nb\r\n",), b"a\r\n..\r\nb\r\n"),
        ((b"a\r\n..\r\n",), b"a\r\n...\r\n"),
        ((b"a\r\n", b".\r\n"), b"a\r\n..\r\n"),
        ((b"a\r\n", b"", b".b\r\n"), b"a\r\n..b\r\n"),
        ((b"a", b".b\r\n"), b"a.b\r\n"),
        ((b"a\r", b"\n.b\r\n"), b"a\r\n..b\r\n"),
        ((b"a",), b"a\r\n"),
        ((), b""),
        # What smuggling is made of (CVE-2023-51764 and its kind): servers differ on where these lines end.
        ((b"a\n.\nMAIL FROM:<x@y>\r\n",), b"a\r\n..\r\nMAIL FROM:<x@y>\r\n"),
        ((b"a\r\n.\nb\r\n",), b"a\r\n..\r\nb\r\n"),
        ((b"a\n.\r\nb\r\n",), b"a\r\n..\r\nb\r\n"),
        ((b"a\r.\rb\r\n",), b"a\r\n..\r\nb\r\n"),
        ((b"a\r\r\n.\r\n",), b"a\r\n\r\n..\r\n"),
        ((b"a\r\n", b".", b"\r\n"), b"a\r\n..\r\n"),
    ],
)
def test_doubles_dots_and_ends_lines(chunks: tuple[bytes, ...], wire: bytes) -> None:
    assert on_the_wire(*chunks) == wire


_NASTY = st.lists(
    st.sampled_from(
        [b".", b"\r", b"\n", b"\r\n", b"a", b"", (b"x" * 600 + b"\r\n") * (REMEMBERED_BYTES // 600 + 1), b"QUIT"]
    ),
    max_size=30,
)


@settings(deadline=None)  # large inputs, on machines that do other things, too
@given(st.lists(_NASTY.map(b"".join), max_size=6))
def test_any_chunks_are_one_message_that_reads_as_it_was_meant(chunks: list[bytes]) -> None:
    wire = on_the_wire(*chunks)
    meant = re.sub(rb"\r\n|\r|\n", b"\r\n", b"".join(chunks))
    if meant and not meant.endswith(b"\r\n"):
        meant += b"\r\n"
    assert read_by_server(wire + b".\r\n") == [meant]
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", wire)


@settings(deadline=None)  # large inputs, on machines that do other things, too
@given(st.lists(_NASTY.map(b"".join), max_size=6))
def test_the_borders_of_chunks_make_no_difference(chunks: list[bytes]) -> None:
    assert on_the_wire(*chunks) == on_the_wire(b"".join(chunks))


@settings(deadline=None)  # large inputs, on machines that do other things, too
@given(st.lists(_NASTY.map(b"".join), max_size=6))
def test_the_size_counts_no_dots_that_were_added(chunks: list[bytes]) -> None:
    body = Stuffer().fit(chunks)
    (message,) = read_by_server(b"".join(body.parts) + b".\r\n")
    assert body.size_bytes == len(message)
    # Only what has no added dot is good for a chunk, which is taken as it is (RFC 3030).
    assert body.is_dotted == (b"".join(body.parts) != message)


@pytest.mark.parametrize(
    ("chunks", "line"),
    [
        ((b"x" * 999 + b"\r\n",), "line 1 of the message has 999 bytes"),
        ((b"a\r\n" + b"x" * 1500 + b"\r\nb\r\n",), "line 2 of the message has 1,500 bytes"),
        ((b"a\r\n", b"x" * 999), "line 2 of the message has 999 bytes"),
        ((b"a\r\n" + b"x" * 500, b"y" * 499 + b"\r\n"), "line 2 of the message has 999 bytes"),
        ((b"x" * 500, b"y" * REMEMBERED_BYTES, b"z\r\n"), "line 1 of the message has 16,885 bytes"),
        ((b"a\n" + b"x" * 999 + b"\n",), "line 2 of the message has 999 bytes"),
        ((LINES + b"x" * 999 + b"\r\n" + LINES,), f"line {LINES.count(LF) + 1} of the message has 999 bytes"),
        ((LINES, b"x" * 999), f"line {LINES.count(LF) + 1} of the message has 999 bytes"),
    ],
)
def test_refuses_a_line_of_more_than_998_octets(chunks: tuple[bytes, ...], line: str) -> None:
    """RFC 5321 section 4.5.3.1.6: folding is for whoever composes; here it is too late."""
    with pytest.raises(Misfit, match=line):
        Stuffer().fit(chunks)


@pytest.mark.parametrize(
    "chunks",
    [
        (b"x" * 998 + b"\r\n",),
        (b"x" * 998,),
        (b"x" * 500, b"y" * 498 + b"\r\n"),
        (b"." * 998 + b"\r\n",),  # the dot that is added is not counted
        ((b"x" * 998 + b"\r\n") * 100,),
        (b"a\n" + b"x" * 998 + b"\n",),
    ],
)
def test_takes_lines_of_998_octets(chunks: tuple[bytes, ...]) -> None:
    assert read_by_server(on_the_wire(*chunks) + b".\r\n")


@given(st.lists(st.integers(1, 1200), min_size=1, max_size=40), st.lists(st.integers(0, 30000), max_size=5))
def test_finds_a_long_line_wherever_the_borders_of_chunks_are(sizes: list[int], cuts: list[int]) -> None:
    whole = b"".join(b"x" * size + b"\r\n" for size in sizes)
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    chunks = [whole[a:b] for a, b in itertools.pairwise(edges)]
    if max(sizes) <= LONGEST_LINE_BYTES:
        assert Stuffer().fit(chunks).size_bytes == len(whole)
    else:
        with pytest.raises(Misfit):
            Stuffer().fit(chunks)


def test_a_large_chunk_that_comes_again_is_the_same_object_and_is_looked_at_once() -> None:
    stuffer = Stuffer()
    attachment = b"x" * 70 + b"\r\n.\r\n" + LINES
    first = stuffer.fit((b"To: a\r\n", attachment)).parts[-1]
    second = stuffer.fit((b"To: b\r\n", attachment)).parts[-1]
    assert first is second


def test_what_it_remembers_is_bounded() -> None:
    stuffer = Stuffer()
    for n in range(3 * MOST_REMEMBERED):
        stuffer.fit((LINES + b"%d\r\n" % n,))
    assert len(stuffer._remembered) == MOST_REMEMBERED


@pytest.mark.parametrize("line", [b"x" * 76 + b"\r\n", b"." * 76 + b"\r\n"], ids=["as it is", "with dots to double"])
def test_large_attachments_of_campaigns_that_are_over_do_not_stay_in_memory(line: bytes) -> None:
    stuffer = Stuffer()
    size = MOST_REMEMBERED_BYTES // 8
    tracemalloc.start()
    try:
        for n in range(32):
            stuffer.fit((b"%d\r\n" % n, line * (size // len(line))))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.1 * MOST_REMEMBERED_BYTES


@given(st.lists(st.integers(0, 3 * PIECE_BYTES), max_size=6))
def test_pieces_hold_the_same_bytes_and_none_is_large_or_empty(sizes: list[int]) -> None:
    parts = [bytes([65 + n]) * size for n, size in enumerate(sizes)]
    pieces = in_pieces(parts)
    assert b"".join(pieces) == b"".join(parts)
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)
