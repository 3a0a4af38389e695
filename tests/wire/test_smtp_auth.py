"""Logging in (RFC 4954): what is said in answer to what. Every case is a dialogue; nothing else is ever sent."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.core.reply import Reply
from mailer.smtp.auth import (
    AuthLogin,
    AuthPlain,
    Login,
    LoginEnd,
    LoginMemory,
    asks_for_name,
    choose_mechanism,
    new_login,
)
from mailer.smtp.settings import AuthChoice, RelaySettings
from mailer.smtp.trouble import RelayFailure

USER, PASSWORD = "me@qq.com", "hunter22"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# In the dialogues: {user} and {password} stand for their base64, {User:} for the base64 of a prompt.
LOGIN_DIALOGUES = {
    "the user name goes with the command": """
        C: AUTH LOGIN {user}
        S: 334 {Password:}
        C: {password}
        S: 235 welcome
        in""",
    "a server that takes no initial response is asked in three steps": """
        C: AUTH LOGIN {user}
        S: 501 syntax error in parameters
        C: AUTH LOGIN
        S: 334 {Username:}
        C: {user}
        S: 334 {Password:}
        C: {password}
        S: 235 welcome
        in""",
    "the three steps are taken once": """
        C: AUTH LOGIN {user}
        S: 504 unrecognized
        C: AUTH LOGIN
        S: 504 unrecognized
        refused""",
    "a server that overlooked the initial response gets the user name again, and no password in its place": """
        C: AUTH LOGIN {user}
        S: 334 {Username:}
        C: {user}
        S: 334 {Password:}
        C: {password}
        S: 235 welcome
        in""",
    "a prompt for a name never gets the password": """
        C: AUTH LOGIN {user}
        S: 334 {Username:}
        C: {user}
        S: 334 {User Name}
        C: {user}
        S: 334 {Password:}
        C: *
        S: 501 cancelled
        refused""",
    "a third prompt is cancelled": """
        C: AUTH LOGIN {user}
        S: 501 no
        C: AUTH LOGIN
        S: 334 {Username:}
        C: {user}
        S: 334 {Password:}
        C: {password}
        S: 334 {Favourite colour?}
        C: *
        S: 501 cancelled
        refused""",
    "a prompt after the password is cancelled, whatever it asks": """
        C: AUTH LOGIN {user}
        S: 334 {Password:}
        C: {password}
        S: 334 {Password:}
        C: *
        S: 235 welcome all the same
        refused""",
    "a prompt that is not base64 is read as it is": """
        C: AUTH LOGIN {user}
        S: 334 Username:
        C: {user}
        S: 334 Password:
        C: {password}
        S: 235 welcome
        in""",
    "an empty prompt after the user name is one for the password": """
        C: AUTH LOGIN {user}
        S: 334
        C: {password}
        S: 235 welcome
        in""",
    "the first of three steps is the user name even if the prompt says nothing": """
        C: AUTH LOGIN {user}
        S: 500 what
        C: AUTH LOGIN
        S: 334
        C: {user}
        S: 334
        C: {password}
        S: 235 welcome
        in""",
    "a Chinese prompt is understood": """
        C: AUTH LOGIN {user}
        S: 334 {用户名:}
        C: {user}
        S: 334 {密码:}
        C: {password}
        S: 235 ok
        in""",
}
FINAL = [535, 534, 530, 454, 432, 421, 550, 505, 250, 354]


def play(login: Login, dialogue: str) -> None:
    """Check that `login` says exactly the C: lines in answer to the S: lines."""
    said: bytes | LoginEnd = login.first_line()
    for line in filter(None, map(str.strip, dialogue.splitlines())):
        who, _, text = line.partition(": ")
        while "{" in text:
            before, _, rest = text.partition("{")
            name, _, after = rest.partition("}")
            text = before + {"user": b64(USER), "password": b64(PASSWORD)}.get(name, b64(name)) + after
        match who:
            case "C":
                assert said == text.encode() + b"\r\n"
            case "S":
                said = login.answer(Reply(int(text[:3]), None, text[4:]))
            case "in":
                assert said is LoginEnd.IN
            case "refused":
                assert said is LoginEnd.REFUSED


@pytest.mark.parametrize("dialogue", LOGIN_DIALOGUES.values(), ids=LOGIN_DIALOGUES.keys())
def test_auth_login(dialogue: str) -> None:
    play(AuthLogin(USER, PASSWORD, LoginMemory()), dialogue)


@pytest.mark.parametrize("code", FINAL)
def test_any_other_answer_is_final_at_each_step(code: int) -> None:
    play(AuthLogin(USER, PASSWORD, LoginMemory()), f"C: AUTH LOGIN {{user}}\nS: {code} no\nrefused")
    play(
        AuthLogin(USER, PASSWORD, LoginMemory()),
        f"C: AUTH LOGIN {{user}}\nS: 334 {{Password:}}\nC: {{password}}\nS: {code} no\nrefused",
    )
    memory = LoginMemory()
    memory.three_steps = True
    play(AuthLogin(USER, PASSWORD, memory), f"C: AUTH LOGIN\nS: 334 {{Username:}}\nC: {{user}}\nS: {code} no\nrefused")


def test_that_a_relay_wants_three_steps_is_remembered() -> None:
    memory = LoginMemory()
    play(
        AuthLogin(USER, PASSWORD, memory),
        LOGIN_DIALOGUES["a server that takes no initial response is asked in three steps"],
    )
    play(
        AuthLogin(USER, PASSWORD, memory),
        "C: AUTH LOGIN\nS: 334 {Username:}\nC: {user}\nS: 334 {Password:}\nC: {password}\nS: 235 welcome\nin",
    )


def test_two_tries_at_the_same_time_learn_it_each_for_itself() -> None:
    memory = LoginMemory()
    one, other = AuthLogin(USER, PASSWORD, memory), AuthLogin(USER, PASSWORD, memory)
    one.first_line()
    other.first_line()
    assert one.answer(Reply(501, None, "")) == b"AUTH LOGIN\r\n"
    assert other.answer(Reply(501, None, "")) == b"AUTH LOGIN\r\n"


def test_500_to_504_after_the_first_answer_is_final() -> None:
    play(
        AuthLogin(USER, PASSWORD, LoginMemory()),
        "C: AUTH LOGIN {user}\nS: 334 {Password:}\nC: {password}\nS: 501 no\nrefused",
    )


def test_a_user_name_too_long_for_a_command_line_goes_in_three_steps() -> None:
    assert AuthLogin("u" * 400, PASSWORD, LoginMemory()).first_line() == b"AUTH LOGIN\r\n"


def test_a_password_beyond_ascii_goes_as_utf_8() -> None:
    login = AuthLogin("me", "pässwörd密", LoginMemory())
    login.first_line()
    assert login.answer(Reply(334, None, b64("Password:"))) == b64("pässwörd密").encode() + b"\r\n"
    assert AuthPlain("me", "密").first_line() == b"AUTH PLAIN " + b64("\0me\0密").encode() + b"\r\n"


@given(
    st.lists(
        st.tuples(
            st.integers(200, 559),
            st.sampled_from(["", "Username:", "Password:", b64("Username:"), b64("Password:"), "x"]),
        ),
        max_size=8,
    )
)
def test_whatever_the_server_says_the_password_goes_out_at_most_once_and_never_to_a_name_prompt(
    said: list[tuple[int, str]],
) -> None:
    login = AuthLogin(USER, PASSWORD, LoginMemory())
    lines = [login.first_line()]
    for code, text in said:
        answer = login.answer(Reply(code, None, text))
        if isinstance(answer, LoginEnd):
            break
        if answer == b64(PASSWORD).encode() + b"\r\n":
            assert not asks_for_name(text)
        lines.append(answer)
    assert lines.count(b64(PASSWORD).encode() + b"\r\n") <= 1
    assert len(lines) <= 5


PLAIN_DIALOGUES = {
    "everything in one line": "C: AUTH PLAIN {both}\nS: 235 welcome\nin",
    "a server that overlooked it gets it again": "C: AUTH PLAIN {both}\nS: 334\nC: {both}\nS: 235 welcome\nin",
    "and not a second time": "C: AUTH PLAIN {both}\nS: 334\nC: {both}\nS: 334\nC: *\nS: 501 cancelled\nrefused",
    "refused": "C: AUTH PLAIN {both}\nS: 535 no\nrefused",
    "a syntax error is final": "C: AUTH PLAIN {both}\nS: 501 no\nrefused",
}


@pytest.mark.parametrize("dialogue", PLAIN_DIALOGUES.values(), ids=PLAIN_DIALOGUES.keys())
def test_auth_plain(dialogue: str) -> None:
    play(AuthPlain(USER, PASSWORD), dialogue.replace("{both}", b64(f"\0{USER}\0{PASSWORD}")))


def test_a_response_too_long_for_a_command_line_waits_for_the_prompt() -> None:
    login = AuthPlain(USER, "p" * 500)
    assert login.first_line() == b"AUTH PLAIN\r\n"
    assert login.answer(Reply(334, None, "")) == b64(f"\0{USER}\0{'p' * 500}").encode() + b"\r\n"


@pytest.mark.parametrize(
    ("prompt", "asks"),
    [
        (b64("Username:"), True), (b64("User Name\0"), True), (b64("Login:"), True), (b64("用户名"), True),
        ("Username:", True), (b64("Password:"), False), (b64("Password\0"), False), (b64("Password of user"), False),
        ("", False), (b64("密码"), False), ("!!!", False),
    ],
)  # fmt: skip
def test_tells_a_prompt_for_a_name(prompt: str, asks: bool) -> None:
    assert asks_for_name(prompt) is asks


SETTINGS = RelaySettings("qq", "smtp.qq.com", 587, "starttls", "auto", USER)


@pytest.mark.parametrize(
    ("auth", "offered", "chosen"),
    [
        ("auto", ["LOGIN", "PLAIN"], "plain"), ("auto", ["LOGIN"], "login"), ("auto", ["XOAUTH2", "login"], "login"),
        ("login", ["PLAIN", "LOGIN"], "login"), ("plain", ["PLAIN", "LOGIN"], "plain"), ("none", [], None),
    ],
)  # fmt: skip
def test_chooses_the_mechanism(auth: AuthChoice, offered: list[str], chosen: str | None) -> None:
    settings = replace(SETTINGS, auth=auth)
    assert choose_mechanism(settings, offered, is_tls=True, is_loopback=False) == chosen


@pytest.mark.parametrize(
    ("auth", "offered", "sentence"),
    [
        ("auto", [], "smtp.qq.com:587 offers no AUTH."),
        ("login", ["PLAIN", "XOAUTH2"], "smtp.qq.com:587 does not offer AUTH LOGIN, only PLAIN, XOAUTH2."),
        ("auto", ["XOAUTH2"], "smtp.qq.com:587 does not offer AUTH LOGIN or AUTH PLAIN, only XOAUTH2."),
    ],
)
def test_says_what_is_not_offered(auth: AuthChoice, offered: list[str], sentence: str) -> None:
    with pytest.raises(RelayFailure) as caught:
        choose_mechanism(replace(SETTINGS, auth=auth), offered, is_tls=True, is_loopback=False)
    assert caught.value.message == sentence
    assert caught.value.hint
    assert caught.value.is_permanent


def test_no_password_over_plain_text_beyond_this_machine() -> None:
    with pytest.raises(RelayFailure, match="plain text"):
        choose_mechanism(SETTINGS, ["LOGIN"], is_tls=False, is_loopback=False)
    assert choose_mechanism(SETTINGS, ["LOGIN"], is_tls=False, is_loopback=True) == "login"
    insecure = replace(SETTINGS, insecure_auth=True)
    assert choose_mechanism(insecure, ["LOGIN"], is_tls=False, is_loopback=False) == "login"


def test_a_nul_in_a_secret_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(RelayFailure, match="NUL"):
        new_login("plain", USER, "a\0b", LoginMemory())


def test_no_secret_in_a_repr() -> None:
    for login in (AuthLogin(USER, PASSWORD, LoginMemory()), AuthPlain(USER, PASSWORD)):
        login.first_line()
        assert PASSWORD not in repr(login)
        assert b64(PASSWORD) not in repr(login)
