"""AUTH LOGIN: what is said in answer to what. Every case is a dialogue; nothing else is ever sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.login_dialogue import PASSWORD, USER, b64, play

from mailer.core.reply import Reply
from mailer.smtp.auth import LoginEnd, LoginMemory
from mailer.smtp.auth_login import AuthLogin, asks_for_name

# What rules these: RFC 4954 section 4 unless a row says otherwise; for the prompts there is none but what servers do.
DIALOGUES = {
    "the user name goes with the command (section 4, initial response)": """
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
    "a third prompt is cancelled (section 4, the client cancels with *)": """
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
    "a server that asks on after * is not answered": """
        C: AUTH LOGIN {user}
        S: 334 {Password:}
        C: {password}
        S: 334 {Password:}
        C: *
        S: 334 {Password:}
        refused""",
    "a prompt that is not base64 is read as it is": """
        C: AUTH LOGIN {user}
        S: 334 Username:
        C: {user}
        S: 334 Password:
        C: {password}
        S: 235 welcome
        in""",
    "a prompt that is base64 by accident is read as it is": """
        C: AUTH LOGIN {user}
        S: 334 Username
        C: {user}
        S: 334 Password
        C: {password}
        S: 235 welcome
        in""",
    "base64 without its padding is read": """
        C: AUTH LOGIN {user}
        S: 334 VXNlciBOYW1lAA
        C: {user}
        S: 334 UGFzc3dvcmQA
        C: {password}
        S: 235 welcome
        in""",
    "an answer in many lines is read whole (RFC 5321 section 4.2.1)": """
        C: AUTH LOGIN {user}
        S: 334 please | {Username:}
        C: {user}
        S: 334 thank you | {Password:}
        C: {password}
        S: 235 welcome | to | us
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
    "235 in place of 334 is a success: the server asks for no more (section 6)": """
        C: AUTH LOGIN {user}
        S: 235 I know you
        in""",
    "a refusal in many lines is a refusal": """
        C: AUTH LOGIN {user}
        S: 334 {Password:}
        C: {password}
        S: 535 no | really | no
        refused""",
}

# Section 6 and RFC 5321 section 4.2: final for this try, at every step.
FINAL = [535, 534, 538, 530, 454, 432, 421, 550, 505, 555, 250, 354]


@pytest.mark.parametrize("dialogue", DIALOGUES.values(), ids=DIALOGUES.keys())
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


@pytest.mark.parametrize("code", [500, 501, 502, 503, 504])
def test_each_of_500_to_504_means_three_steps_once_and_from_then_on_at_once(code: int) -> None:
    memory = LoginMemory()
    steps = "C: AUTH LOGIN\nS: 334 {Username:}\nC: {user}\nS: 334 {Password:}\nC: {password}\nS: 235 welcome\nin"
    play(AuthLogin(USER, PASSWORD, memory), f"C: AUTH LOGIN {{user}}\nS: {code} no\n{steps}")
    play(AuthLogin(USER, PASSWORD, memory), steps)
    play(AuthLogin(USER, PASSWORD, memory), f"C: AUTH LOGIN\nS: {code} no\nrefused")


@pytest.mark.parametrize("code", [500, 501, 502, 503, 504])
def test_500_to_504_after_the_first_answer_is_final(code: int) -> None:
    memory = LoginMemory()
    play(
        AuthLogin(USER, PASSWORD, memory),
        f"C: AUTH LOGIN {{user}}\nS: 334 {{Password:}}\nC: {{password}}\nS: {code} no\nrefused",
    )
    assert not memory.three_steps


def test_two_tries_at_the_same_time_learn_it_each_for_itself() -> None:
    memory = LoginMemory()
    one, other = AuthLogin(USER, PASSWORD, memory), AuthLogin(USER, PASSWORD, memory)
    one.first_line()
    other.first_line()
    assert one.answer(Reply(501, None, "")) == b"AUTH LOGIN\r\n"
    assert other.answer(Reply(501, None, "")) == b"AUTH LOGIN\r\n"


def test_a_command_of_512_octets_is_the_longest() -> None:
    # RFC 4954 section 4. "AUTH LOGIN " and CRLF leave 499 octets, which hold the base64 of 372.
    assert len(AuthLogin("u" * 372, PASSWORD, LoginMemory()).first_line()) == 11 + 496 + 2
    longer = "u" * 373
    play(
        AuthLogin(longer, PASSWORD, LoginMemory()),
        "C: AUTH LOGIN\nS: 334 {Username:}\nC: {longer}\nS: 334 {Password:}\nC: {password}\nS: 235 ok\nin",
        longer=longer,
    )


def test_what_is_beyond_ascii_goes_as_utf_8() -> None:
    play(
        AuthLogin("жучка", "pässwörd密", LoginMemory()),
        "C: AUTH LOGIN {name}\nS: 334 {Password:}\nC: {secret}\nS: 235 ok\nin",
        name="жучка",
        secret="pässwörd密",
    )
    assert b64("密") == "5a+G", "the base64 of UTF-8, as RFC 4616 section 2 has it"


def test_what_was_asked_too_much_is_said() -> None:
    login = AuthLogin(USER, PASSWORD, LoginMemory())
    play(login, DIALOGUES["a prompt after the password is cancelled, whatever it asks"])
    assert login.is_cancelled
    assert login.complaint == "asked for more than a user name and a password"


@pytest.mark.parametrize(
    ("prompt", "asks"),
    [
        (b64("Username:"), True), (b64("User Name\0"), True), (b64("Login:"), True), (b64("用户名"), True),
        ("Username:", True), (b64("Password:"), False), (b64("Password\0"), False), (b64("Password of user"), False),
        ("", False), (b64("密码"), False), ("!!!", False), ("VXNlciBOYW1lAA", True), ("UGFzc3dvcmQA", False),
        ("User", True), ("Username", True), ("Login", True), ("Password", False), ("=", False), ("é:", False),
        ("welcome\n" + b64("Username:"), True), ("dear user\n" + b64("Password:"), False),
        ("08O7p8P7Og==", True),  # 用户名: in GBK
        ("w9zC6zo=", False),  # 密码: in GBK
    ],
)  # fmt: skip
def test_tells_a_prompt_for_a_name(prompt: str, asks: bool) -> None:
    assert asks_for_name(prompt) is asks


NAME_PROMPTS = ["Username:", "User Name\0", "username", "Login:", "Account", "用户名:", "email"]
OTHER_PROMPTS = ["", "Password:", "密码:", "x", "\xff", "Favourite colour?"]
PROMPTS = [form for prompt in NAME_PROMPTS + OTHER_PROMPTS for form in (prompt, b64(prompt), b64(prompt).rstrip("="))]


@given(
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from([334, 334, 334, 501, 504, 535]), st.integers(200, 559)),
            st.lists(st.one_of(st.sampled_from(PROMPTS), st.text(max_size=20)), min_size=1, max_size=3),
        ),
        max_size=8,
    )
)
def test_whatever_the_server_says_the_password_goes_out_at_most_once_and_never_to_a_name_prompt(
    said: list[tuple[int, list[str]]],
) -> None:
    login = AuthLogin(USER, PASSWORD, LoginMemory())
    password = b64(PASSWORD).encode() + b"\r\n"
    lines = [login.first_line()]
    for code, texts in said:
        answer = login.answer(Reply(code, None, "\n".join(texts)))
        if isinstance(answer, LoginEnd):
            break
        lines.append(answer)
        if answer == password:
            asked = [form for prompt in NAME_PROMPTS for form in (prompt, b64(prompt), b64(prompt).rstrip("="))]
            assert not set(texts) <= set(asked), "only names were asked for"
    assert lines.count(password) <= 1
    assert len(lines) <= 5
    assert set(lines) <= {
        f"AUTH LOGIN {b64(USER)}\r\n".encode(), b"AUTH LOGIN\r\n", f"{b64(USER)}\r\n".encode(), password, b"*\r\n",
    }  # fmt: skip


@given(st.lists(st.text(max_size=10), min_size=8, max_size=8))
def test_a_loop_of_334_ends_in_a_bounded_number_of_lines(texts: list[str]) -> None:
    login = AuthLogin(USER, PASSWORD, LoginMemory())
    login.first_line()
    said = [login.answer(Reply(334, None, text)) for text in texts]
    assert said[2] == b"*\r\n" or said[1] == b"*\r\n"
    assert said[-1] is LoginEnd.REFUSED
    assert login.is_cancelled
