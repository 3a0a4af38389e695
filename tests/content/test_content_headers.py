"""Header fields, judged by the standard library's parser: what goes in comes out, whatever script it is in."""

from __future__ import annotations

import email
import re
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.content.headers import LONGEST_NAME, HeaderTrouble, check_header_name, mailbox_header, text_header
from mailer.core.address import header_address, wire_address

# Everything but line breaks, NUL and halves of characters, which are refused.
ANY_CHAR = st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0")
ANY_TEXT = st.text(ANY_CHAR, max_size=300)
# What the standard library's own parser and printer keep as it is. They strip the ends of a value.
WORDS = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1), min_size=1)


def parsed(raw: bytes) -> EmailMessage:
    """The message that has only this header."""
    message = email.message_from_bytes(raw + b"\r\n", policy=default)
    assert isinstance(message, EmailMessage)
    return message


def lines_of(raw: bytes) -> list[bytes]:
    """Lines of a header, checked for what must hold of each."""
    assert raw.endswith(b"\r\n")
    lines = raw[:-2].split(b"\r\n")
    assert all(b"\r" not in line and b"\n" not in line and b"\0" not in line for line in lines)
    assert raw.isascii()
    assert not raw.startswith(b".")
    assert all(line[:1] in (b" ", b"\t") and line.strip() for line in lines[1:])
    return lines


@given(ANY_TEXT)
def test_a_text_of_any_characters_comes_out_as_it_went_in(text: str) -> None:
    raw = text_header("Subject", text)
    lines_of(raw)
    assert parsed(raw)["Subject"] == text.strip(" \t")


@given(ANY_TEXT)
def test_encoded_words_are_whole_and_never_longer_than_75(text: str) -> None:
    raw = text_header("Subject", text)
    words = re.findall(rb"=\?utf-8\?[bq]\?[^?\s]*\?=", raw)
    assert all(len(word) <= 75 for word in words)
    for word in words:
        # Each by itself is text: no character is split between two.
        alone = parsed(b"Subject: " + word + b"\r\n")["Subject"]
        assert "\ufffd" not in alone or "\ufffd" in text


@given(ANY_TEXT)
def test_lines_stay_within_78_unless_one_word_is_longer(text: str) -> None:
    longest_word = max(map(len, text.split(" ")), default=0)
    limit = max(78, longest_word + len("Subject: ")) if text.isascii() else 78
    assert all(len(line) <= limit for line in lines_of(text_header("Subject", text)))


@given(WORDS)
def test_the_standard_library_would_have_said_the_same(words: list[str]) -> None:
    text = " ".join(words)
    built = EmailMessage(policy=SMTP)
    built["Subject"] = text
    ours = parsed(text_header("Subject", text))["Subject"]
    assert ours == text == str(built["Subject"])


def test_plain_ascii_is_written_as_it_is() -> None:
    assert text_header("Subject", "Hello, Ann (really)") == b"Subject: Hello, Ann (really)\r\n"


def test_an_empty_value_leaves_the_name_alone() -> None:
    assert text_header("Subject", "") == b"Subject: \r\n"
    assert text_header("Subject", " \t ") == b"Subject: \r\n"


def test_long_ascii_is_folded_before_blanks_and_keeps_them() -> None:
    text = "word  " * 60 + "end"
    raw = text_header("X-Words", text)
    assert max(map(len, lines_of(raw))) <= 78
    assert raw.replace(b"\r\n", b"") == b"X-Words: " + text.encode()


def test_a_long_url_is_not_broken() -> None:
    url = "https://news.example/" + "x" * 300
    raw = text_header("X-Link", f"<{url}> and more words behind it, so that something can be folded")
    assert url.encode() in raw


def test_a_word_that_fits_no_line_is_encoded() -> None:
    text = "x" * 2000
    raw = text_header("Subject", text)
    assert max(map(len, lines_of(raw))) <= 78
    assert parsed(raw)["Subject"] == text


def test_what_looks_like_an_encoded_word_is_not_decoded_by_readers() -> None:
    text = "=?utf-8?q?not_meant?="
    assert parsed(text_header("Subject", text))["Subject"] == text


def test_chinese_is_base64_and_mostly_latin_is_quoted() -> None:
    assert text_header("Subject", "你好，世界").startswith(b"Subject: =?utf-8?b?")
    assert text_header("Subject", "Für alle aus dem Norden") == b"Subject: =?utf-8?q?F=C3=BCr_alle_aus_dem_Norden?=\r\n"


@given(ANY_TEXT)
def test_behind_the_longest_name_everything_still_fits(text: str) -> None:
    name = "X-" + "a" * (LONGEST_NAME - 2)
    raw = text_header(name, text)
    lines_of(raw)
    assert parsed(raw)[name] == text.strip(" \t")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("a\nb", "has a line break in it"),
        ("a\rb", "has a line break in it"),
        ("a\r\nBcc: x@y.example", "has a line break in it"),
        ("a\0b", "has a NUL character in it"),
        ("a\ud800b", "has half a character in it (a lone surrogate)"),
    ],
)
def test_what_may_not_be_in_a_header_is_refused(value: str, what: str) -> None:
    with pytest.raises(HeaderTrouble, match=re.escape(what)):
        text_header("Subject", value)
    with pytest.raises(HeaderTrouble, match=re.escape(what)):
        mailbox_header("To", value, "a@b.example")


@pytest.mark.parametrize("name", ["List-Unsubscribe", "References", "in-reply-to", "Precedence"])
def test_a_field_of_tokens_takes_ascii_only(name: str) -> None:
    with pytest.raises(HeaderTrouble, match="beyond ASCII"):
        text_header(name, "<https://example.com/ü>")
    with pytest.raises(HeaderTrouble, match="a word that fits no line"):
        text_header(name, "x" * 1200)


@given(ANY_TEXT.filter(lambda text: text.strip(" \t") == text and text != ""))
def test_a_name_of_any_characters_comes_out_beside_its_address(name: str) -> None:
    raw = mailbox_header("To", name, "ann@example.com")
    lines_of(raw)
    assert all(len(line) <= 78 for line in raw.split(b"\r\n"))
    (address,) = parsed(raw)["To"].addresses
    assert address.addr_spec == "ann@example.com"
    # The library's older decoder is the judge of the words: its newer one puts blanks between encoded words of a name,
    # against RFC 2047 section 6.2.
    written, _, _ = raw.decode("ascii").removeprefix("To: ").rpartition("<")
    if written.startswith("=?"):
        assert str(make_header(decode_header(written.strip()))) == name
    else:
        assert address.display_name == name


@given(ANY_TEXT)
def test_no_name_makes_a_second_address(name: str) -> None:
    message = parsed(mailbox_header("To", name, "ann@example.com"))
    assert message.keys() == ["To"]
    assert [address.addr_spec for address in message["To"].addresses] == ["ann@example.com"]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("", b"To: ann@example.com"),
        ("Ann Smith", b"To: Ann Smith <ann@example.com>"),
        ("Smith, Ann", b'To: "Smith, Ann" <ann@example.com>'),
        ("J. Smith", b'To: "J. Smith" <ann@example.com>'),
        ('Ann "Annie" Smith', b'To: "Ann \\"Annie\\" Smith" <ann@example.com>'),
        ("back\\slash", b'To: "back\\\\slash" <ann@example.com>'),
        ("王小明", b"To: =?utf-8?b?546L5bCP5piO?= <ann@example.com>"),
    ],
)
def test_a_name_is_quoted_or_encoded_only_where_it_must_be(name: str, written: bytes) -> None:
    assert mailbox_header("To", name, "ann@example.com") == written + b"\r\n"
    if name:
        assert str(Address(name, addr_spec="ann@example.com")) == str(parsed(written + b"\r\n")["To"].addresses[0])


def test_a_long_name_and_a_long_address_are_folded() -> None:
    address = "a" * 60 + "@" + "b" * 60 + ".example"
    raw = mailbox_header("To", "Ann Smith of a Long Name Indeed", address)
    assert raw == f"To: Ann Smith of a Long Name Indeed\r\n <{address}>\r\n".encode()
    raw = mailbox_header("Reply-To", "word " * 40 + "end", address)
    assert max(map(len, raw.replace(address.encode(), b"").split(b"\r\n"))) <= 78


@pytest.mark.parametrize(
    "name",
    [
        "From", "To", "Cc", "Bcc", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "content-anything",
        "Sender", "Return-Path", "Received", "DKIM-Signature", "X-Mailer-Id", "Reply-To", "Resent-From", "SUBJECT",
    ],
)  # fmt: skip
def test_headers_that_mailer_or_servers_write_cannot_be_set(name: str) -> None:
    wrong = check_header_name(name)
    assert wrong is not None
    assert wrong[0] == "cannot be set"
    assert wrong[1].endswith(".")


def test_an_address_beyond_ascii_is_written_in_utf_8_and_its_name_is_not() -> None:
    raw = mailbox_header("To", "王小明", "用户@例子.广告")
    assert raw == "To: =?utf-8?b?546L5bCP5piO?= <用户@例子.广告>\r\n".encode()
    assert mailbox_header("To", "", "用户@例子.广告") == "To: 用户@例子.广告\r\n".encode()


def test_the_longest_address_there_can_be_fits_a_line() -> None:
    # Octets count (RFC 6532 section 3.4). One letter many times is what grows most from its A-label.
    address = header_address("字@" + ".".join(["\U00020000" * 54] * 4))
    assert len(wire_address(address).encode()) > 240
    for name in ("", "Ann", "王小明" * 40):
        raw = mailbox_header("To", name, address)
        assert max(map(len, raw.split(b"\r\n"))) <= 998
        assert len(raw) > 800


@pytest.mark.parametrize("name", ["", ".", ".X-Kind", "X Kind", "X:Kind", "X-Ü", "X\r\n", "X\0"])
def test_what_is_no_name_is_refused(name: str) -> None:
    wrong = check_header_name(name)
    assert wrong is not None
    assert wrong[0] == "is no name of a header"


def test_a_name_has_an_end() -> None:
    assert check_header_name("X-" + "a" * 48) is None
    assert check_header_name("X-" + "a" * 49) == ("is too long: a name has at most 50 characters", "")


@pytest.mark.parametrize("name", ["X-Campaign", "List-Unsubscribe", "Precedence", "Feedback-ID", "Importance"])
def test_other_headers_can_be_set(name: str) -> None:
    assert check_header_name(name) is None
