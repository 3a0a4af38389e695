"""Bodies and file names on their way into a message, judged by the standard library's decoders."""

from __future__ import annotations

import email
from email.message import EmailMessage
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.content.body import LONGEST_PLAIN_LINE, encode_file, encode_text
from mailer.content.part_headers import content_type, file_disposition

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)
LINE = st.text(st.sampled_from("ab =.\t-_üé字"), max_size=90)
FILE_NAME = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=120)


def parsed(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def sent(text: str) -> tuple[str, str]:
    """The transfer encoding chosen for `text`, and what a reader decodes; checked for what must hold of every body."""
    raw = encode_text(text)
    assert raw.isascii()
    assert raw.endswith(b"\r\n")
    assert b"\r" not in raw.replace(b"\r\n", b"")
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert b"\0" not in raw
    assert max(map(len, raw.split(b"\r\n"))) <= LONGEST_PLAIN_LINE
    assert not any(line.startswith(b".") for line in raw.split(b"\r\n"))
    message = parsed(content_type("text/plain", charset="utf-8") + raw)
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return message["Content-Transfer-Encoding"], payload.decode()


def with_crlf(text: str) -> str:
    """`text` as it must arrive."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    return text if text.endswith("\r\n") else text + "\r\n"


@given(TEXT)
def test_any_text_arrives_with_crlf_line_ends_and_nothing_else_changed(text: str) -> None:
    assert sent(text)[1] == with_crlf(text)


@given(st.lists(LINE, max_size=12))
def test_lines_with_blanks_and_dots_and_equals_signs_arrive(lines: list[str]) -> None:
    text = "\n".join(lines)
    encoding, arrived = sent(text)
    assert arrived == with_crlf(text)
    if encoding != "7bit":
        body = encode_text(text).partition(b"\r\n\r\n")[2]
        assert max(map(len, body.split(b"\r\n"))) <= 76  # RFC 2045 section 6.7 (5), section 6.8


def test_plain_ascii_travels_as_it_is() -> None:
    assert encode_text("Hi = there.\nx") == b"Content-Transfer-Encoding: 7bit\r\n\r\nHi = there.\r\nx\r\n"


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (".", b"=2E\r\n"),
        ("..", b"=2E.\r\n"),
        ("a\n.\n.b\r\r..c", b"a\r\n=2E\r\n=2Eb\r\n\r\n=2E.c\r\n"),
        # 76 characters are a line; of more, 75 and the rest, which may begin with a dot as well.
        ("." + "a" * 73, b"=2E" + b"a" * 73 + b"\r\n"),
        ("." + "a" * 74, b"=2E" + b"a" * 72 + b"=\r\naa\r\n"),
        ("." * 75, b"=2E" + b"." * 72 + b"=\r\n=2E.\r\n"),
        # No cut goes through an escape.
        ("." + "a" * 70 + "=a", b"=2E" + b"a" * 70 + b"=\r\n=3Da\r\n"),
        ("." + "a" * 73 + " ", b"=2E" + b"a" * 72 + b"=\r\na=20\r\n"),
        # A soft line break of b2a_qp brings a dot to the beginning of a line.
        ("ü" + "a" * 69 + ".b", b"=C3=BC" + b"a" * 69 + b"=\r\n=2Eb\r\n"),
    ],
)
def test_no_line_begins_with_a_dot(text: str, body: bytes) -> None:
    assert encode_text(text) == b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + body
    assert sent(text) == ("quoted-printable", with_crlf(text))


def test_a_long_line_does_not_travel_as_it_is() -> None:
    assert sent("a" * LONGEST_PLAIN_LINE)[0] == "7bit"
    assert sent("a" * (LONGEST_PLAIN_LINE + 1))[0] == "quoted-printable"
    assert sent("short\n" * 300)[0] == "7bit"
    for before in ("", "short\n" * 300, "a" * LONGEST_PLAIN_LINE + "\n"):
        for behind in ("", "\nshort" * 300):
            assert sent(f"{before}{'a' * LONGEST_PLAIN_LINE}{behind}")[0] == "7bit"
            assert sent(f"{before}{'a' * (LONGEST_PLAIN_LINE + 1)}{behind}")[0] == "quoted-printable"


@pytest.mark.parametrize("char", ["\0", "\x07", "\x1b", "\x7f"])
def test_control_characters_do_not_travel_as_they_are(char: str) -> None:
    encoding, arrived = sent(f"between these there is one: {char} and it arrives")
    assert encoding == "quoted-printable"
    assert char in arrived


def test_the_shorter_of_two_encodings_is_chosen() -> None:
    assert sent("Grüße aus Berlin, und noch viele Worte ohne Umlaute dahinter")[0] == "quoted-printable"
    assert sent("你好，欢迎订阅我们的新闻。" * 10)[0] == "base64"


@given(TEXT)
def test_no_other_encoding_would_have_been_much_shorter(text: str) -> None:
    import binascii

    raw = encode_text(text).partition(b"\r\n\r\n")[2]
    data = with_crlf(text).encode()
    assert len(raw) <= min(len(binascii.b2a_qp(data)), len(encode_file(data))) + 80


def test_half_a_character_is_an_error() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_text("a\ud800")


@given(st.text(st.sampled_from("-=_ab\n"), max_size=60))
def test_no_body_line_can_be_a_boundary_of_ours(text: str) -> None:
    assert all(not line.startswith(b"--=_") for line in encode_text(text).split(b"\r\n"))


@given(st.binary(max_size=400))
def test_a_file_of_any_bytes_arrives_as_it_is(data: bytes) -> None:
    raw = b"Content-Transfer-Encoding: base64\r\n\r\n" + encode_file(data)
    assert parsed(raw).get_payload(decode=True) == data
    assert all(len(line) <= 76 for line in raw.split(b"\r\n"))


@given(FILE_NAME)
def test_a_file_name_in_any_script_and_of_any_length_arrives(name: str) -> None:
    raw = file_disposition("attachment", name)
    assert raw.isascii()
    lines = raw.split(b"\r\n")
    assert all(len(line) <= 78 for line in lines)
    assert all(line.startswith(b" ") for line in lines[1:-1])
    message = parsed(raw + b"\r\n")
    assert message.get_content_disposition() == "attachment"
    # Not `get_filename`, which takes blanks off its ends.
    assert message["Content-Disposition"].params["filename"] == name


@pytest.mark.parametrize(
    "name", ["report.pdf", 'a "quoted" name.txt', "back\\slash.txt", "a;b=c.txt", "x" * 300 + ".pdf"]
)
def test_the_standard_library_reads_a_file_name_as_it_reads_its_own(name: str) -> None:
    built = EmailMessage()
    built.add_header("Content-Disposition", "attachment", filename=name)
    assert parsed(file_disposition("attachment", name) + b"\r\n").get_filename() == built.get_filename() == name
