"""Each reply of a transcript is compared with what the step before it should bring."""

from __future__ import annotations

import pytest

from mailer.service.expected_replies import ExpectedReplies


def read(*lines: str) -> tuple[list[str], ExpectedReplies]:
    written: list[str] = []
    reader = ExpectedReplies(written.append)
    for line in lines:
        reader(line)
    return written, reader


CONVERSATION = (
    "S: 220 relay ready",
    "C: EHLO me.test",
    "S: 250-relay",
    "S: 250-SIZE 1000",
    "S: 250 AUTH LOGIN",
    "C: AUTH LOGIN",
    "S: 334 VXNlcm5hbWU6",
    "C: ***",
    "S: 334 UGFzc3dvcmQ6",
    "C: ***",
    "S: 235 welcome",
    "C: MAIL FROM:<a@b.test>",
    "S: 250 ok",
    "C: RCPT TO:<c@d.test>",
    "S: 251 will forward",
    "C: DATA",
    "S: 354 go on",
    "-- the message, 36 bytes",
    "C: .",
    "S: 250 taken",
    "C: QUIT",
    "S: 221 bye",
)


def test_a_conversation_as_it_should_be_is_passed_on_line_by_line() -> None:
    written, reader = read(*CONVERSATION)
    assert written == list(CONVERSATION)
    assert reader.surprises == []


@pytest.mark.parametrize(
    ("command", "reply", "sentence"),
    [
        (None, "554 5.7.1 not from there", "the connection was answered with 554, expected was 220. It means: "),
        ("EHLO me.test", "502 what", "EHLO was answered with 502, expected was 250. It means: "),
        ("ehlo me.test", "502 what", "EHLO was answered with 502, expected was 250. It means: "),
        ("STARTTLS", "454 not now", "STARTTLS was answered with 454, expected was 220. It means: "),
        ("AUTH LOGIN", "535 5.7.8 no", "AUTH was answered with 535, expected was 334 or 235. It means: "),
        ("MAIL FROM:<a@b>", "550 no", "MAIL was answered with 550, expected was 250. It means: "),
        ("RCPT TO:<a@b>", "550 no", "RCPT was answered with 550, expected was 250 or 251 or 252. It means: "),
        ("DATA", "250 what", "DATA was answered with 250, expected was 354. "),
        (".", "451 later", "the end of the message was answered with 451, expected was 250. It means: "),
        ("RSET", "500 no", "RSET was answered with 500, expected was 250. It means: "),
        ("QUIT", "250 bye", "QUIT was answered with 250, expected was 221. "),
        ("QUIT", "HTTP/1.1 400 Bad Request", "QUIT was answered with 'HTTP/1.1 400 Bad Request', expected was 221. "),
    ],
)
def test_any_other_reply_is_named_with_its_command_and_its_meaning(
    command: str | None, reply: str, sentence: str
) -> None:
    written, reader = read(*([f"C: {command}"] if command else []), f"S: {reply}")
    assert written[-2] == f"S: {reply}"
    assert written[-1].startswith(f"!! {sentence}")
    assert reader.surprises == [written[-1].removeprefix("!! ")]
    assert len(written[-1]) > len(sentence), "and something is said of it"


def test_a_reply_of_several_lines_is_judged_once_when_it_is_whole() -> None:
    written, reader = read("C: MAIL FROM:<a@b>", "S: 550-5.7.1 first", "S: 550-5.7.1 second", "S: 550 5.7.1 last")
    assert [line[:2] for line in written] == ["C:", "S:", "S:", "S:", "!!"]
    assert len(reader.surprises) == 1


def test_after_a_masked_line_the_reply_belongs_to_the_login() -> None:
    _, reader = read("C: AUTH LOGIN ***", "S: 334 UGFzc3dvcmQ6", "C: ***", "S: 535 5.7.8 authentication failed")
    [sentence] = reader.surprises
    assert sentence.startswith("AUTH was answered with 535, expected was 334 or 235. It means: ")


def test_one_surprise_does_not_colour_the_next_reply() -> None:
    _, reader = read("C: AUTH LOGIN ***", "S: 501 no", "C: AUTH LOGIN", "S: 334 VXNlcm5hbWU6", "C: RSET", "S: 250 ok")
    assert len(reader.surprises) == 1


def test_a_refused_initial_response_is_no_end_and_that_is_said() -> None:
    written, _ = read("C: AUTH LOGIN ***", "S: 501 5.5.4 no initial response here")
    assert written[-1] == (
        "!! AUTH was answered with 501, expected was 334 or 235. "
        "It takes no initial response: the login goes on in three steps."
    )
    written, _ = read("C: AUTH PLAIN ***", "S: 504 5.5.4 not that one")
    assert "It means: " in written[-1]


def test_commands_that_were_written_ahead_have_their_answers_in_order() -> None:
    """RFC 2920: a refused recipient is named, and what was written behind it surprises nobody."""
    lines: list[str] = []
    watcher = ExpectedReplies(lines.append)
    for line in (
        "S: 220 relay",
        "C: EHLO x",
        "S: 250-relay",
        "S: 250 PIPELINING",
        "C: MAIL FROM:<a@b.example>",
        "C: RCPT TO:<c@d.example>",
        "C: BDAT 19",
        "C: MIME-Version: 1.0",
        "C: NOOP",
        *("S: 250 ok",) * 4,
        "C: BDAT 100 LAST",
        "C: RSET",
        "C: MAIL FROM:<a@b.example>",
        "C: RCPT TO:<nobody@d.example>",
        "C: BDAT 100 LAST",
        "S: 250 taken",
        "S: 250 reset",
        "S: 250 sender ok",
        "S: 550 5.1.1 no such user",
        "S: 503 5.5.1 no recipients",
        "C: QUIT",
        "S: 221 bye",
    ):
        watcher(line)
    (surprise,) = watcher.surprises
    assert surprise.startswith("RCPT was answered with 550, expected was 250 or 251 or 252. It means: ")
