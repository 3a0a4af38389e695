"""What an address may look like, how two are compared, and how one is written on the wire."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.core.address import (
    BadAddress,
    Mailbox,
    address_key,
    check_address,
    domain_of,
    header_address,
    parse_mailbox,
    wire_address,
)


@pytest.mark.parametrize(
    "address",
    [
        # RFC 5321 appendix D, RFC 5322 appendix A, RFC 3696 section 3
        "Smith@bar.com",
        "Jones@Foo.COM",
        "joe.q.public@x.test",
        '"Joe.Q.Public"@example.com',
        "user+mailbox@example.com",
        "customer/department=shipping@example.com",
        "$A12345@example.com",
        "!def!xyz%abc@example.com",
        "_somename@example.com",
        r'"Abc\@def"@example.com',
        '"Abc@def"@example.com',
        # RFC 6531
        "用户@例子.广告",
        "Dörte@Sörensen.example.com",
        "x@localhost",
        "a@1.example",
        "a@sub_domain.example.com",
        "a@" + ".".join(["d" * 63] * 3) + ".com",
        "l" * 64 + "@example.com",
    ],
)
def test_good_addresses_are_taken(address: str) -> None:
    check_address(address)
    assert wire_address(address).isascii() or not address.isascii()


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("", "it is empty"),
        ("example.com", "it has no `@`"),
        ("@example.com", "nothing stands before the `@`"),
        ("user@", "nothing stands behind the `@`"),
        ("a b@example.com", "it holds a blank or a control character"),
        ("a\r\nRCPT TO:<b>@example.com", "it holds a blank or a control character"),
        ("a\x00@example.com", "it holds a blank or a control character"),
        ("a\u2028b@example.com", "it holds a blank or a control character"),
        ("a\u3000b@example.com", "it holds a blank or a control character"),
        ("a\u200bb@example.com", "it holds a character that nobody sees, or half a character"),
        ("a\udcff@example.com", "it holds a character that nobody sees, or half a character"),
        (".a@example.com", "it has a dot where none may be"),
        ("a.@example.com", "it has a dot where none may be"),
        ("a..b@example.com", "it has a dot where none may be"),
        ("a<b>@example.com", "it holds a character that an address cannot have"),
        ('"a<b>"@example.com', "it holds a character that an address cannot have"),
        ('"a b"@example.com', "it holds a blank or a control character"),
        ('"a"b"@example.com', "it holds a character that an address cannot have"),
        ('""@example.com', "it holds a character that an address cannot have"),
        ("a,b@example.com", "it holds a character that an address cannot have"),
        ("l" * 65 + "@example.com", "what stands before the `@` is longer than 64 bytes"),
        ("用" * 22 + "@example.com", "what stands before the `@` is longer than 64 bytes"),
        ("İ" * 32 + "@example.com", "what stands before the `@` is longer than 64 bytes"),  # its lower case is
        ("l" * 64 + "@" + ".".join(["d" * 63] * 3), "it is longer than 254 bytes"),
        ("a@" + ".".join(["d" * 63] * 4) + ".d", "there can be no domain"),
        ("a@-example.com", "there can be no domain '-example.com'"),
        ("a@example-.com", "there can be no domain"),
        ("a@example..com", "there can be no domain"),
        ("a@example.com.", "there can be no domain"),
        ("a@exa mple.com", "there can be no domain"),
        ("a@" + "d" * 64 + ".com", "there can be no domain"),
        ("a@[192.0.2.1]", "there can be no domain"),
        ("a@例子..广告", "there can be no domain"),
        ("a@\udcff.com", "there can be no domain"),
        ("a@☃\u200d.com", "there can be no domain"),
    ],
)
def test_bad_addresses_are_refused_with_what_is_wrong(address: str, what: str) -> None:
    for refuse in (check_address, address_key, wire_address):
        with pytest.raises(BadAddress) as raised:
            refuse(address)
        assert str(raised.value).startswith(what)


def test_the_key_is_lower_case_with_its_domain_in_idna_form() -> None:
    assert address_key("Joe.Bloggs@EXAMPLE.com") == "joe.bloggs@example.com"
    assert address_key("info@Bücher.example") == "info@xn--bcher-kva.example"
    assert address_key("Info@XN--BCHER-KVA.example") == "info@xn--bcher-kva.example"
    assert address_key("ДЖО@пример.рф") == "джо@xn--e1afmkfd.xn--p1ai"


def test_the_wire_form_keeps_the_local_part_as_it_was_written() -> None:
    assert wire_address("Joe.Bloggs@EXAMPLE.com") == "Joe.Bloggs@example.com"
    assert wire_address("用户@例子.广告") == "用户@xn--fsqu00a.xn--4rr70v"


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("Joe.Bloggs@EXAMPLE.com", "Joe.Bloggs@example.com"),
        ("info@Bücher.example", "info@xn--bcher-kva.example"),  # readable by those who know nothing of RFC 6532
        ("用户@例子.广告", "用户@例子.广告"),
        ("用户@XN--FSQU00A.xn--4rr70v", "用户@例子.广告"),
        ("Dörte@Sörensen.example.com", "Dörte@sörensen.example.com"),
        ("müller@example.com", "müller@example.com"),
        ("müller@my_host.xn--bcher-kva.example", "müller@my_host.bücher.example"),
        ("müller@xn--99999.xn--bcher-kva.example", "müller@xn--99999.bücher.example"),  # which stands for nothing
    ],
)
def test_in_a_header_both_halves_are_in_their_script_or_neither_is(address: str, written: str) -> None:
    assert header_address(address) == written


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Zoë.Müller@example.com") for form in ("NFC", "NFD"))


def test_an_accent_written_apart_is_the_same_address() -> None:
    assert DECOMPOSED != COMPOSED
    assert address_key(DECOMPOSED) == address_key(COMPOSED) == "zoë.müller@example.com"
    assert wire_address(DECOMPOSED) == header_address(DECOMPOSED) == COMPOSED


def test_what_an_address_holds_is_judged_by_how_it_goes_out() -> None:
    # Kelvin's sign is a K, the Greek question mark a semicolon, and a letter may take more bytes than it was given.
    assert wire_address("\u212aelvin@example.com") == "Kelvin@example.com"
    with pytest.raises(BadAddress, match="a character that an address cannot have"):
        check_address("a\u037eb@example.com")
    check_address("\u0958" * 10 + "@example.com")
    with pytest.raises(BadAddress, match="longer than 64 bytes"):
        check_address("\u0958" * 11 + "@example.com")
    check_address("u\u0308" * 32 + "@example.com")


def test_how_a_name_is_spelt_is_left_alone() -> None:
    # NFKC would make them ﬁ → fi, ① → 1, ｱ → ア.
    assert wire_address("ﬁ①ｱ@example.com") == "ﬁ①ｱ@example.com"


def test_the_domain_is_in_idna_form() -> None:
    assert domain_of("A@Bücher.Example") == "xn--bcher-kva.example"
    with pytest.raises(BadAddress, match="it has no `@`"):
        domain_of("nobody")


# Much of what hypothesis makes up is refused; these build what may pass, and what nearly does.
LOCALS = st.one_of(
    st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-éßİΣ用\u0301\u0307\u0323\u0345\u212b\u0958]{1,70}", fullmatch=True),
    st.from_regex(r'"[ -~]{0,20}"', fullmatch=True),
    st.text(max_size=20),
)
DOMAINS = st.one_of(
    st.from_regex(r"[A-Za-z0-9_\-]{1,30}(\.[A-Za-z0-9\-]{1,20}){0,4}", fullmatch=True),
    st.from_regex(r"[a-zé例子广告пример.]{1,20}", fullmatch=True),
    st.text(max_size=20),
)


@given(local=LOCALS, domain=DOMAINS)
def test_an_address_is_refused_as_such_or_has_a_key_and_a_wire_form_that_hold(local: str, domain: str) -> None:
    address = f"{local}@{domain}"
    try:
        check_address(address)
    except BadAddress:
        return
    key, wire, header = address_key(address), wire_address(address), header_address(address)
    assert address_key(key) == key
    assert address_key(header) == key
    assert wire_address(header) == wire
    assert header_address(header) == header
    assert header.isascii() == wire.isascii()
    assert address_key(wire) == key
    assert wire_address(wire) == wire
    for written in (key, wire, header):
        assert not set(written) & set("\r\n\0 \t<>")
        assert written.isprintable()
        assert unicodedata.is_normalized("NFC", written)
        assert len(written.rpartition("@")[0].encode()) <= 64
    for written in (key, wire):
        assert written.rpartition("@")[2].isascii()
        assert domain_of(written) == written.rpartition("@")[2]


@given(text=st.text(max_size=60))
def test_any_text_is_one_mailbox_or_is_refused_as_such(text: str) -> None:
    try:
        found = parse_mailbox(text)
    except BadAddress:
        return
    check_address(found.address)
    assert "\n" not in found.name
    assert "\r" not in found.name


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("a@b.com", Mailbox("", "a@b.com")),
        ("  a@b.com ", Mailbox("", "a@b.com")),
        ("<a@b.com>", Mailbox("", "a@b.com")),
        ("News <a@b.com>", Mailbox("News", "a@b.com")),
        ("News<a@b.com>", Mailbox("News", "a@b.com")),
        ("新闻 周刊 <a@b.com>", Mailbox("新闻 周刊", "a@b.com")),
        ('"News, Inc." <a@b.com>', Mailbox("News, Inc.", "a@b.com")),
        (r'"The \"News\" @ night" <a@b.com>', Mailbox('The "News" @ night', "a@b.com")),
    ],
)
def test_a_mailbox_is_a_name_and_an_address(text: str, mailbox: Mailbox) -> None:
    assert parse_mailbox(text) == mailbox


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a@b.com, c@d.com", "expected one address"),
        ("a@b.com,c@d.com", "expected one address"),
        ("A <a@b.com>, C <c@d.com>", "expected one address"),
        ("a@b.com <c@d.com>", "expected one address"),
        ('"open <a@b.com>', "its name has a quote that is not closed"),
        ('half "quoted" <a@b.com>', "expected one address"),
        ("News <a@b.com", "expected one address"),
        ("News\r\nBcc: x@y.z <a@b.com>", "it holds a control character or a line break"),
        ("News\u2028 <a@b.com>", "it holds a control character or a line break"),
        ("News\udcff <a@b.com>", "it holds a control character or a line break"),
        ("News <>", "it is empty"),
        ("", "it is empty"),
    ],
)
def test_what_is_not_one_mailbox_is_refused(text: str, what: str) -> None:
    with pytest.raises(BadAddress) as raised:
        parse_mailbox(text)
    assert str(raised.value).startswith(what)
