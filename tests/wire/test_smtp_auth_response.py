"""PLAIN, XOAUTH2 and CRAM-MD5: what is said in answer to what. Every case is a dialogue; nothing else is ever sent."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.login_dialogue import PASSWORD, USER, b64, play

from mailer.core.reply import Reply
from mailer.smtp.auth import Login, LoginEnd, LoginMemory, Mechanism, new_login
from mailer.smtp.auth_response import AuthCramMd5, AuthPlain, AuthXoauth2

TOKEN = "ya29.a0AfB_byC-7"
LONG_TOKEN = "EwBA" + "a1B2c3D4" * 200 + "=="
BOTH = f"\0{USER}\0{PASSWORD}"
BEARER = f"user={USER}\1auth=Bearer {TOKEN}\1\1"

PLAIN = {
    "everything in one line (RFC 4616 section 2)": "C: AUTH PLAIN {both}\nS: 235 welcome\nin",
    "a server that overlooked it gets it again": "C: AUTH PLAIN {both}\nS: 334\nC: {both}\nS: 235 welcome\nin",
    "and not a second time (RFC 4954 section 4, *)": (
        "C: AUTH PLAIN {both}\nS: 334\nC: {both}\nS: 334\nC: *\nS: 501 cancelled\nrefused"
    ),
    "nothing that is said to * counts": "C: AUTH PLAIN {both}\nS: 334\nC: {both}\nS: 334\nC: *\nS: 235 in\nrefused",
    "refused in many lines": "C: AUTH PLAIN {both}\nS: 535 no | and again: no\nrefused",
    "a syntax error is final: the standard knows but one form (RFC 4616)": "C: AUTH PLAIN {both}\nS: 501 no\nrefused",
}

# What Google's and Microsoft's documents show, and what servers do beside it.
XOAUTH2 = {
    "the token goes with the command (Google)": "C: AUTH XOAUTH2 {bearer}\nS: 235 2.7.0 Accepted\nin",
    "refused at once (Microsoft)": "C: AUTH XOAUTH2 {bearer}\nS: 535 5.7.3 Authentication unsuccessful\nrefused",
    "an error text gets an empty line, then the refusal comes (Google)": """
        C: AUTH XOAUTH2 {bearer}
        S: 334 {{"status":"400"}}
        C:
        S: 535 5.7.8 Username and Password not accepted.
        refused""",
    "an error that is no JSON gets the same": "C: AUTH XOAUTH2 {bearer}\nS: 334 what\nC:\nS: 535 no\nrefused",
    "a server that overlooked the token gets it again": (
        "C: AUTH XOAUTH2 {bearer}\nS: 334\nC: {bearer}\nS: 235 welcome\nin"
    ),
    "overlooked, then an error": ("C: AUTH XOAUTH2 {bearer}\nS: 334\nC: {bearer}\nS: 334 {{}}\nC:\nS: 535 no\nrefused"),
    "one error text is enough (RFC 4954 section 4, *)": """
        C: AUTH XOAUTH2 {bearer}
        S: 334 {{}}
        C:
        S: 334
        C: *
        S: 501 cancelled
        refused""",
    "a loop of empty prompts ends": (
        "C: AUTH XOAUTH2 {bearer}\nS: 334\nC: {bearer}\nS: 334\nC:\nS: 334\nC: *\nS: 334\nrefused"
    ),
    "a syntax error is final": "C: AUTH XOAUTH2 {bearer}\nS: 504 5.7.4 Unrecognized\nrefused",
    "a failure of the moment": "C: AUTH XOAUTH2 {bearer}\nS: 334 {{}}\nC:\nS: 454 4.7.0 later\nrefused",
}

# RFC 2195 section 2 has the challenge, the name and secret, and the response.
TIM = ("tim", "tanstaaftanstaaf")
TIMS_CHALLENGE = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"
TIMS_RESPONSE = "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"
CRAM_MD5 = {
    "the example of RFC 2195 section 2": f"""
        C: AUTH CRAM-MD5
        S: 334 {TIMS_CHALLENGE}
        C: {TIMS_RESPONSE}
        S: 235 Authentication successful
        in""",
    "refused": f"C: AUTH CRAM-MD5\nS: 334 {TIMS_CHALLENGE}\nC: {TIMS_RESPONSE}\nS: 535 no\nrefused",
    "refused without a challenge": "C: AUTH CRAM-MD5\nS: 504 not that\nrefused",
    "235 in place of a challenge (RFC 4954 section 6)": "C: AUTH CRAM-MD5\nS: 235 I know you\nin",
    "a challenge that is not base64 (RFC 4954 section 4)": "C: AUTH CRAM-MD5\nS: 334 <1@x>\nC: *\nS: 501 ok\nrefused",
    "base64 with a letter too few": f"C: AUTH CRAM-MD5\nS: 334 {TIMS_CHALLENGE[:-1]}\nC: *\nS: 501 ok\nrefused",
    "a challenge in many lines": f"C: AUTH CRAM-MD5\nS: 334 a | {TIMS_CHALLENGE}\nC: *\nS: 501 ok\nrefused",
    "an empty challenge": "C: AUTH CRAM-MD5\nS: 334\nC: *\nS: 501 ok\nrefused",
    "a second challenge": f"""
        C: AUTH CRAM-MD5
        S: 334 {TIMS_CHALLENGE}
        C: {TIMS_RESPONSE}
        S: 334 {TIMS_CHALLENGE}
        C: *
        S: 235 welcome all the same
        refused""",
}
FINAL = [535, 534, 538, 530, 454, 432, 421, 550, 500, 501, 502, 503, 504, 505, 555, 250, 354]


def forget(_secret: str) -> None:
    """Nobody looks."""


@pytest.mark.parametrize("dialogue", PLAIN.values(), ids=PLAIN.keys())
def test_auth_plain(dialogue: str) -> None:
    play(AuthPlain(USER, PASSWORD), dialogue, both=BOTH)


@pytest.mark.parametrize("dialogue", XOAUTH2.values(), ids=XOAUTH2.keys())
def test_auth_xoauth2(dialogue: str) -> None:
    dialogue = dialogue.replace('{{"status":"400"}}', b64('{"status":"400"}')).replace("{{}}", b64("{}"))
    play(AuthXoauth2(USER, TOKEN), dialogue, bearer=BEARER)


@pytest.mark.parametrize("dialogue", CRAM_MD5.values(), ids=CRAM_MD5.keys())
def test_auth_cram_md5(dialogue: str) -> None:
    play(AuthCramMd5(*TIM, forget), dialogue)


@pytest.mark.parametrize("code", FINAL)
@pytest.mark.parametrize(
    ("login", "prompted"),
    [
        (lambda: AuthPlain(USER, PASSWORD), False),
        (lambda: AuthPlain(USER, "p" * 500), True),
        (lambda: AuthXoauth2(USER, TOKEN), False),
        (lambda: AuthXoauth2(USER, LONG_TOKEN), True),
        (lambda: AuthCramMd5(*TIM, forget), True),
    ],
)
def test_any_other_answer_is_final_at_each_step(login: Callable[[], Login], prompted: bool, code: int) -> None:
    at_once = login()
    at_once.first_line()
    assert at_once.answer(Reply(code, None, "no")) is LoginEnd.REFUSED
    assert (at_once.is_cancelled, at_once.complaint) == (False, "")
    later = login()
    later.first_line()
    assert isinstance(later.answer(Reply(334, None, TIMS_CHALLENGE if prompted else "")), bytes)
    assert later.answer(Reply(code, None, "no")) is LoginEnd.REFUSED
    assert not later.is_cancelled


# RFC 4954 section 4: what would make the command longer than 512 octets waits for the prompt.


def test_a_long_password_waits_for_the_prompt() -> None:
    both = f"\0{USER}\0{'p' * 500}"
    play(AuthPlain(USER, "p" * 500), "C: AUTH PLAIN\nS: 334\nC: {both}\nS: 235 ok\nin", both=both)
    fits = "p" * (3 * 124 - len(USER) - 2)  # 372 octets are 496 of base64, "AUTH PLAIN " and CRLF 13 more
    assert len(AuthPlain(USER, fits).first_line()) == 509
    assert AuthPlain(USER, fits + "p").first_line() == b"AUTH PLAIN\r\n"


@pytest.mark.parametrize("prompt", ["", "XOAUTH2 supported", b64('{"status":"400"}')])
def test_a_long_token_waits_for_the_prompt_whatever_that_says(prompt: str) -> None:
    bearer = f"user={USER}\1auth=Bearer {LONG_TOKEN}\1\1"
    play(AuthXoauth2(USER, LONG_TOKEN), f"C: AUTH XOAUTH2\nS: 334 {prompt}\nC: {{b}}\nS: 235 ok\nin", b=bearer)
    login = AuthXoauth2(USER, LONG_TOKEN)
    error = b64('{"status":"401"}')
    play(login, f"C: AUTH XOAUTH2\nS: 334 {prompt}\nC: {{b}}\nS: 334 {error}\nC:\nS: 535 no\nrefused", b=bearer)
    assert login.complaint == "status 401"


def test_what_google_documents_is_what_is_said() -> None:
    login = AuthXoauth2("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")
    response = (
        "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52"
        "YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ=="
    )
    error = "eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIG1hYyIsInNjb3BlIjoiaHR0cHM6Ly9tYWlsLmdvb2dsZS5jb20vIn0K"
    play(login, f"C: AUTH XOAUTH2 {response}\nS: 334 {error}\nC:\nS: 535 5.7.8 not accepted\nrefused")
    assert login.complaint == "status 401, scope https://mail.google.com/"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}',
         "status 400, scope https://mail.google.com/"),
        ('{"status":401}', "status 401"),
        ('{"scope":"mail"}', "scope mail"),
        ('{"status":"invalid_token","scope":""}', "status invalid_token"),  # RFC 7628 section 3.2.2
        ('{"status":"a\\r\\nb\\u001b[31m","scope":["x"]}', "status a  b [31m"),
        ('{"status":"' + "x" * 1000 + '"}', "status " + "x" * 100),
        ('{"status":"\\ud800"}', ""), ('{"status":null}', ""), ('"status"', ""), ("[1]", ""), ("", ""), ("{", ""),
        ("[" * 20_000, ""), ('{"status":' + "9" * 5000 + "}", ""),
    ],
)  # fmt: skip
def test_what_an_error_text_says_is_told(text: str, complaint: str) -> None:
    login = AuthXoauth2(USER, TOKEN)
    login.first_line()
    login.answer(Reply(334, None, ""))
    assert login.answer(Reply(334, None, b64(text))) == b"\r\n"
    assert login.complaint == complaint


@pytest.mark.parametrize(
    ("dialogue", "complaint"),
    [
        ("a challenge that is not base64 (RFC 4954 section 4)", "sent a challenge for CRAM-MD5 that is not base64"),
        ("base64 with a letter too few", "sent a challenge for CRAM-MD5 that is not base64"),
        ("an empty challenge", "sent an empty challenge for CRAM-MD5"),
        ("a second challenge", "sent a second challenge for CRAM-MD5"),
    ],
)
def test_why_cram_md5_was_cancelled_is_said(dialogue: str, complaint: str) -> None:
    login = AuthCramMd5(*TIM, forget)
    play(login, CRAM_MD5[dialogue])
    assert (login.is_cancelled, login.complaint) == (True, complaint)


def test_what_was_asked_too_much_is_said() -> None:
    plain, xoauth2 = AuthPlain(USER, PASSWORD), AuthXoauth2(USER, TOKEN)
    play(plain, PLAIN["and not a second time (RFC 4954 section 4, *)"], both=BOTH)
    play(xoauth2, XOAUTH2["a loop of empty prompts ends"], bearer=BEARER)
    assert plain.complaint == "asked for more than a user name and a password"
    assert xoauth2.complaint == "asked for more than an access token"


def test_a_machine_without_md5_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> bytes:
        raise ValueError("disabled for FIPS")

    monkeypatch.setattr(hmac, "digest", forbidden)
    login = AuthCramMd5(*TIM, forget)
    play(login, CRAM_MD5["an empty challenge"].replace("S: 334", f"S: 334 {TIMS_CHALLENGE}"))
    assert login.complaint == "wants CRAM-MD5, and OpenSSL does no MD5 on this machine"


def test_the_digest_is_hidden_before_it_is_said() -> None:
    hidden: list[str] = []
    login = AuthCramMd5(*TIM, hidden.append)
    login.first_line()
    assert hidden == []
    login.answer(Reply(334, None, TIMS_CHALLENGE))
    assert hidden == ["b913a602c7eda7a495b4e6e7334d3890"]


# RFC 4616 section 2: names and passwords are UTF-8.


def test_what_is_beyond_ascii_goes_as_utf_8() -> None:
    assert AuthPlain("me", "密").first_line() == b"AUTH PLAIN AG1lAOWvhg==\r\n"
    play(AuthXoauth2("жучка", "t"), "C: AUTH XOAUTH2 {b}\nS: 235 ok\nin", b="user=жучка\1auth=Bearer t\1\1")
    login = AuthCramMd5("жучка", "pässwörd密", forget)
    login.first_line()
    digest = hmac.new("pässwörd密".encode(), b"<1@x>", "md5").hexdigest()
    assert login.answer(Reply(334, None, b64("<1@x>"))) == b64(f"жучка {digest}").encode() + b"\r\n"


@pytest.mark.parametrize("length", [64, 65, 200])
def test_a_password_longer_than_a_block_of_md5_is_a_key_all_the_same(length: int) -> None:
    # RFC 2195 section 2: such a secret is replaced by its MD5, and a server does the same.
    key = ("s" * length).encode()
    if length > 64:
        key = hashlib.md5(key, usedforsecurity=False).digest()
    login = AuthCramMd5("tim", "s" * length, forget)
    login.first_line()
    said = login.answer(Reply(334, None, b64("<1@x>")))
    assert isinstance(said, bytes)
    assert base64.b64decode(said).decode() == f"tim {hmac.new(key, b'<1@x>', 'md5').hexdigest()}"


MECHANISMS: list[Mechanism] = ["login", "plain", "cram-md5", "xoauth2"]
REPLIES = st.tuples(
    st.one_of(st.just(334), st.sampled_from([235, 501, 535]), st.integers(200, 559)),
    st.one_of(
        st.text(max_size=30),
        st.binary(max_size=40).map(lambda raw: base64.b64encode(raw).decode()),
        st.sampled_from(["", TIMS_CHALLENGE, b64('{"status":"400","scope":"x"}'), b64("Password:"), b64("Username:")]),
    ),
)


@given(st.sampled_from(MECHANISMS), st.sampled_from([PASSWORD, LONG_TOKEN]), st.lists(REPLIES, max_size=10))
def test_whatever_a_server_says_every_login_ends_in_a_few_lines(
    mechanism: Mechanism, secret: str, replies: list[tuple[int, str]]
) -> None:
    login = new_login(mechanism, USER, secret, LoginMemory())
    lines = [login.first_line()]
    end: LoginEnd | None = None
    for code, text in replies:
        answer = login.answer(Reply(code, None, text))
        if isinstance(answer, LoginEnd):
            end = answer
            break
        lines.append(answer)
    assert len(lines) <= 5
    assert end is not None or len(replies) == len(lines) - 1, "it ends, or is waiting for the next reply"
    assert all(line.endswith(b"\r\n") and line.count(b"\n") == 1 for line in lines)
    assert len(lines[0]) <= 512
    assert all(len(line) <= 12_288 for line in lines)
    if end is LoginEnd.IN:
        assert code == 235
        assert not login.is_cancelled
    if login.is_cancelled:
        assert b"*\r\n" in lines
        assert login.complaint
    assert "\n" not in login.complaint
    assert login.complaint.isprintable()


def test_no_secret_in_a_repr() -> None:
    for mechanism in MECHANISMS:
        login = new_login(mechanism, USER, PASSWORD, LoginMemory())
        login.first_line()
        assert PASSWORD not in repr(login)
        assert b64(PASSWORD) not in repr(login)
