"""What one try makes of a message: each numbered rule of `settle`, and what holds after any sequence of tries."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.core.clock import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from mailer.core.message import Claimed, Ending, OnUncertain, Outcome, Phase, Result, State
from mailer.core.outcome import settle
from mailer.core.reply import Reply
from mailer.core.retry import RetryPolicy

NOW: Final = 1_800_000_000 * SECOND_US
RETRY: Final = RetryPolicy(first_us=5 * MINUTE_US, factor=2.0, longest_us=4 * HOUR_US, give_up_after_us=2 * DAY_US)
FRESH: Final = Claimed(
    claim=7,
    message_id=11,
    campaign_id=3,
    lane_id=5,
    relay="qq",
    version=2,
    address="a@example.com",
    fields="{}",
    attempts=0,
    refusals=0,
    losses=0,
    first_refused_at_us=None,
    in_doubt=False,
    waited_as=State.QUEUED,
    due_at_us=NOW - MINUTE_US,
    expires_at_us=None,
    on_uncertain=OnUncertain.RESEND,
)


def answered(code: int, phase: Phase, enhanced: str | None = None) -> Result:
    return Result(Ending.ANSWERED, phase, Reply(code, enhanced, "words"), relay="qq", started_at_us=NOW, duration_us=9)


def after(claimed: Claimed, result: Result, now_us: int = NOW) -> Outcome:
    return settle(claimed, result, RETRY, now_us, Random(1))


def claimed_again(claimed: Claimed, outcome: Outcome) -> Claimed:
    """The message of `outcome` when its turn comes, as the store hands it out."""
    assert outcome.due_at_us is not None
    return replace(
        claimed,
        claim=claimed.claim + 1,
        attempts=claimed.attempts + (outcome.attempt is not None),
        refusals=outcome.refusals,
        losses=outcome.losses,
        first_refused_at_us=outcome.first_refused_at_us,
        in_doubt=outcome.in_doubt,
        waited_as=outcome.state,
        due_at_us=outcome.due_at_us,
    )


# 1. A 2xx to the end of data: sent, whatever was in doubt before.


def test_a_2xx_to_the_end_of_data_is_sent() -> None:
    outcome = after(FRESH, answered(250, Phase.END_OF_DATA, "2.0.0"))
    assert (outcome.state, outcome.due_at_us, outcome.reason) == (State.SENT, None, "")
    assert outcome.attempt is not None
    assert (outcome.attempt.n, outcome.attempt.code, outcome.attempt.category) == (1, 250, "accepted")


def test_a_message_in_doubt_is_sent_by_a_2xx_and_remembers_the_doubt() -> None:
    outcome = after(replace(FRESH, in_doubt=True, waited_as=State.UNCERTAIN), answered(250, Phase.END_OF_DATA))
    assert outcome.state is State.SENT
    assert outcome.in_doubt
    assert not outcome.newly_in_doubt


@pytest.mark.parametrize("phase", [Phase.MAIL, Phase.RCPT, Phase.DATA])
def test_a_2xx_before_the_end_of_data_sends_nothing(phase: Phase) -> None:
    outcome = after(FRESH, answered(250, phase))
    assert (outcome.state, outcome.refusals) == (State.DEFERRED, 1)


def test_a_3xx_to_the_end_of_data_sends_nothing() -> None:
    assert after(FRESH, answered(354, Phase.END_OF_DATA)).state is State.DEFERRED


# 2. A verdict about the message: permanent ends it, temporary puts it off and counts towards its age.


@pytest.mark.parametrize("phase", [Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.END_OF_DATA])
def test_a_5xx_about_the_message_fails_it(phase: Phase) -> None:
    outcome = after(FRESH, answered(550, phase, "5.1.1"))
    assert (outcome.state, outcome.due_at_us) == (State.FAILED, None)
    assert outcome.attempt is not None
    assert (outcome.attempt.enhanced, outcome.attempt.category) == ("5.1.1", "no-such-user")


def test_a_4xx_about_the_message_puts_it_off_and_starts_its_age() -> None:
    outcome = after(FRESH, answered(450, Phase.RCPT))
    assert (outcome.state, outcome.refusals, outcome.first_refused_at_us) == (State.DEFERRED, 1, NOW)
    assert outcome.due_at_us is not None
    assert 4 * MINUTE_US <= outcome.due_at_us - NOW <= 6 * MINUTE_US


def test_a_second_4xx_waits_longer_and_leaves_the_age_as_it_was() -> None:
    first = NOW - HOUR_US
    outcome = after(replace(FRESH, refusals=1, attempts=1, first_refused_at_us=first), answered(451, Phase.DATA))
    assert (outcome.refusals, outcome.first_refused_at_us) == (2, first)
    assert outcome.due_at_us is not None
    assert 8 * MINUTE_US <= outcome.due_at_us - NOW <= 12 * MINUTE_US
    assert outcome.attempt is not None
    assert outcome.attempt.n == 2


def test_a_4xx_at_the_end_of_its_age_fails_it_with_the_reason() -> None:
    old = replace(FRESH, refusals=9, first_refused_at_us=NOW - 2 * DAY_US)
    outcome = after(old, answered(450, Phase.RCPT))
    assert (outcome.state, outcome.due_at_us) == (State.FAILED, None)
    assert outcome.reason == "gave up 2d after the first refusal"


def test_age_is_not_counted_from_queueing() -> None:
    waited_a_month = replace(FRESH, due_at_us=NOW - 30 * DAY_US)
    assert after(waited_a_month, answered(450, Phase.RCPT)).state is State.DEFERRED


def test_a_4xx_whose_next_attempt_would_pass_the_deadline_fails_it_now() -> None:
    outcome = after(replace(FRESH, expires_at_us=NOW + MINUTE_US), answered(450, Phase.RCPT))
    assert outcome.state is State.FAILED
    assert outcome.reason == "the next attempt would come after the campaign's deadline"


# 3. A verdict about the relay: the message goes back to its lane, uncharged; the try is recorded.


@pytest.mark.parametrize("waited_as", [State.QUEUED, State.DEFERRED, State.UNCERTAIN])
@pytest.mark.parametrize(
    ("code", "phase"),
    [
        (535, Phase.AUTH),
        (530, Phase.MAIL),
        (421, Phase.CONNECT),
        (421, Phase.MAIL),
        (550, Phase.TLS),
    ],
)
def test_what_is_about_the_relay_costs_the_message_nothing(code: int, phase: Phase, waited_as: State) -> None:
    in_doubt = waited_as is State.UNCERTAIN
    claimed = replace(
        FRESH, waited_as=waited_as, in_doubt=in_doubt, attempts=2, refusals=1, first_refused_at_us=NOW - 5
    )
    outcome = after(claimed, answered(code, phase))
    assert (outcome.state, outcome.due_at_us) == (waited_as, NOW)
    assert (outcome.refusals, outcome.losses, outcome.first_refused_at_us) == (1, 0, NOW - 5)
    assert (outcome.in_doubt, outcome.newly_in_doubt) == (in_doubt, False)
    assert outcome.attempt is not None
    assert (outcome.attempt.n, outcome.attempt.code) == (3, code)


@pytest.mark.parametrize("phase", [Phase.RCPT, Phase.DATA, Phase.END_OF_DATA])
def test_one_said_of_a_recipient_is_not_asked_again_at_once(phase: Phase) -> None:
    outcome = after(replace(FRESH, attempts=2), answered(454, phase, "4.7.1"))
    assert (outcome.state, outcome.refusals, outcome.first_refused_at_us) == (State.QUEUED, 0, None)
    assert outcome.due_at_us is not None
    assert 16 * MINUTE_US <= outcome.due_at_us - NOW <= 24 * MINUTE_US


@pytest.mark.parametrize("phase", [Phase.CONNECT, Phase.TLS, Phase.AUTH])
def test_a_2xx_out_of_step_before_mail_is_the_relays_fault(phase: Phase) -> None:
    outcome = after(FRESH, answered(250, phase))
    assert (outcome.state, outcome.refusals) == (State.QUEUED, 0)


def test_the_relays_faults_never_age_a_message_however_often_they_come() -> None:
    claimed = FRESH
    for hours in range(200):
        outcome = after(claimed, answered(535, Phase.AUTH), NOW + hours * HOUR_US)
        claimed = claimed_again(claimed, outcome)
    assert (claimed.waited_as, claimed.attempts, claimed.refusals) == (State.QUEUED, 200, 0)
    assert claimed.first_refused_at_us is None


# 4. A connection lost in the middle: the first time uncharged, then charged like a temporary refusal.


def test_the_first_loss_is_not_charged() -> None:
    outcome = after(FRESH, Result(Ending.LOST, Phase.RCPT, note="connection reset by peer"))
    assert (outcome.state, outcome.losses, outcome.refusals) == (State.DEFERRED, 1, 0)
    assert outcome.first_refused_at_us is None
    assert outcome.attempt is not None
    assert (outcome.attempt.code, outcome.attempt.note) == (None, "connection reset by peer")


def test_the_second_loss_is_charged() -> None:
    outcome = after(replace(FRESH, losses=1, attempts=1), Result(Ending.LOST, Phase.DATA))
    assert (outcome.state, outcome.losses, outcome.refusals) == (State.DEFERRED, 2, 1)
    assert outcome.first_refused_at_us == NOW


def test_losses_end_a_message_by_age_like_refusals() -> None:
    outcome = after(replace(FRESH, losses=8, refusals=7, first_refused_at_us=NOW - 3 * DAY_US), Result(Ending.LOST))
    assert (outcome.state, outcome.losses) == (State.FAILED, 9)
    assert outcome.reason == "gave up 2d after the first refusal"


def test_a_first_loss_close_to_the_deadline_fails_the_message() -> None:
    outcome = after(replace(FRESH, expires_at_us=NOW + SECOND_US), Result(Ending.LOST, Phase.MAIL))
    assert (outcome.state, outcome.losses, outcome.refusals) == (State.FAILED, 1, 0)


# 5. End of data begun and no reply: uncertain. The campaign's policy decides whether it is sent again or held.


def test_an_unanswered_end_of_data_is_uncertain_and_waits_for_its_resend() -> None:
    outcome = after(FRESH, Result(Ending.UNKNOWN, Phase.END_OF_DATA))
    assert (outcome.state, outcome.in_doubt, outcome.newly_in_doubt) == (State.UNCERTAIN, True, True)
    assert outcome.due_at_us is not None
    assert outcome.due_at_us > NOW
    assert outcome.reason == ""


def test_under_hold_it_waits_for_the_operator() -> None:
    outcome = after(replace(FRESH, on_uncertain=OnUncertain.HOLD), Result(Ending.UNKNOWN, Phase.END_OF_DATA))
    assert (outcome.state, outcome.due_at_us, outcome.in_doubt) == (State.UNCERTAIN, None, True)
    assert outcome.reason == "held for the operator: nobody knows whether the relay took it"


def test_a_second_doubt_is_not_new() -> None:
    claimed = replace(FRESH, in_doubt=True, waited_as=State.UNCERTAIN)
    outcome = after(claimed, Result(Ending.UNKNOWN, Phase.END_OF_DATA))
    assert (outcome.in_doubt, outcome.newly_in_doubt) == (True, False)


@pytest.mark.parametrize(
    ("claimed", "reason"),
    [
        (replace(FRESH, first_refused_at_us=NOW - 2 * DAY_US), "too old to be sent again"),
        (replace(FRESH, expires_at_us=NOW + MINUTE_US), "the resend would come after the campaign's deadline"),
    ],
    ids=["age", "deadline"],
)
def test_what_is_too_late_for_a_resend_stays_uncertain_and_says_why(claimed: Claimed, reason: str) -> None:
    outcome = after(claimed, Result(Ending.UNKNOWN, Phase.END_OF_DATA))
    assert (outcome.state, outcome.due_at_us) == (State.UNCERTAIN, None)
    assert outcome.reason.startswith(reason)


# 6. A message that was ever in doubt does not end failed: it ends uncertain, for nobody knows.

DOUBTFUL: Final = replace(FRESH, in_doubt=True, waited_as=State.UNCERTAIN, attempts=1)


@pytest.mark.parametrize(
    "result",
    [
        answered(550, Phase.RCPT),
        Result(Ending.UNFIT, note="no field `name`"),
        Result(Ending.EXPIRED, note="its deadline had passed"),
    ],
    ids=["refused", "unfit", "expired"],
)
def test_a_message_in_doubt_ends_uncertain(result: Result) -> None:
    outcome = after(DOUBTFUL, result)
    assert (outcome.state, outcome.due_at_us, outcome.in_doubt) == (State.UNCERTAIN, None, True)


def test_a_message_in_doubt_that_is_put_off_stays_uncertain_while_it_waits() -> None:
    outcome = after(DOUBTFUL, answered(450, Phase.RCPT))
    assert outcome.state is State.UNCERTAIN
    assert outcome.due_at_us is not None


# What ended without the wire.


def test_an_untouched_message_goes_back_as_if_it_had_never_been_claimed() -> None:
    outcome = after(FRESH, Result(Ending.UNTOUCHED))
    assert (outcome.state, outcome.due_at_us, outcome.attempt) == (State.QUEUED, FRESH.due_at_us, None)
    assert (outcome.refusals, outcome.losses, outcome.first_refused_at_us) == (0, 0, None)


def test_an_unfit_message_fails_with_the_reason_and_an_attempt() -> None:
    outcome = after(FRESH, Result(Ending.UNFIT, note="no field `name`"))
    assert (outcome.state, outcome.reason) == (State.FAILED, "no field `name`")
    assert outcome.attempt is not None
    assert outcome.attempt.phase is None


def test_an_expired_message_fails_with_the_reason_and_without_an_attempt() -> None:
    outcome = after(FRESH, Result(Ending.EXPIRED, note="its deadline had passed"))
    assert (outcome.state, outcome.reason, outcome.attempt) == (State.FAILED, "its deadline had passed", None)


@pytest.mark.parametrize(
    "result", [Result(Ending.ANSWERED, Phase.RCPT), Result(Ending.ANSWERED, None, Reply(250, None, ""))]
)
def test_an_answer_without_a_reply_or_a_phase_is_our_own_mistake(result: Result) -> None:
    with pytest.raises(ValueError, match="an answered try has a reply and a phase"):
        after(FRESH, result)


# Any sequence of tries.

RESULTS: Final = st.one_of(
    st.builds(
        answered,
        st.integers(min_value=200, max_value=599),
        st.sampled_from(Phase),
        st.sampled_from([None, "2.0.0", "4.7.1", "5.1.1", "5.7.8", "4.4.2"]),
    ),
    st.builds(
        Result, st.sampled_from([Ending.LOST, Ending.UNTOUCHED]), st.sampled_from([None, Phase.MAIL, Phase.DATA])
    ),
    st.just(Result(Ending.UNKNOWN, Phase.END_OF_DATA)),
    st.sampled_from([Result(Ending.UNFIT, note="unfit"), Result(Ending.EXPIRED, note="expired")]),
)
STARTS: Final = st.builds(
    replace,
    st.just(FRESH),
    on_uncertain=st.sampled_from(OnUncertain),
    expires_at_us=st.one_of(st.none(), st.integers(min_value=NOW, max_value=NOW + 4 * DAY_US)),
)


@given(start=STARTS, results=st.lists(RESULTS, max_size=60), seed=st.integers(0, 10))
def test_any_sequence_of_tries_leaves_a_message_in_exactly_one_state_that_it_may_be_in(
    start: Claimed, results: list[Result], seed: int
) -> None:
    claimed, now, random, attempts, doubts = start, NOW, Random(seed), 0, 0
    for result in results:
        outcome = settle(claimed, result, RETRY, now, random)
        doubts += outcome.newly_in_doubt
        if outcome.attempt is not None:
            attempts += 1
            assert outcome.attempt.n == attempts  # numbered without a gap
        assert outcome.claim == claimed.claim
        assert outcome.refusals in (claimed.refusals, claimed.refusals + 1)
        assert outcome.losses in (claimed.losses, claimed.losses + 1)
        assert outcome.in_doubt >= claimed.in_doubt  # a doubt is never forgotten
        assert outcome.first_refused_at_us is None or outcome.first_refused_at_us <= now
        assert (outcome.refusals > 0) == (outcome.first_refused_at_us is not None)
        assert doubts == outcome.in_doubt  # and new only once
        if outcome.in_doubt:
            assert outcome.state in (State.UNCERTAIN, State.SENT)
        if outcome.due_at_us is None:
            assert outcome.state in (State.SENT, State.FAILED, State.UNCERTAIN)
            assert outcome.state is not State.FAILED or outcome.reason or outcome.attempt is not None
            return
        assert outcome.state in (State.QUEUED, State.DEFERRED, State.UNCERTAIN)
        assert outcome.due_at_us <= now + 1.2 * RETRY.longest_us
        claimed, now = claimed_again(claimed, outcome), max(now, outcome.due_at_us)


@given(start=STARTS, refusal=st.sampled_from([answered(450, Phase.RCPT), Result(Ending.LOST), Result(Ending.UNKNOWN)]))
def test_a_message_that_only_meets_trouble_ends_soon_after_its_age(start: Claimed, refusal: Result) -> None:
    claimed, now, random = start, NOW, Random(3)
    for _ in range(100):
        outcome = settle(claimed, refusal, RETRY, now, random)
        if outcome.due_at_us is None:
            break
        claimed, now = claimed_again(claimed, outcome), outcome.due_at_us
    else:
        pytest.fail("it was tried a hundred times and did not end")
    # The first loss starts no age: at most one wait more than `give_up_after`.
    assert now <= NOW + RETRY.give_up_after_us + 1.2 * RETRY.first_us
