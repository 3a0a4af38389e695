"""Secrets in other people's words: in base64 together with something else, in pieces, and too many to remember."""

from __future__ import annotations

import base64
import json
import re
from random import Random
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mailer.redact import LONG, MASK, MOST, PIECE, SHORTEST, Redactor

PASSWORD = "hunter22-geheim"
TOKEN = "ya29." + "a0AfB_byC-7dE~" * 20


def redactor_of(*secrets: str) -> Redactor:
    redactor = Redactor()
    for secret in secrets:
        redactor.add(secret)
    return redactor


def b64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()


def own_letters(encoded: str, before: int, secret: str) -> str:
    """Of the base64 of `before` octets, the secret and more: the letters that hold nothing but bits of the secret."""
    bits = before * 8, (before + len(secret.encode())) * 8
    return encoded[-(-bits[0] // 6) : bits[1] // 6]


@pytest.mark.parametrize("secret", [PASSWORD, TOKEN, "密码-密码", "1234", "12345", "a b c"])
@pytest.mark.parametrize("before", ["", "x", "xy", "xyz", "\0me@qq.com\0", "user=me@qq.com\1auth=Bearer ", "{'a': '"])
@pytest.mark.parametrize("behind", ["", "y", "yz", "\1\1", "'}"])
def test_base64_of_a_secret_and_its_company_shows_nothing_of_it(secret: str, before: str, behind: str) -> None:
    encoded = b64(before + secret + behind)
    shown = redactor_of(secret)(f"535 what is {encoded}?")
    assert MASK in shown
    own = own_letters(encoded, len(before), secret)
    assert not any(own[n : n + 4] in shown for n in range(len(own) - 3))
    left, right = re.fullmatch(r"535 what is (.*?)\*\*\*(.*)\?", shown).groups()  # type: ignore[union-attr]
    if len(own) > PIECE:  # nor the letters at its ends, in which bits of it stand beside others
        assert len(left) <= len(before) * 8 // 6
        assert len(right) <= len(encoded) - -(-(len(before) + len(secret.encode())) * 8 // 6)


@pytest.mark.parametrize("width", [8, 12, 19, 64, 76])
def test_base64_that_was_folded_is_hidden_line_by_line(width: int) -> None:
    redactor = redactor_of(TOKEN)
    encoded = b64(f"user=me@qq.com\1auth=Bearer {TOKEN}\1\1")
    lines = [encoded[n : n + width] for n in range(0, len(encoded), width)]
    own = own_letters(encoded, len("user=me@qq.com\1auth=Bearer "), TOKEN)
    shown = [redactor(line) for line in lines]
    for line in shown:
        assert not any(line[n : n + PIECE] in own for n in range(len(line) - PIECE + 1))
    assert sum(line == MASK for line in shown) >= len(own) // width - 2


@given(
    secret=st.text(min_size=8, max_size=60),
    before=st.binary(max_size=8),
    behind=st.binary(max_size=8),
    cut=st.tuples(st.integers(0, 100), st.integers(PIECE, 100)),
    around=st.tuples(st.text(max_size=10), st.text(max_size=10)),
)
def test_no_piece_of_base64_is_shown(
    secret: str, before: bytes, behind: bytes, cut: tuple[int, int], around: tuple[str, str]
) -> None:
    encoded = base64.b64encode(before + secret.encode() + behind).decode()
    own = own_letters(encoded, len(before), secret)
    piece = own[cut[0] % (len(own) - PIECE + 1) :][: cut[1]]
    shown = redactor_of(secret)(around[0] + piece + around[1])
    assume(not any(piece[n : n + PIECE] in part for part in around for n in range(len(piece) - PIECE + 1)))
    assert not any(piece[n : n + PIECE] in shown for n in range(len(piece) - PIECE + 1))


@given(start=st.integers(0, len(TOKEN) - PIECE), length=st.integers(PIECE, 100))
def test_no_piece_of_a_token_is_shown(start: int, length: int) -> None:
    piece = TOKEN[start : start + length]
    assert len(TOKEN) >= LONG
    assert piece not in redactor_of(TOKEN)(f"535 the token {piece}... is not valid")


def test_a_word_of_a_password_is_not_given_away_by_a_mask() -> None:
    redactor = redactor_of("correct-password-battery")
    assert redactor("the password was refused") == "the password was refused"


def test_the_user_name_is_no_secret() -> None:
    assert redactor_of(PASSWORD)("logged in as me@qq.com") == "logged in as me@qq.com"
    shown = redactor_of(PASSWORD)(b64(f"\0me@qq.com\0{PASSWORD}"))
    assert base64.b64decode(shown.split(MASK)[0][:12]) == b"\0me@qq.co"


def test_innocent_words_stay_as_they_are() -> None:
    text = (
        "250 2.0.0 Ok 0102019aa0b1c2d3-1a2b3c4d-1111-2222-3333-444455556666-000000 queued; "
        "see https://support.google.com/mail/?p=BadCredentials y10sm11524926ejh.105 - gsmtp"
    )
    redactor = redactor_of(PASSWORD, TOKEN)
    assert redactor(text) is text


@pytest.mark.parametrize("secret", ["half \ud83d of it", "caf\udce9 au lait"])
def test_a_secret_that_is_no_text_is_hidden_too(secret: str) -> None:
    redactor = redactor_of(secret)
    assert redactor(f"it is {secret}.") == f"it is {MASK}."
    assert redactor(json.dumps(secret)) == f'"{MASK}"'
    assert secret.split()[1] not in redactor(repr(secret))


def test_a_latin_1_secret_is_hidden_in_its_octets() -> None:
    redactor = redactor_of("caf\udce9-au-lait")
    assert redactor(base64.b64encode(b"caf\xe9-au-lait").decode()) == MASK
    assert redactor(quote(b"caf\xe9-au-lait", safe="")) == MASK


def test_of_very_many_the_newest_are_remembered() -> None:
    tokens = [Random(n).randbytes(150).hex() for n in range(200)]
    redactor = redactor_of(*tokens)
    assert redactor(tokens[-1]) == MASK
    # A half of what may be remembered is left when something had to be forgotten.
    newest = tokens[-(MOST // 2 // len(tokens[0])) :]
    assert [redactor(token) for token in newest] == [MASK] * len(newest)
    assert redactor(tokens[0]) == tokens[0]


def test_what_is_added_again_is_as_good_as_new() -> None:
    redactor = redactor_of(PASSWORD)
    for n in range(200):
        redactor.add(f"{n:04}-" + TOKEN)
        redactor.add(PASSWORD)
    assert redactor(f"it is {PASSWORD}") == f"it is {MASK}"


def test_one_that_is_larger_than_all_that_may_be_remembered_is_hidden() -> None:
    huge = "x1Y2" * MOST
    assert redactor_of(PASSWORD, huge)(huge) == MASK


@pytest.mark.parametrize("length", range(SHORTEST, 12))
def test_short_secrets_are_hidden_in_base64_wherever_they_stand(length: int) -> None:
    secret = "q7Zx9Lm2Wp4K"[:length]
    redactor = redactor_of(secret)
    for before in range(6):
        encoded = b64("-" * before + secret + "-" * 4)
        own = own_letters(encoded, before, secret)
        assert own not in redactor(encoded)
