"""What is reckoned from a status: percent, time left, trouble, and when a wait is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from mailer.cli.figures import duration_words, eta_seconds, per_cent, relays_of, waiting
from mailer.cli.known import Known
from mailer.cli.trouble import LARGE_WAL_BYTES, troubles
from mailer.cli.wait import blocked, is_over
from mailer.core.clock import MINUTE_US, SECOND_US
from mailer.core.message import OnUncertain, State
from mailer.store import CampaignStatus, RelayStatus, Status, Worker

NOW: Final = 1_800_000_000 * SECOND_US
KNOWN: Final = Known(Path("/var/lib/mailer.db"), {"qq": 500})


def campaign(counts: Mapping[State, int], **changes: Any) -> CampaignStatus:
    """A running campaign with these counts."""
    ready = CampaignStatus(
        id=1,
        name="spring",
        kind="campaign",
        state="running",
        reason="",
        created_at_us=NOW,
        started_at_us=NOW,
        finished_at_us=None,
        start_at_us=None,
        expires_at_us=None,
        priority=0,
        version=1,
        on_uncertain=OnUncertain.RESEND,
        counts=dict.fromkeys(State, 0) | dict(counts),
        in_doubt=0,
        rate_per_second=0.0,
    )
    return replace(ready, **changes)


def relay(**changes: Any) -> RelayStatus:
    """A relay that works."""
    ready = RelayStatus("qq", "ready", "", None, connections=1, rate_per_second=1.0, sent_24h=0, claimed_24h=0)
    return replace(ready, **changes)


def worker(**changes: Any) -> Worker:
    """A worker that has just been heard of."""
    ready = Worker(
        id=3,
        incarnation="0" * 32,
        host="mail-1",
        pid=4711,
        boot_id="boot",
        processes=1,
        slots=16,
        state_dir="/nowhere",
        started_at_us=NOW,
        heartbeat_at_us=NOW,
        lease_until_us=NOW + MINUTE_US,
        exchange_n=1,
        in_hand=0,
    )
    return replace(ready, **changes)


def status(
    *campaigns: CampaignStatus, relays: tuple[RelayStatus, ...] = (), workers: tuple[Worker, ...] = ()
) -> Status:
    return Status(NOW, campaigns, relays, workers)


def trouble_of(now: Status, known: Known = KNOWN, **more: Any) -> list[str]:
    return troubles(now, known, NOW, **more)


# Figures


def test_a_hundred_percent_are_reached_only_when_everything_has_ended() -> None:
    assert per_cent(campaign({State.SENT: 9_999, State.DEFERRED: 1})) == 99
    assert per_cent(campaign({State.SENT: 9_990, State.FAILED: 10})) == 100


def test_a_campaign_without_recipients_is_done() -> None:
    assert per_cent(campaign({})) == 100


def test_uncertain_messages_wait_while_they_will_be_sent_again_and_not_when_they_are_held() -> None:
    counts = {State.SENT: 5, State.UNCERTAIN: 2}
    assert waiting(campaign(counts)) == 2
    assert waiting(campaign(counts, on_uncertain=OnUncertain.HOLD)) == 0
    assert waiting(campaign(counts, state="finished")) == 0


def test_the_time_left_is_what_waits_divided_by_the_rate() -> None:
    going = campaign({State.QUEUED: 80, State.SENDING: 10, State.DEFERRED: 10}, rate_per_second=20.0)
    assert eta_seconds(going) == 5.0


@pytest.mark.parametrize(
    "changes",
    [
        {"rate_per_second": 0.0},
        {"rate_per_second": 5.0, "state": "paused"},
        {"rate_per_second": 5.0, "counts": dict.fromkeys(State, 0) | {State.DEFERRED: 7}},
    ],
    ids=["nothing moves", "paused", "only retries are left, which have a time of their own"],
)
def test_no_time_left_is_claimed_where_nobody_can_say(changes: dict[str, Any]) -> None:
    assert eta_seconds(campaign(**{"counts": {State.QUEUED: 10}} | changes)) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, None), (0, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7_500, "2 h 5 min"),
        (3_600, "1 h"), (273_600, "3 d 4 h"), (-5, "0 s"),
    ],
)  # fmt: skip
def test_durations_are_told_in_the_two_largest_units(seconds: float | None, words: str | None) -> None:
    assert duration_words(seconds) == words


def test_a_configured_relay_that_no_worker_has_is_idle_and_others_come_behind() -> None:
    listed = relays_of(status(relays=(relay(name="old"),)), KNOWN)
    assert [(one.name, one.state) for one in listed] == [("qq", "idle"), ("old", "ready")]


# Trouble


def test_all_well_is_no_trouble() -> None:
    now = status(campaign({State.QUEUED: 5}), relays=(relay(),), workers=(worker(),))
    assert trouble_of(now) == []


def test_work_without_a_worker_is_trouble() -> None:
    assert trouble_of(status(campaign({State.QUEUED: 1_204}))) == [
        "No worker is running, and 1,204 messages wait: start one with `mailer worker`."
    ]
    assert trouble_of(status(campaign({State.DEFERRED: 1}))) == [
        "No worker is running, and 1 message waits: start one with `mailer worker`."
    ]


@pytest.mark.parametrize("state", ["finished", "paused", "scheduled", "cancelled"])
def test_no_worker_is_missed_where_nothing_is_due(state: str) -> None:
    assert trouble_of(status(campaign({State.QUEUED: 5, State.SENT: 1}, state=state))) == []


def test_work_without_any_relay_is_trouble() -> None:
    [sentence] = trouble_of(status(campaign({State.QUEUED: 2}), workers=(worker(),)), Known(KNOWN.database, {}))
    assert sentence == "No relay is configured, and 2 messages wait: `mailer init` sets one up."


def test_a_worker_silent_past_its_lease_is_named_with_what_it_holds_and_counts_as_none() -> None:
    silent = worker(heartbeat_at_us=NOW - 130 * SECOND_US, lease_until_us=NOW - 1, in_hand=7)
    assert trouble_of(status(campaign({State.SENDING: 7}), workers=(silent,))) == [
        "No worker is running, and 7 messages wait: start one with `mailer worker`.",
        "Worker 3 (pid 4711 on mail-1) has been silent for 2 min 10 s. 7 messages are in its hands.",
    ]


def test_a_stopped_relay_is_trouble_with_its_reason_made_harmless() -> None:
    [sentence] = trouble_of(status(relays=(relay(state="stopped", reason="refused the login: 535 \x1b[31mno."),)))
    assert sentence.startswith("Relay qq is stopped: refused the login: 535 ")
    assert "\x1b" not in sentence
    assert sentence.endswith("send the worker SIGHUP or start it again.")


def test_a_paused_relay_says_when_it_is_tried_again() -> None:
    paused = relay(state="paused", reason="nobody listens on 127.0.0.1:25.", paused_until_us=NOW + 40 * SECOND_US)
    assert trouble_of(status(relays=(paused,))) == [
        "Relay qq is paused: nobody listens on 127.0.0.1:25; it is tried again in 40 s."
    ]


def test_a_daily_limit_that_is_reached_is_trouble_only_while_something_waits() -> None:
    used = relay(claimed_24h=500)
    waits = status(campaign({State.QUEUED: 9}), relays=(used,), workers=(worker(),))
    assert trouble_of(waits) == ["Relay qq has reached its daily_limit of 500 in 24 hours; what is left waits."]
    assert trouble_of(status(campaign({State.SENT: 9}, state="finished"), relays=(used,))) == []


def test_held_uncertain_messages_are_trouble_and_say_what_to_type() -> None:
    held = campaign({State.UNCERTAIN: 1, State.SENT: 4}, state="finished", on_uncertain=OnUncertain.HOLD)
    [sentence] = trouble_of(status(held))
    assert sentence.startswith("Campaign spring: 1 message is uncertain and held; the server may have taken it.")
    assert "`mailer message list --campaign spring --state uncertain`" in sentence
    assert "`mailer campaign retry spring --uncertain`" in sentence


def test_a_deadline_that_will_be_missed_is_trouble() -> None:
    late = campaign({State.QUEUED: 1_200}, rate_per_second=2.0, expires_at_us=NOW + 300 * SECOND_US)
    assert trouble_of(status(late, workers=(worker(),))) == [
        "Campaign spring will miss its deadline: it needs 10 min more at 2 a second, and has 5 min; "
        "the rest fails unsent."
    ]
    in_time = replace(late, expires_at_us=NOW + 700 * SECOND_US)
    assert trouble_of(status(in_time, workers=(worker(),))) == []


def test_a_deadline_that_has_passed_and_one_that_runs_out_in_a_pause_are_trouble() -> None:
    past = campaign({State.QUEUED: 3}, expires_at_us=NOW - 1)
    assert "its deadline has passed; 3 messages will fail unsent." in trouble_of(status(past, workers=(worker(),)))[0]
    paused = campaign({State.QUEUED: 3}, state="paused", expires_at_us=NOW + 60 * SECOND_US)
    assert trouble_of(status(paused)) == ["Campaign spring is paused while its deadline runs: 1 min are left."]


def test_a_large_write_ahead_log_is_trouble() -> None:
    assert trouble_of(status(), wal_bytes=LARGE_WAL_BYTES - 1) == []
    [sentence] = trouble_of(status(), wal_bytes=300_000_000)
    assert "300 MB" in sentence
    assert "`fuser /var/lib/mailer.db`" in sentence


# Waiting


def able(_campaign: CampaignStatus) -> list[str]:
    return ["qq"]


def test_a_wait_goes_on_while_something_may_still_happen() -> None:
    for counts, changes in (
        ({State.QUEUED: 1}, {}),
        ({State.DEFERRED: 1}, {}),
        ({State.SENDING: 1}, {"state": "paused"}),
        ({State.QUEUED: 1}, {"state": "scheduled"}),
        ({State.QUEUED: 1}, {"state": "loading"}),
        ({State.QUEUED: 1}, {"state": "cancelling"}),
    ):
        now = status(campaign(counts, **changes), relays=(relay(),))
        assert not is_over(now, {1}, able), (counts, changes)
        assert blocked(now, {1}, able) == []


def test_a_wait_is_over_when_the_campaigns_waited_for_have_ended_whatever_others_do() -> None:
    ended, other = campaign({State.SENT: 1}, state="finished"), campaign({State.QUEUED: 1}, id=2)
    assert is_over(status(ended, other), {1}, able)
    assert not is_over(status(ended, other), {1, 2}, able)
    assert blocked(status(ended, other), {1}, able) == []


@pytest.mark.parametrize(
    ("changes", "relays", "sentence"),
    [
        ({"state": "paused", "reason": "paused by the operator"}, (), "spring: 4 left, paused: paused by the operator"),
        (
            {},
            (relay(state="stopped", reason="535 wrong password"),),
            "spring: 4 left, relay qq is stopped: 535 wrong password",
        ),
    ],
    ids=["paused", "its only relay is stopped"],
)
def test_a_wait_is_over_when_only_an_operator_can_move_it_on(
    changes: dict[str, Any], relays: tuple[RelayStatus, ...], sentence: str
) -> None:
    now = status(campaign({State.QUEUED: 3, State.DEFERRED: 1}, **changes), relays=relays)
    assert is_over(now, {1}, able)
    assert blocked(now, {1}, able) == [sentence]


def test_a_stopped_relay_ends_no_wait_while_another_one_may_carry_the_campaign() -> None:
    stopped = relay(state="stopped", reason="535 wrong password")
    now = status(campaign({State.QUEUED: 1}), relays=(stopped, relay(name="gmail")))
    assert not is_over(now, {1}, lambda _: ["qq", "gmail"])
    assert is_over(now, {1}, lambda _: ["qq"])


def test_a_campaign_that_no_configured_relay_may_carry_ends_the_wait() -> None:
    now = status(campaign({State.QUEUED: 2}))
    assert blocked(now, {1}, lambda _: []) == ["spring: 2 left, no configured relay may carry it"]


def test_held_uncertain_messages_are_left_for_the_operator() -> None:
    held = campaign({State.UNCERTAIN: 2}, state="finished", on_uncertain=OnUncertain.HOLD)
    assert blocked(status(held), {1}, able) == ["spring: 2 uncertain and held, until an operator decides"]
