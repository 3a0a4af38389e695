"""Composed messages, judged by the standard library: parsed, and compared with what it would have built itself."""

from __future__ import annotations

import dataclasses
import email
import hashlib
import re
from datetime import UTC, date, datetime
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, default
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.content import Compiled, Content, Occasion, Part, Unfit, compile_content
from mailer.core.message import FIRST_LINE, Composed
from mailer.errors import InputError

OCCASION = Occasion("spring/sale", date(2026, 11, 24))
DATE = datetime(2026, 11, 24, 8, 30, 5, 123456, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
PDF = b"%PDF-1.7\r\n.\r\n" + b"x" * 5000
ANY_VALUE = st.text(st.characters(), max_size=60)  # lone surrogates and control characters as well


def content(**changes: Any) -> Content:
    plain = Content("News <news@example.com>", "Hello {{ name }}", text="Hi {{ name }},\n\nyour code is {{ code }}.\n")
    return dataclasses.replace(plain, **changes)


def part(name: str, mime_type: str, data: bytes) -> Part:
    return Part(name, mime_type, hashlib.sha256(data).hexdigest(), len(data))


def compiled(made: Content, *data: bytes) -> Compiled:
    return compile_content(made, {hashlib.sha256(each).hexdigest(): each for each in data}, OCCASION)


def compose(made: Compiled, address: str = "ann@example.org", prefix: str = "", **fields: Any) -> bytes:
    return b"".join(composed(made, address, prefix, **fields).chunks)


def composed(made: Compiled, address: str = "ann@example.org", prefix: str = "", **fields: Any) -> Composed:
    """The message, checked for what must hold of everything that goes on the wire."""
    result = made.compose(
        address, fields, message_id="<0123@example.com>", mailer_id="0123", date=DATE, subject_prefix=prefix
    )
    raw = b"".join(result.chunks)
    assert result.size_bytes == len(raw)
    assert raw.startswith(FIRST_LINE)
    assert raw.isascii() == (result.utf8_address is None)
    assert raw.endswith(b"\r\n")
    assert b"\0" not in raw
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", raw)
    assert b"\n." not in raw
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    return result


def read(raw: bytes) -> EmailMessage:
    message = email.message_from_bytes(raw, policy=default)
    assert isinstance(message, EmailMessage)
    for each in message.walk():
        assert not each.defects
    return message


def structure(message: EmailMessage) -> Any:
    """Types, file names, and what is in them."""
    kind = message.get_content_type()
    if message.is_multipart():
        return [kind, *(structure(each) for each in message.iter_parts() if isinstance(each, EmailMessage))]
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    # The library writes text with the line ends of its policy; both mean the same lines.
    data = payload.replace(b"\r\n", b"\n") if kind.startswith("text/") else payload
    return [kind, message.get_content_disposition(), message.get_filename(), message.get("Content-ID"), data]


def built_text(message: EmailMessage, text: str, html: str | None) -> None:
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")


@pytest.mark.parametrize(("with_html", "with_inline"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("with_files", [False, True])
def test_the_structure_is_what_the_standard_library_would_build(
    with_html: bool, with_inline: bool, with_files: bool
) -> None:
    html = '<p>Grüße, <img src="cid:logo"> {{ name }}</p>\n' if with_html else None
    made = content(
        html=html,
        inline=(part("logo", "image/png", PNG),) if with_inline else (),
        attachments=(part("Bericht über 2026.pdf", "application/pdf", PDF),) if with_files else (),
    )
    ours = read(compose(compiled(made, PNG, PDF), name="Ann", code="K1"))

    inner = EmailMessage(policy=SMTP)
    built_text(inner, "Hi Ann,\n\nyour code is K1.\n", html.replace("{{ name }}", "Ann") if html else None)
    if with_inline:
        related = EmailMessage(policy=SMTP)
        related.make_related()
        related.attach(inner)
        related.add_related(PNG, "image", "png", cid="<logo>", filename="logo.png", disposition="inline")
        inner = related
    if with_files:
        mixed = EmailMessage(policy=SMTP)
        mixed.make_mixed()
        mixed.attach(inner)
        mixed.add_attachment(PDF, "application", "pdf", filename="Bericht über 2026.pdf")
        inner = mixed
    assert structure(ours) == structure(read(inner.as_bytes()))


def test_headers_are_complete_and_each_stands_once() -> None:
    made = compiled(
        content(reply_to="Help <help@example.com>", headers=(("X-Kind", "{{ campaign }}"), ("X-Kind", "b")))
    )
    message = read(compose(made, name="Ann Smith", code="1"))
    assert message.items() == [
        ("MIME-Version", "1.0"),
        ("From", "News <news@example.com>"),
        ("To", "Ann Smith <ann@example.org>"),
        ("Subject", "Hello Ann Smith"),
        ("Date", "Tue, 24 Nov 2026 08:30:05 +0000"),
        ("Message-ID", "<0123@example.com>"),
        ("Reply-To", "Help <help@example.com>"),
        ("X-Kind", "spring/sale"),
        ("X-Kind", "b"),
        ("X-Mailer-Id", "0123"),
        ("Content-Type", 'text/plain; charset="utf-8"'),
        ("Content-Transfer-Encoding", "7bit"),
    ]


def test_a_text_file_says_its_charset_where_it_is_utf_8() -> None:
    utf_8, latin = "Grüße\r\n.\nEnde".encode(), "Grüße".encode("latin-1")
    made = content(attachments=(part("a.txt", "text/plain", utf_8), part("b.csv", "text/csv", latin)))
    _, first, second = read(compose(compiled(made, utf_8, latin), name="A", code="")).iter_parts()
    assert first["Content-Type"] == 'text/plain; charset="utf-8"'
    assert second["Content-Type"] == "text/csv"
    assert [each.get_payload(decode=True) for each in (first, second)] == [utf_8, latin]


def test_a_message_is_the_same_on_every_attempt() -> None:
    made = content(html="<p>{{ name }}</p>", attachments=(part("a.pdf", "application/pdf", PDF),))
    first, second = (compose(compiled(made, PDF), name="Zoë", code="1") for _ in range(2))
    assert first == second


def test_files_are_encoded_once_and_shared_by_all_messages() -> None:
    made = compiled(content(attachments=(part("a.pdf", "application/pdf", PDF),)), PDF)
    first, second = composed(made, name="Ann", code="1"), composed(made, name="Bob", code="2")
    assert first.chunks[1] is second.chunks[1]
    assert len(first.chunks[1]) > len(PDF)
    assert made.size_bytes > len(first.chunks[1])


# What SMTP, quoted-printable and base64 have rules about.
AWKWARD = st.sampled_from(
    [".", "..", "\n.", "\r.", "\r\n.\r\n", "\n", "\r", "\0", " ", "\t", "=", "a" * 75, "a" * 2000]
)
PIECE = AWKWARD | st.text(max_size=20) | st.sampled_from(["王小明 ", "Grüße ", "שלום ", "😀", "\x85", "\u2028"])
PIECES = st.lists(PIECE, max_size=14).map("".join)


@given(text=PIECES, html=PIECES, word=PIECES, data=PIECES)
def test_no_line_of_any_message_begins_with_a_dot_or_has_a_bare_end_or_is_too_long(
    text: str, html: str, word: str, data: str
) -> None:
    attached = data.encode()
    made = content(
        subject="{{ word }}",
        text="{{ text }}",
        html="{{ html | safe }}",
        to_name="{{ word }}",
        headers=(("X-Word", "{{ word }}"),),
        attachments=(part("...txt", "text/plain", attached), part("." * 300, "text/html", attached)),
        inline=(part("logo", "image/png", attached),),
    )
    line = re.sub("[\r\n\0]", "", word)
    message = read(compose(compiled(made, attached), text=text, html=html, word=line))
    assert message["Subject"] == line.strip(" \t")
    _, *files = message.iter_parts()
    assert [each.get_payload(decode=True) for each in files] == [attached, attached]
    related = message.get_payload(0)
    assert isinstance(related, EmailMessage)
    texts, logo = related.iter_parts()
    assert logo.get_payload(decode=True) == attached
    assert [each.get_payload(decode=True) for each in texts.iter_parts()] == [_sent(text), _sent(html)]


def _sent(text: str) -> bytes:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    return (lines if lines.endswith("\r\n") else lines + "\r\n").encode()


@pytest.mark.parametrize("name", ["mail.eml", "report.txt", "page.html", "data.bin"])
def test_files_of_any_kind_are_encoded(name: str) -> None:
    from mailer.content.media_type import media_type_of

    data = b".\r\n.\n.\r" + b"a" * 2000 + b"\0"
    made = content(attachments=(part(name, media_type_of(name, data), data),))
    _, file = read(compose(compiled(made, data), name="A", code="")).iter_parts()
    assert file["Content-Transfer-Encoding"] == "base64"
    assert file.get_payload(decode=True) == data


@given(name=ANY_VALUE, code=ANY_VALUE)
def test_no_field_does_more_than_arrive_or_be_refused(name: str, code: str) -> None:
    made = compiled(content(html="<p>{{ name }} {{ code }}</p>", headers=(("X-Code", "{{ code }}"),)))
    try:
        message = read(compose(made, name=name, code=code))
    except Unfit as unfit:
        assert re.search("[\r\n\0\ud800-\udfff]", name + code)
        assert "name" in unfit.message or "code" in unfit.message
        return
    assert message["Subject"] == f"Hello {name}".strip(" \t")
    assert [address.addr_spec for address in message["To"].addresses] == ["ann@example.org"]
    assert message.get("X-Code", "") == code.strip(" \t")
    assert message.get_content_type() == "multipart/alternative"
    text, html = message.iter_parts()
    payload = text.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode() == f"Hi {name},\r\n\r\nyour code is {code}.\r\n"
    assert html.get_content_type() == "text/html"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_arrives_with_its_lines(text: str) -> None:
    made = compiled(content(text="{{ words }}", html="<p>{{ words }}</p>", subject="s"))
    first, _ = read(compose(made, words=text)).iter_parts()
    payload = first.get_payload(decode=True)
    assert isinstance(payload, bytes)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    assert payload.decode() == (lines if lines.endswith("\r\n") else lines + "\r\n")


def test_a_field_cannot_end_a_part_with_the_boundary_of_an_earlier_message() -> None:
    made = compiled(content(html="<p>x</p>"))
    raw = compose(made, name="Ann", code="1")
    boundary = re.search(rb'boundary="([^"]+)"', raw)
    assert boundary is not None
    stolen = f"\r\n--{boundary[1].decode()}--\r\n\r\nsmuggled\r\n"
    message = read(compose(made, name="Ann", code=stolen))
    assert [each.get_content_type() for each in message.iter_parts()] == ["text/plain", "text/html"]


def test_html_is_escaped_and_text_is_not() -> None:
    message = read(
        compose(compiled(content(html="<p>{{ name }}</p>\n", subject="{{ name }}")), name="A <b> & 'c'", code="1")
    )
    text, html = message.iter_parts()
    assert message["Subject"] == "A <b> & 'c'"
    assert "Hi A <b> & 'c'," in str(text)
    assert html.get_content() == "<p>A &lt;b&gt; &amp; &#39;c&#39;</p>\r\n"


def test_text_is_made_from_html_where_only_html_is_given() -> None:
    made = content(text=None, html='<h1>{{ name }} & co</h1><a href="https://x.example/{{ code }}">more</a>')
    text, _ = read(compose(compiled(made), name="Ann <x>", code="a b")).iter_parts()
    assert text.get_content() == "Ann <x> & co\r\n\r\nmore (https://x.example/a b)\r\n"


@pytest.mark.parametrize(
    ("changes", "fields", "to"),
    [
        ({}, {"name": "Ann"}, "Ann <ann@example.org>"),
        ({}, {"name": ""}, "ann@example.org"),
        ({}, {"name": "  "}, "ann@example.org"),
        ({}, {"name": None}, "ann@example.org"),
        ({}, {"name": 7}, "7 <ann@example.org>"),
        ({"subject": "s", "text": "t"}, {}, "ann@example.org"),
        ({"to_name": "{{ first }} {{ last }}"}, {"name": "x", "first": "Ann", "last": "Ó"}, "Ann Ó <ann@example.org>"),
        ({"to_name": ""}, {"name": "Ann"}, "ann@example.org"),
    ],
)
def test_to_has_the_name_of_the_row_or_of_the_template(changes: Any, fields: Any, to: str) -> None:
    made = compiled(content(**{"text": "t", "subject": "s", **changes}))
    assert read(compose(made, **fields))["To"] == to
    assert made.preview("ann@example.org", fields).to == to


def test_the_domain_is_written_as_it_travels() -> None:
    message = read(compose(compiled(content(subject="s", text="t")), address="ann@bücher.example"))
    assert message["To"] == "ann@xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("changes", "address", "raw", "asks"),
    [
        ({}, "用户@例子.广告", {"To": "=?utf-8?b?546L5bCP5piO?= <用户@例子.广告>"}, "用户@例子.广告"),
        ({}, "Mu\u0308ller@Example.com", {"To": "=?utf-8?b?546L5bCP5piO?= <Müller@example.com>"}, "Müller@example.com"),
        ({"to_name": ""}, "müller@xn--bcher-kva.example", {"To": "müller@bücher.example"}, "müller@bücher.example"),
        ({"sender": "新 <报@b.example>"}, "a@b.example", {"From": "=?utf-8?b?5paw?= <报@b.example>"}, "报@b.example"),
        ({"reply_to": "ü@example.com"}, "a@b.example", {"Reply-To": "ü@example.com"}, "ü@example.com"),
        ({}, "ann@bücher.example", {}, None),
        ({"sender": "Bücher <info@bücher.example>"}, "a@b.example", {}, None),
    ],
)  # fmt: skip
def test_an_address_beyond_ascii_stands_in_utf_8_and_nothing_else_does(
    changes: Any, address: str, raw: dict[str, str], asks: str | None
) -> None:
    made = content(
        html="<p>Grüße {{ name }} {{ address }}</p>",
        headers=(("X-Address", "{{ address }}"), ("List-Id", "<{{ address | urlencode }}>")),
        attachments=(part("Übersicht.pdf", "application/pdf", PDF),),
        **changes,
    )
    result = composed(compiled(made, PDF), address, name="王小明", code="")
    assert result.utf8_address == asks
    header, _, rest = result.chunks[0].partition(b"\r\n\r\n")
    lines = header.replace(b"\r\n ", b" ").split(b"\r\n")
    assert dict(line.decode().split(": ", 1) for line in lines if not line.isascii()) == raw
    assert rest.isascii()
    assert result.chunks[1].isascii()
    # As text: of bytes beyond ASCII in a header the library's parser makes surrogates.
    message = email.message_from_string(b"".join(result.chunks).decode(), policy=SMTPUTF8)
    assert not message.defects
    assert message["X-Address"] == address
    for name, value in raw.items():
        assert value.endswith(message[name].addresses[0].addr_spec + (">" if value.endswith(">") else ""))


def test_an_ascii_address_is_written_as_it_ever_was() -> None:
    result = composed(compiled(content(subject="s", text="t")), "Ann.Smith+x@EXAMPLE.org", name="Ann")
    assert b"\r\nTo: Ann <Ann.Smith+x@EXAMPLE.org>\r\n" in result.chunks[0]
    assert result.utf8_address is None


def test_templates_see_address_campaign_today_and_what_was_set() -> None:
    made = content(
        text="{{ address }} {{ campaign }} {{ today }} {{ today.year }} {{ shop }}",
        subject="s",
        variables={"shop": "Shop & Co"},
    )
    # The operator's values stand, whatever a row calls its fields.
    fields = {"campaign": "x", "today": "y", "shop": "z"}
    preview = compiled(made).preview("ann@example.org", fields)
    assert preview.text == "ann@example.org spring/sale 2026-11-24 2026 Shop & Co"


def test_a_prefix_stands_before_the_subject_of_a_test() -> None:
    assert read(compose(compiled(content()), prefix="[test] ", name="Ü", code=""))["Subject"] == "[test] Hello Ü"


def test_a_null_comes_out_empty_like_an_empty_cell() -> None:
    made = compiled(content(subject="s", text="[{{ name }}{{ name or 'you' }}]", html="<p>{{ name }}</p>"))
    preview = made.preview("a@b.example", {"name": None})
    assert (preview.text, preview.html) == ("[you]", "<p></p>")


def test_a_header_that_comes_out_empty_is_left_out() -> None:
    made = compiled(content(headers=(("X-Vip", "{% if vip %}yes{% endif %}"),)))
    assert read(compose(made, name="A", code="", vip=True))["X-Vip"] == "yes"
    assert "X-Vip" not in read(compose(made, name="A", code="", vip=False))


def test_a_template_may_count_and_repeat() -> None:
    text = (
        "{% set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i * 2 %}{% endfor %}{{ ns.n }}"
        "{{ '-' * 3 }}{{ 2 ** 10 }}{{ 1.5 * 2 }}{{ [0] * 2 }}{{ 3 * '=' }}"
    )
    assert compiled(content(subject="s", text=text)).preview("a@b.example", {}).text == "6---10243.0[0, 0]==="


def test_a_preview_is_what_a_person_reads() -> None:
    preview = compiled(content(html="<p>{{ name }}</p>")).preview("ann@example.org", {"name": "Zoë", "code": "1"})
    assert preview.subject == "Hello Zoë"
    assert preview.to == "Zoë <ann@example.org>"
    assert preview.text == "Hi Zoë,\n\nyour code is 1.\n"
    assert preview.html == "<p>Zoë</p>"


@pytest.mark.parametrize(
    ("changes", "fields", "sentence"),
    [
        ({}, {"name": "A\nB", "code": ""}, "the subject has a line break in it: the field name brings it in"),
        (
            {"subject": "{{ a }}{{ code }}"},
            {"a": "", "name": "x", "code": "\r"},
            "the subject has a line break in it: the field code brings it in",
        ),
        (
            {"subject": "s"},
            {"name": "A\rB", "code": ""},
            "the name in To has a line break in it: the field name brings it in",
        ),
        (
            {"subject": "s"},
            {"name": "A\0B", "code": ""},
            "the name in To has a NUL character in it: the field name brings it in",
        ),
        (
            {"subject": "{{ code }}"},
            {"name": "A", "code": "\0"},
            "the subject has a NUL character in it: the field code brings it in",
        ),
        (
            {"headers": (("X-A", "{{ code }}"),)},
            {"name": "A", "code": "a\nBcc: x"},
            "the header X-A has a line break in it: the field code brings it in",
        ),
        (
            {"headers": (("List-Id", "{{ code }}"),)},
            {"name": "A", "code": "ü"},
            "the header List-Id holds characters beyond ASCII, which it cannot",
        ),
        (
            {"headers": (("List-Unsubscribe", "<https://x.example/?a={{ address }}>"),), "subject": "s", "text": "t"},
            {"address": "用户@例子.广告"},
            "the header List-Unsubscribe holds characters beyond ASCII, which it cannot: the address brings them in; "
            "in a URL use {{ address | urlencode }}",
        ),
        (
            {},
            {"name": "A", "code": "\ud800"},
            "the text holds half a character (a lone surrogate): the field code brings it in",
        ),
        ({}, {"name": "A"}, "it has no field code, which the text needs"),
        ({"subject": "{{ nick }}"}, {"name": "A", "code": ""}, "it has no field nick, which the subject needs"),
        (
            {"text": "{{ user.name }}"},
            {"name": "", "user": {}},
            "the text asks for something that is not there: 'dict object' has no attribute 'name'",
        ),
        (
            {"text": "{{ name + 1 }}"},
            {"name": "A"},
            'the text cannot be rendered: TypeError: can only concatenate str (not "int") to str',
        ),
        (
            {"text": "{{ 1 / n }}"},
            {"name": "A", "n": 0},
            "the text cannot be rendered: ZeroDivisionError: division by zero",
        ),
        (
            {"text": "{{ name.__class__ }}"},
            {"name": "A"},
            "the text does what a template may not: access to attribute '__class__' of 'str' object is unsafe",
        ),
        (
            {"text": "{{ items.append(1) }}"},
            {"name": "A", "items": []},
            "the text does what a template may not: access to attribute 'append' of 'list' object is unsafe",
        ),
        (
            {"text": "{% for i in range(20000) %}{% endfor %}"},
            {"name": ""},
            "the text would make a range of more than 10,000",
        ),
        (
            {"text": "{% for i in range(9000) %}{% for j in range(9000) %}xxxx{% endfor %}{% endfor %}"},
            {"name": ""},
            "the text would make more than 10,000,000 characters",
        ),
        (
            {"text": "{{ 'x' * 100000000 }}"},
            {"name": ""},
            "the text would make a repetition that makes too long a text",
        ),
        ({"text": "{{ 9 ** 9 ** 9 }}"}, {"name": ""}, "the text would make a power with too large numbers"),
        (
            {"text": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"},
            {"name": ""},
            "the text calls itself without end",
        ),
    ],
)
def test_a_row_that_cannot_be_rendered_is_unfit_and_says_why(changes: Any, fields: Any, sentence: str) -> None:
    with pytest.raises(Unfit) as raised:
        compose(compiled(content(**changes)), **fields)
    assert raised.value.message.startswith(sentence)


@pytest.mark.parametrize("address", ["a@b.example\r\nBcc: c", "ü\r\n@example.com", "", "a@b@c", "a b@c.example"])
def test_an_address_that_cannot_be_sent_to_is_unfit(address: str) -> None:
    with pytest.raises(Unfit, match="cannot be sent to"):
        compose(compiled(content(subject="s", text="t")), address=address)


def test_attributes_of_python_cannot_be_reached() -> None:
    for expression in ("''.__class__.__mro__", "today.__init__.__globals__", "cycler.__init__", "range.__self__"):
        with pytest.raises(Unfit):
            compose(compiled(content(text="{{ " + expression + " }}")), name="")


@pytest.mark.parametrize(
    ("changes", "sentence", "hint"),
    [
        ({"text": None}, "there is nothing to send: neither a text nor HTML.", "Give --text"),
        ({"text": "a\n{{ b"}, "the text, line 2: unexpected end of template, expected 'end of print statement'.", ""),
        ({"html": "{% if a %}\n\n"}, "the HTML, line 1: ", ""),
        ({"subject": "{{ a | uper }}"}, "the subject, line 1: there is no filter uper.", "Did you mean `upper`?"),
        ({"subject": "{{ a is defned }}"}, "the subject, line 1: there is no test defned.", "Did you mean `defined`?"),
        ({"subject": "a\nb"}, "the subject has a line break in it.", "It is one line."),
        ({"text": "{% include 'x' %}"}, "the text, line 1: a template cannot take in other files.", "kept with the"),
        ({"sender": "news"}, "--from 'news': it has no `@`.", "News <news@example.com>"),
        ({"sender": "ü b@example.com"}, "--from 'ü b@example.com': it holds a blank or a control character.", ""),
        ({"reply_to": "a@b.example\nBcc: x"}, "--reply-to 'a@b.example\\nBcc: x': it holds a control character", ""),
        ({"headers": (("Subject", "x"),)}, "--header: 'Subject' cannot be set.", "--subject sets it."),
        ({"headers": ((".X", "x"),)}, "--header: '.X' is no name of a header.", "as in X-Campaign"),
        ({"headers": (("X A", "x"),)}, "--header: 'X A' is no name of a header.", ""),
        ({"headers": (("X-A", "x\ny"),)}, "the header X-A has a line break in it.", ""),
        ({"headers": (("List-Id", "ü"),)}, "--header: List-Id holds characters beyond ASCII, which it cannot.", ""),
        (
            {"attachments": (Part("a.pdf", "application/pdf", "00", 1),)},
            "the file a.pdf of this content is not there.",
            "db check",
        ),
    ],
)
def test_a_content_that_cannot_be_compiled_says_what_is_wrong(changes: Any, sentence: str, hint: str) -> None:
    with pytest.raises(InputError) as raised:
        compiled(content(**changes))
    assert raised.value.message.startswith(sentence)
    assert hint in raised.value.hint


def test_required_are_the_fields_that_every_row_must_have() -> None:
    made = content(
        subject="{{ a }} {{ campaign }}",
        html="{{ b }}{% if c is defined %}{{ c }}{% endif %}",
        to_name="{{ d }}",
        headers=(("X-E", "{{ e }} {{ address }}"),),
        text="{{ f | default('') }}{{ shop }}{{ today }}",
        variables={"shop": "x"},
    )
    assert compiled(made).required == {"a", "b", "d", "e"}


@pytest.mark.parametrize(
    ("known", "sentence", "hint"),
    [
        (["nme", "code"], "the subject needs the field name, which the recipients do not have.", "Did you mean nme?"),
        (["name"], "the text needs the field code, which the recipients do not have.", "Their fields are: name."),
        (["name", "CODE"], "the text needs the field code, which the recipients do not have.", "Did you mean CODE?"),
        (["Name ", "code"], "the subject needs the field name", "Did you mean Name ?"),
        ([], "the subject needs the field name", "They have addresses only."),
        (["name", "code", "shop"], "--set shop=… and the recipients' column shop are two values for one name.", ""),
    ],
)
def test_a_field_that_no_column_has_is_found_before_anything_is_queued(
    known: list[str], sentence: str, hint: str
) -> None:
    made = compiled(content(variables={"shop": "x"}))
    with pytest.raises(InputError) as raised:
        made.check_columns(known)
    assert raised.value.message.startswith(sentence)
    assert hint in raised.value.hint


def test_a_column_whose_name_no_template_can_say_is_pointed_at() -> None:
    made = compiled(content(subject="{{ first_name }}", text="t"))
    with pytest.raises(InputError) as raised:
        made.check_columns(["First Name"])
    assert '"First Name"' in raised.value.hint
    made = compiled(content(subject="{{ email }}", text="t"))
    with pytest.raises(InputError) as raised:
        made.check_columns(["name"])
    assert raised.value.hint == "Templates call the recipient's address `address`."


def test_columns_that_are_all_there_pass() -> None:
    compiled(content()).check_columns(["code", "name", "more"])
