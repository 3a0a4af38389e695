"""What a reply means: for whom, for how long and why, by code and phase; and that the table says something of each."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.core import replies
from mailer.core.explain import advice_on, explain
from mailer.core.message import Phase
from mailer.core.replies import Category
from mailer.core.reply import Pasted, Reply, read_pasted, split_enhanced
from mailer.core.verdict import ABOUT_THE_LOGIN, Permanence, Scope, judge, verdict_of

BEFORE_MAIL: Final = (Phase.CONNECT, Phase.TLS, Phase.AUTH)
IN_A_MESSAGE: Final = (Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.END_OF_DATA)

# RFC 5321 section 4.2.3, RFC 4954 section 6, RFC 7504, and the codes that RFC 5248 section 2.4 names beside its own.
STANDARD_CODES: Final = {
    *(211, 214, 220, 221, 235, 250, 251, 252, 334, 354),
    *(421, 432, 450, 451, 452, 454, 455),
    *(500, 501, 502, 503, 504, 521, 523, 525, 530, 534, 535, 538),
    *(550, 551, 552, 553, 554, 555, 556),
}
# How many details each subject has: RFC 3463 and the registry that RFC 5248 opened.
REGISTERED: Final = {0: 1, 1: 11, 2: 5, 3: 7, 4: 8, 5: 7, 6: 11, 7: 31}


def test_every_code_of_the_standards_is_in_the_table() -> None:
    assert set(replies.codes()) == STANDARD_CODES


def test_every_registered_subject_and_detail_is_in_the_table() -> None:
    expected = [f"{subject}.{detail}" for subject, count in REGISTERED.items() for detail in range(count)]
    assert sorted(replies.enhanced_codes()) == sorted(expected)


@pytest.mark.parametrize(
    "known", [*map(str, sorted(STANDARD_CODES)), *(f"5.{code}" for code in replies.enhanced_codes())]
)
def test_every_entry_says_in_sentences_what_it_means_and_what_to_do(known: str) -> None:
    entry = replies.of_enhanced(known) if "." in known else replies.of_code(int(known))
    assert entry is not None
    for sentence in (entry.meaning, entry.advice):
        assert re.fullmatch(r"[A-Z`m].*[.]", sentence), sentence
    assert re.search(r"RFC \d{4}", entry.source)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("code", range(200, 600))
def test_the_first_digit_decides_for_how_long(code: int, phase: Phase) -> None:
    expected = {2: Permanence.SUCCESS, 3: Permanence.TEMPORARY, 4: Permanence.TEMPORARY, 5: Permanence.PERMANENT}
    for enhanced in (None, "2.0.0", "4.7.1", "5.1.1"):
        assert judge(Reply(code, enhanced, ""), phase).permanence is expected[code // 100]


@pytest.mark.parametrize("code", [220, 250, 421, 450, 454, 500, 502, 535, 550, 554, 599])
@pytest.mark.parametrize("phase", BEFORE_MAIL)
def test_what_comes_before_mail_is_about_the_relay(code: int, phase: Phase) -> None:
    assert judge(Reply(code, None, ""), phase).scope is Scope.RELAY


@pytest.mark.parametrize("phase", IN_A_MESSAGE)
def test_from_mail_on_only_the_logins_codes_and_421_to_mail_are_about_the_relay(phase: Phase) -> None:
    about_relay = {code for code in range(200, 600) if judge(Reply(code, None, ""), phase).scope is Scope.RELAY}
    assert about_relay == ABOUT_THE_LOGIN | ({421} if phase is Phase.MAIL else set())


@pytest.mark.parametrize(
    ("code", "enhanced", "phase", "category"),
    [
        (250, "2.1.5", Phase.RCPT, "accepted"),
        (250, None, Phase.END_OF_DATA, "accepted"),
        # the enhanced code, where there is one
        (550, "5.1.1", Phase.RCPT, "no-such-user"),
        (550, "5.2.1", Phase.RCPT, "no-such-user"),
        (552, "5.2.2", Phase.RCPT, "mailbox-full"),
        (452, "4.2.2", Phase.RCPT, "mailbox-full"),
        (550, "5.7.1", Phase.RCPT, "policy-block"),
        (451, "4.7.1", Phase.END_OF_DATA, "policy-block"),
        (550, "5.1.2", Phase.RCPT, "bad-domain"),
        (550, "5.4.4", Phase.RCPT, "bad-domain"),
        (556, "5.1.10", Phase.RCPT, "bad-domain"),
        (552, "5.3.4", Phase.MAIL, "message-too-big"),
        (452, "4.3.1", Phase.MAIL, "temporary-server-problem"),
        (452, "4.5.3", Phase.RCPT, "rate-limited"),
        (550, "5.7.28", Phase.END_OF_DATA, "rate-limited"),
        (535, "5.7.8", Phase.AUTH, "auth-problem"),
        (554, "5.7.26", Phase.END_OF_DATA, "policy-block"),
        # one that nobody registered: its subject
        (550, "5.7.509", Phase.RCPT, "policy-block"),
        (550, "5.4.316", Phase.RCPT, "temporary-server-problem"),
        (550, "5.1.351", Phase.RCPT, "no-such-user"),
        (550, "5.9.1", Phase.RCPT, "no-such-user"),
        # one that says nothing: the reply code
        (550, "5.0.0", Phase.RCPT, "no-such-user"),
        (451, "4.0.0", Phase.RCPT, "temporary-server-problem"),
        (502, "5.5.0", Phase.DATA, "other"),
        # the reply code, by the phase it came at
        (550, None, Phase.RCPT, "no-such-user"),
        (550, None, Phase.MAIL, "policy-block"),
        (550, None, Phase.END_OF_DATA, "policy-block"),
        (550, None, Phase.AUTH, "auth-problem"),
        (552, None, Phase.RCPT, "mailbox-full"),
        (552, None, Phase.END_OF_DATA, "message-too-big"),
        (553, None, Phase.RCPT, "no-such-user"),
        (553, None, Phase.MAIL, "policy-block"),
        (554, None, Phase.END_OF_DATA, "policy-block"),
        (450, None, Phase.RCPT, "temporary-server-problem"),
        (504, None, Phase.AUTH, "auth-problem"),
        (525, "5.7.13", Phase.AUTH, "auth-problem"),
        (525, "5.7.13", Phase.RCPT, "no-such-user"),
        # the login's own codes speak for themselves, whatever stands beside them
        (535, "5.7.3", Phase.AUTH, "auth-problem"),
        (454, "4.7.1", Phase.RCPT, "auth-problem"),
        (530, "5.7.0", Phase.MAIL, "auth-problem"),
        # unknown codes
        (499, None, Phase.RCPT, "temporary-server-problem"),
        (571, None, Phase.RCPT, "other"),
        # a server's slip: "valid" for a refusal
        (550, "5.1.5", Phase.RCPT, "no-such-user"),
    ],
)
def test_the_category_is_the_enhanced_codes_or_the_reply_codes(
    code: int, enhanced: str | None, phase: Phase, category: str
) -> None:
    assert judge(Reply(code, enhanced, ""), phase).category == category


CODES: Final = st.one_of(st.none(), st.integers(200, 599))
ENHANCED: Final = st.one_of(st.none(), st.from_regex(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True))


@given(code=CODES, enhanced=ENHANCED, phase=st.one_of(st.none(), st.sampled_from(Phase)))
def test_every_reply_has_a_verdict_and_only_a_success_is_accepted(
    code: int | None, enhanced: str | None, phase: Phase | None
) -> None:
    if code is None and enhanced is None:
        return
    verdict = verdict_of(code, enhanced, phase)
    assert verdict.category in Category
    is_2xx = (str(code) if code is not None else str(enhanced)).startswith("2")
    assert (verdict.category == "accepted") == is_2xx


@given(code=CODES, enhanced=ENHANCED)
def test_every_reply_is_explained(code: int | None, enhanced: str | None) -> None:
    if code is None and enhanced is None:
        return
    found = explain(Pasted(code, enhanced, ""))
    assert found.meaning
    assert found.advice
    assert found.action
    assert found.source
    assert found.verdict == verdict_of(code, enhanced, None)


def test_a_code_that_no_standard_defines_is_explained_by_its_first_digit_and_says_so() -> None:
    found = explain(Pasted(571, None, ""))
    assert found.meaning == "No standard defines the reply code 571. By its first digit: refused for good."
    assert found.source == "RFC 5321 4.2.1"


def test_an_unregistered_detail_is_explained_by_its_subject_and_says_so() -> None:
    assert explain(Pasted(550, "5.7.509", "")).meaning.startswith("The code 5.7.509 is in no registry;")


def test_codes_that_disagree_are_named_and_the_reply_code_decides() -> None:
    found = explain(Pasted(554, "4.4.7", ""))
    assert found.verdict.permanence is Permanence.PERMANENT
    assert "554 and 4.4.7 do not agree" in found.action


def test_502_names_the_line_that_did_not_end_in_crlf() -> None:
    found = explain(Pasted(502, None, ""))
    assert "did not end in CR LF" in found.advice
    assert found.verdict.scope is Scope.RELAY
    assert "ends that message as failed" in found.action


def test_advice_on_a_recorded_reply_is_that_of_its_explanation() -> None:
    assert advice_on(550, "5.1.1") == "Take the address off the list, or correct it."
    assert advice_on(None, None) == ""


# Reading what people paste


@pytest.mark.parametrize(
    ("text", "code", "enhanced", "words"),
    [
        ("550 5.1.1 <x>: no such user", 550, "5.1.1", "<x>: no such user"),
        ("550-5.1.1 a\n550 5.1.1 b", 550, "5.1.1", "a\nb"),
        ("550-a\r\n550 b\r\n", 550, None, "a\nb"),
        ("5.7.1", None, "5.7.1", ""),
        ("5.7.1 no", None, "5.7.1", "no"),
        ("421", 421, None, ""),
        (" 421 ", 421, None, ""),
        ("smtp; 550 5.1.1 no", 550, "5.1.1", "no"),
        ("Diagnostic-Code: smtp; 550-5.1.1 no\n 550 5.1.1 really", 550, "5.1.1", "no\nreally"),
        ("S: 354 go on", 354, None, "go on"),
        ("550 #5.1.0 Address rejected.", 550, "5.1.0", "Address rejected."),
        (
            "550 sorry, no mailbox here by that name (#5.1.1)",
            550,
            "5.1.1",
            "sorry, no mailbox here by that name (#5.1.1)",
        ),
        ("550: 5.7.1: denied", 550, "5.7.1", "denied"),
        ("554 4.4.7 expired", 554, "4.4.7", "expired"),
        ("550 5.7.1.2 is a version", 550, None, "5.7.1.2 is a version"),
        ("550 - no such user", 550, None, "no such user"),
        ("451 4.7.500-699 busy", 451, "4.7.500", "-699 busy"),
    ],
)
def test_a_reply_is_read_as_people_paste_it(text: str, code: int | None, enhanced: str | None, words: str) -> None:
    assert read_pasted(text) == Pasted(code, enhanced, words)


@pytest.mark.parametrize(
    "text", ["", "  \n ", "hello", "no such user", "5500", "650 x", "150 x", "6.1.1", "5.1", "٥٥٠ x", "-"]
)
def test_what_is_no_reply_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a reply"):
        read_pasted(text)


@given(st.text())
def test_any_text_is_a_reply_or_is_refused_as_such(text: str) -> None:
    try:
        found = read_pasted(text)
    except ValueError:
        return
    assert found.code is not None or found.enhanced is not None
    assert found.code is None or 200 <= found.code <= 599


def test_the_enhanced_code_is_split_from_the_words() -> None:
    assert split_enhanced("5.1.1 no such user") == ("5.1.1", "no such user")
    assert split_enhanced("no such user") == (None, "no such user")


def test_the_table_is_not_read_before_a_reply_is_judged_or_somebody_asks_for_it() -> None:
    code = (
        "import sys; import mailer.core.verdict; from mailer.core import replies;"
        "print('tomllib' in sys.modules); replies.load(); print('tomllib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nTrue\n"
