"""Which mechanism is taken, and what is refused with a sentence before anything is said."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.login_dialogue import PASSWORD, USER

from mailer.core.message import Phase
from mailer.core.reply import Reply
from mailer.smtp.auth import LoginMemory, Mechanism, choose_mechanism, explained, new_login
from mailer.smtp.auth_login import AuthLogin
from mailer.smtp.auth_response import AuthCramMd5, AuthPlain, AuthXoauth2
from mailer.smtp.settings import AuthChoice, RelaySettings
from mailer.smtp.trouble import RelayFailure

SETTINGS = RelaySettings("qq", "smtp.qq.com", 587, "starttls", "auto", USER)
ALL = ["CRAM-MD5", "LOGIN", "XOAUTH2", "PLAIN"]
TOKEN_COMMAND = f'password = {{ command = ["oauth2-token", "{USER}"] }}'


@pytest.mark.parametrize(
    ("auth", "offered", "over_tls", "in_plain_text"),
    [
        ("auto", ALL, "plain", "cram-md5"),
        ("auto", ["LOGIN", "PLAIN"], "plain", "plain"),
        ("auto", ["LOGIN"], "login", "login"),
        ("auto", ["CRAM-MD5", "LOGIN"], "login", "cram-md5"),
        ("auto", ["CRAM-MD5"], "cram-md5", "cram-md5"),
        ("auto", ["XOAUTH2", "login"], "login", "login"),
        ("login", ALL, "login", "login"),
        ("plain", ALL, "plain", "plain"),
        ("cram-md5", ALL, "cram-md5", "cram-md5"),
        ("xoauth2", ALL, "xoauth2", "xoauth2"),
        ("none", [], None, None),
    ],
)
def test_chooses_the_mechanism(
    auth: AuthChoice, offered: list[str], over_tls: Mechanism | None, in_plain_text: Mechanism | None
) -> None:
    settings = replace(SETTINGS, auth=auth)
    assert choose_mechanism(settings, offered, is_tls=True, is_loopback=False) == over_tls
    assert choose_mechanism(settings, offered, is_tls=False, is_loopback=True) == in_plain_text
    insecure = replace(settings, insecure_auth=True)
    assert choose_mechanism(insecure, offered, is_tls=False, is_loopback=False) == in_plain_text


@pytest.mark.parametrize(
    ("auth", "offered", "sentence", "hint"),
    [
        ("auto", [], "smtp.qq.com:587 offers no AUTH.", 'If it wants no login, set auth = "none".'),
        ("login", ["PLAIN", "XOAUTH2"], "smtp.qq.com:587 does not offer AUTH LOGIN, only PLAIN, XOAUTH2.",
         'auth = "auto" takes what is offered.'),
        ("cram-md5", ["PLAIN"], "smtp.qq.com:587 does not offer AUTH CRAM-MD5, only PLAIN.",
         'auth = "auto" takes what is offered.'),
        ("auto", ["XOAUTH2"], "smtp.qq.com:587 does not offer AUTH PLAIN, LOGIN or CRAM-MD5, only XOAUTH2.",
         f'It takes access tokens: auth = "xoauth2", and a command that prints one: {TOKEN_COMMAND}.'),
        ("login", ["OAUTHBEARER", "XOAUTH2"], "smtp.qq.com:587 does not offer AUTH LOGIN, only OAUTHBEARER, XOAUTH2.",
         f'It takes access tokens: auth = "xoauth2", and a command that prints one: {TOKEN_COMMAND}.'),
        ("auto", ["OAUTHBEARER"], "smtp.qq.com:587 does not offer AUTH PLAIN, LOGIN or CRAM-MD5, only OAUTHBEARER.",
         "It takes access tokens, but by OAUTHBEARER only; mailer sends them by XOAUTH2."),
        ("xoauth2", ["PLAIN"], "smtp.qq.com:587 does not offer AUTH XOAUTH2, only PLAIN.",
         'It takes no access tokens. With a password that is one: auth = "auto".'),
        ("auto", ["GSSAPI", "NTLM"], "smtp.qq.com:587 does not offer AUTH PLAIN, LOGIN or CRAM-MD5, only GSSAPI, NTLM.",
         "None of them is one that mailer knows; ask whoever runs the server for another way to log in."),
    ],
)  # fmt: skip
def test_says_what_is_not_offered(auth: AuthChoice, offered: list[str], sentence: str, hint: str) -> None:
    with pytest.raises(RelayFailure) as caught:
        choose_mechanism(replace(SETTINGS, auth=auth), offered, is_tls=True, is_loopback=False)
    failure = caught.value
    assert (failure.message, failure.hint) == (sentence, hint)
    assert (failure.phase, failure.is_permanent) == (Phase.AUTH, True)


def test_a_server_without_auth_may_have_it_over_tls() -> None:
    with pytest.raises(RelayFailure) as caught:
        choose_mechanism(SETTINGS, [], is_tls=False, is_loopback=True)
    assert 'tls = "starttls"' in caught.value.hint


@pytest.mark.parametrize(
    ("auth", "what"),
    [
        ("auto", "the password"), ("plain", "the password"), ("login", "the password"),
        ("cram-md5", "a digest of the password"), ("xoauth2", "the access token"),
    ],
)  # fmt: skip
def test_no_secret_over_plain_text_beyond_this_machine(auth: AuthChoice, what: str) -> None:
    # RFC 4954 sections 4 and 9: not without TLS, unless whoever configured it said so.
    with pytest.raises(RelayFailure) as caught:
        choose_mechanism(replace(SETTINGS, auth=auth), ALL, is_tls=False, is_loopback=False)
    assert caught.value.message == (
        f"smtp.qq.com:587 would get {what} over plain text, which anybody on the way can read."
    )


@pytest.mark.parametrize(
    ("mechanism", "kind"),
    [("plain", AuthPlain), ("login", AuthLogin), ("cram-md5", AuthCramMd5), ("xoauth2", AuthXoauth2)],
)
def test_each_mechanism_has_its_login(mechanism: Mechanism, kind: type) -> None:
    assert type(new_login(mechanism, USER, PASSWORD, LoginMemory())) is kind


@pytest.mark.parametrize("mechanism", ["plain", "login", "cram-md5", "xoauth2"])
@pytest.mark.parametrize(
    ("username", "secret", "sentence"),
    [
        (USER, "a\0b", "holds a NUL character"),
        ("a\0b", PASSWORD, "holds a NUL character"),
        (USER, "caf\udce9-geheim", "is not UTF-8 text"),  # what an environment variable in Latin-1 gives
        (USER, "half \ud83d-geheim", "is not UTF-8 text"),
        ("caf\udce9", PASSWORD, "is not UTF-8 text"),
        (USER, "p" * 10_000, "is the most that a login can carry (RFC 4954 section 4)"),
        ("u" * 10_000, PASSWORD, "is the most that a login can carry (RFC 4954 section 4)"),
    ],
)
def test_what_no_server_could_take_is_refused_before_anything_is_sent(
    mechanism: Mechanism, username: str, secret: str, sentence: str
) -> None:
    with pytest.raises(RelayFailure) as caught:
        new_login(mechanism, username, secret, LoginMemory())
    failure = caught.value
    assert sentence in failure.message
    assert failure.hint
    assert (failure.phase, failure.is_permanent) == (Phase.AUTH, True)
    assert secret not in failure.message
    assert "geheim" not in repr(failure.__context__) + repr(failure.__cause__), "the cause of it carries the text"


def test_the_longest_that_goes_makes_no_line_that_is_too_long() -> None:
    for mechanism in ("plain", "login", "xoauth2"):
        login = new_login(mechanism, USER, "p" * (9152 - len(USER)), LoginMemory())
        first = login.first_line()
        said = login.answer(Reply(334, None, "UGFzc3dvcmQ6"))
        assert isinstance(said, bytes)
        assert max(len(first), len(said)) <= 12_288


@pytest.mark.parametrize(
    "secret", ['{"access_token":"ya29.x"}', "Bearer ya29.x", "ya29 x", "jeton-é", "a=b", "=", "", "a\tb", "ya29.x\1"]
)
def test_what_is_no_access_token_is_refused(secret: str) -> None:
    # RFC 6750 section 2.1. A command that prints JSON is the usual mistake.
    with pytest.raises(RelayFailure) as caught:
        new_login("xoauth2", USER, secret, LoginMemory())
    assert "is no access token" in caught.value.message
    assert caught.value.hint.endswith(f"{TOKEN_COMMAND}.")


@pytest.mark.parametrize("secret", ["ya29.a0Af_B-x", "EwBA/8l6+Q==", "eyJ0eXAi.eyJhdWQi.c2ln", "1000.8cb9~x"])
def test_tokens_as_providers_give_them_are_taken(secret: str) -> None:
    assert new_login("xoauth2", USER, secret, LoginMemory()).first_line().startswith(b"AUTH XOAUTH2 ")


REFUSED = RelayFailure(
    "smtp.qq.com:587 refused the login: 535 no.", "Check it.", phase=Phase.AUTH, is_permanent=True,
    reply=Reply(535, None, "no"),
)  # fmt: skip
LOST = RelayFailure("smtp.qq.com:587: connection lost.", phase=Phase.AUTH, is_permanent=False)


def cancelled(mechanism: Mechanism) -> AuthPlain | AuthXoauth2:
    login = AuthPlain(USER, PASSWORD) if mechanism == "plain" else AuthXoauth2(USER, PASSWORD)
    for _ in range(3):
        login.answer(Reply(334, None, ""))
    return login


def test_a_cancelled_login_says_why_even_if_the_connection_broke_then() -> None:
    for failure in (REFUSED, LOST):
        said = explained(SETTINGS, "plain", cancelled("plain"), failure)
        assert said.message == "smtp.qq.com:587 asked for more than a user name and a password."
        assert said.is_permanent, "the next try would be the same"
        assert said.reply is failure.reply
        assert "scope" in explained(SETTINGS, "xoauth2", cancelled("xoauth2"), failure).hint


def test_a_refusal_keeps_its_words_and_gets_what_the_mechanism_knows() -> None:
    login = AuthXoauth2(USER, "t")
    login.complaint = "status 401, scope mail"
    said = explained(SETTINGS, "xoauth2", login, REFUSED)
    assert said.message == "smtp.qq.com:587 refused the login: 535 no (status 401, scope mail)."
    assert "https://outlook.office.com/SMTP.Send" in said.hint
    assert (said.reply, said.is_permanent) == (REFUSED.reply, True)


def test_a_refusal_without_a_complaint_is_as_it_was() -> None:
    said = explained(SETTINGS, "plain", AuthPlain(USER, PASSWORD), REFUSED)
    assert (said.message, said.hint, said.reply) == (REFUSED.message, REFUSED.hint, REFUSED.reply)
    said = explained(SETTINGS, "xoauth2", AuthXoauth2(USER, "t"), LOST)
    assert (said.message, said.hint, said.is_permanent) == (LOST.message, LOST.hint, False)


def test_cram_md5_may_fail_where_the_password_is_right() -> None:
    said = explained(SETTINGS, "cram-md5", AuthCramMd5("me", "x", lambda _: None), REFUSED)
    assert 'auth = "plain"' in said.hint
