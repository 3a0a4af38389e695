"""`mailer campaign add|drop|edit|pause|resume|cancel|delete|retry` as they are typed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.campaign_folder import CampaignFolder
from support.cli import validate
from support.store import REFUSED, UNKNOWN, Clock, all_settled, claim, register, want

from mailer.clocks import wall_clock
from mailer.core.message import Result
from mailer.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> CampaignFolder:
    return CampaignFolder(tmp_path)


@pytest.fixture
def queued(folder: CampaignFolder) -> CampaignFolder:
    folder.queue().ok()
    return folder


def played(folder: CampaignFolder, count: int, result: Result | None) -> None:
    """Let a worker have `count` messages and meet `result` with each; None: it still has them in hand."""

    async def play() -> None:
        clock = Clock(wall_clock())
        async with await Store.open(folder.folder / "mailer.db", create=False, clock=clock) as store:
            worker = await register(store)
            messages = await claim(worker, count)
            assert len(messages) == count
            if result is not None:
                await worker.exchange(all_settled(messages, result, clock), [want(0)])
                await store.workers.end(worker.worker_id)

    asyncio.run(play())


# add


def test_add_takes_a_list_and_answers_like_queue(queued: CampaignFolder) -> None:
    queued.write("more.csv", "email,name\nbob@qq.com,Bob\ndan@example.org,Dan\n")
    ran = queued.cli("campaign", "add", "spring", "--recipients", "more.csv", "--json").ok()
    validate(ran.json, "campaign-queue")
    assert (ran.json["added"], ran.json["already"]) == (1, 1)


def test_add_needs_the_fields_that_the_templates_need(queued: CampaignFolder) -> None:
    queued.write("more.csv", "email,nom\ndan@example.org,Dan\n")
    ran = queued.cli("campaign", "add", "spring", "--recipients", "more.csv")
    assert ran.exit == 1
    assert "name" in ran.stderr
    assert queued.show()["total"] == 3


def test_add_to_a_cancelled_campaign_is_refused(queued: CampaignFolder) -> None:
    queued.cli("campaign", "cancel", "spring", "--yes").ok()
    ran = queued.cli("campaign", "add", "spring", "--recipients", "list.csv")
    assert ran.exit == 1
    assert "cancelled" in ran.stderr


def test_add_to_a_finished_campaign_makes_it_run_again(queued: CampaignFolder) -> None:
    played(queued, 3, REFUSED)
    assert queued.show()["state"] == "finished"
    queued.write("more.csv", "email,name\ndan@example.org,Dan\n")
    assert queued.cli("campaign", "add", "spring", "--recipients", "more.csv", "--json").ok().json["state"] == "running"


def test_a_name_that_comes_near_is_offered(queued: CampaignFolder) -> None:
    ran = queued.cli("campaign", "add", "sprng", "--recipients", "list.csv")
    assert ran.exit == 1
    assert "Did you mean spring?" in ran.stderr


# drop


def test_drop_cancels_who_waits_and_says_who_does_not(queued: CampaignFolder) -> None:
    ran = queued.cli("campaign", "drop", "spring", "BOB@qq.com", "nobody@example.org", "--json").ok()
    validate(ran.json, "campaign-drop")
    assert ran.json["cancelled"] == ["bob@qq.com"]
    assert ran.json["unknown"] == ["nobody@example.org"]
    assert queued.show()["cancelled"] == 1


def test_drop_says_who_was_on_the_way_already(queued: CampaignFolder) -> None:
    played(queued, 3, None)
    ran = queued.cli("campaign", "drop", "spring", "bob@qq.com")
    assert "was on the way already" in ran.ok().stdout
    assert queued.show()["sending"] == 3


def test_drop_takes_a_file_of_addresses(queued: CampaignFolder) -> None:
    queued.write("gone.txt", "ann@gmail.com\nbob@qq.com\n")
    ran = queued.cli("campaign", "drop", "spring", "--recipients", "gone.txt", "--json").ok()
    assert sorted(ran.json["cancelled"]) == ["ann@gmail.com", "bob@qq.com"]


def test_drop_of_nobody_and_of_what_is_no_address_is_refused(queued: CampaignFolder) -> None:
    assert queued.cli("campaign", "drop", "spring").exit == 2
    assert queued.cli("campaign", "drop", "spring", "bob").exit == 1
    assert queued.show()["cancelled"] == 0


# pause, resume


def test_pause_and_resume_say_the_state_and_are_harmless_twice(queued: CampaignFolder) -> None:
    for command, state in (("pause", "paused"), ("pause", "paused"), ("resume", "running"), ("resume", "running")):
        ran = queued.cli("campaign", command, "spring", "--json").ok()
        validate(ran.json, "campaign-state")
        assert ran.json == {"campaign": "spring", "state": state}


def test_a_sentence_for_people(queued: CampaignFolder) -> None:
    assert queued.cli("campaign", "pause", "spring").ok().stderr == "Campaign spring is paused.\n"


# cancel, delete


def test_cancel_asks_and_without_a_terminal_needs_yes(queued: CampaignFolder) -> None:
    ran = queued.cli("campaign", "cancel", "spring")
    assert ran.exit == 2
    assert "cancel 3 waiting messages of campaign spring" in ran.stderr
    assert "--yes" in ran.stderr
    assert queued.show()["state"] == "running"


def test_cancel_ends_all_that_waits(queued: CampaignFolder) -> None:
    ran = queued.cli("campaign", "cancel", "spring", "--yes", "--json").ok()
    validate(ran.json, "campaign-cancel")
    assert ran.json == {"campaign": "spring", "state": "cancelled", "cancelled": 3, "on_the_way": 0}
    assert queued.cli("campaign", "cancel", "spring").ok().exit == 0


def test_cancel_leaves_what_is_on_the_wire_to_its_end(queued: CampaignFolder) -> None:
    played(queued, 1, None)
    ran = queued.cli("campaign", "cancel", "spring", "--yes", "--json").ok()
    assert (ran.json["state"], ran.json["cancelled"], ran.json["on_the_way"]) == ("cancelling", 2, 1)


def test_a_dry_run_of_cancel_only_counts(queued: CampaignFolder) -> None:
    ran = queued.cli("campaign", "cancel", "spring", "--dry-run", "--json").ok()
    validate(ran.json, "campaign-cancel")
    assert ran.json["would_cancel"] == 3
    assert queued.show()["queued"] == 3


def test_delete_is_for_what_has_ended(queued: CampaignFolder) -> None:
    ran = queued.cli("campaign", "delete", "spring", "--yes")
    assert ran.exit == 1
    assert "is running" in ran.stderr


def test_delete_removes_everything(queued: CampaignFolder) -> None:
    queued.cli("campaign", "cancel", "spring", "--yes").ok()
    assert queued.cli("campaign", "delete", "spring").exit == 2
    dry = queued.cli("campaign", "delete", "spring", "--dry-run", "--json").ok()
    validate(dry.json, "campaign-delete")
    assert dry.json == {"campaign": "spring", "would_delete": 3}
    ran = queued.cli("campaign", "delete", "spring", "--yes", "--json").ok()
    validate(ran.json, "campaign-delete")
    assert ran.json == {"campaign": "spring", "deleted": 3}
    assert queued.cli("campaign", "show", "spring").exit == 1


# retry


def test_retry_leaves_wrong_addresses_alone_unless_told(queued: CampaignFolder) -> None:
    played(queued, 3, REFUSED)
    ran = queued.cli("campaign", "retry", "spring", "--failed", "--json").ok()
    validate(ran.json, "campaign-retry")
    assert (ran.json["queued"], ran.json["left_alone"], ran.json["state"]) == (0, 3, "finished")
    assert "--include-permanent" in ran.stderr
    ran = queued.cli("campaign", "retry", "spring", "--failed", "--include-permanent", "--json").ok()
    assert (ran.json["queued"], ran.json["state"]) == (3, "running")


def test_retry_by_category_and_what_it_would_do(queued: CampaignFolder) -> None:
    played(queued, 3, REFUSED)
    dry = queued.cli("campaign", "retry", "spring", "--category", "no-such-user", "--dry-run", "--json").ok()
    validate(dry.json, "campaign-retry")
    assert dry.json["would_queue"] == 3
    assert queued.cli("campaign", "retry", "spring", "--category", "mailbox-full", "--json").ok().json["queued"] == 0
    assert queued.show()["failed"] == 3


def test_retry_of_uncertain_ones_sends_them_again(folder: CampaignFolder) -> None:
    folder.queue("--on-uncertain", "hold").ok()
    played(folder, 3, UNKNOWN)
    assert folder.show()["uncertain"] == 3
    assert folder.cli("campaign", "retry", "spring", "--failed", "--json").ok().json["queued"] == 0
    assert folder.cli("campaign", "retry", "spring", "--uncertain", "--json").ok().json["queued"] == 3


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "not said what to try again"),
        (("--failed", "--uncertain"), "give one"),
        (("--category", "no-such-usr"), "Did you mean `no-such-user`?"),
    ],
)
def test_retry_wants_to_be_told_what(queued: CampaignFolder, args: tuple[str, ...], said: str) -> None:
    ran = queued.cli("campaign", "retry", "spring", *args)
    assert ran.exit == 2
    assert said in ran.stderr


def test_retry_of_more_than_a_thousand_asks(folder: CampaignFolder) -> None:
    folder.write("list.csv", "email,name\n" + "".join(f"u{n}@example.org,U\n" for n in range(1_001)))
    folder.queue().ok()
    played(folder, 1_001, REFUSED)
    ran = folder.cli("campaign", "retry", "spring", "--category", "no-such-user")
    assert ran.exit == 2
    assert "1,001" in ran.stderr
    assert folder.cli("campaign", "retry", "spring", "--category", "no-such-user", "--yes").ok().exit == 0


# edit


def test_edit_changes_what_was_named_and_keeps_the_rest(queued: CampaignFolder) -> None:
    ran = queued.cli("campaign", "edit", "spring", "--subject", "Spring, {{ name }}", "--priority", "4", "--json").ok()
    validate(ran.json, "campaign-edit")
    assert (ran.json["version"], ran.json["changed"], ran.json["waiting"]) == (2, ["subject", "priority"], 3)
    shown = queued.show()
    assert (shown["subject"], shown["text"], shown["priority"]) == (
        "Spring, {{ name }}",
        "Dear {{ name }},\n\nspring is here.\n",
        4,
    )


def test_edit_reads_new_files(queued: CampaignFolder) -> None:
    queued.write("spring.txt", "Dear {{ name }}: never mind.\n")
    queued.write("terms.pdf", b"%PDF-1.4")
    ran = queued.cli("campaign", "edit", "spring", "--text", "spring.txt", "--attach", "terms.pdf", "--json").ok()
    assert ran.json["changed"] == ["text", "attachment terms.pdf"]
    shown = queued.show()
    assert shown["text"] == "Dear {{ name }}: never mind.\n"
    assert [part["name"] for part in shown["attachments"]] == ["terms.pdf"]


def test_edit_keeps_attachments_when_other_things_change(folder: CampaignFolder) -> None:
    folder.write("terms.pdf", b"%PDF-1.4")
    folder.queue("--attach", "terms.pdf").ok()
    folder.cli("campaign", "edit", "spring", "--subject", "Other").ok()
    assert [part["name"] for part in folder.show()["attachments"]] == ["terms.pdf"]
    folder.cli("campaign", "edit", "spring", "--attach", "").ok()
    assert folder.show()["attachments"] == []


def test_edit_of_the_settings_alone_makes_no_new_version(queued: CampaignFolder) -> None:
    ran = queued.cli("campaign", "edit", "spring", "--expires-at", "2030-01-01T00:00Z", "--json").ok()
    assert (ran.json["version"], ran.json["expires_at"]) == (1, "2030-01-01T00:00:00.000Z")
    assert queued.cli("campaign", "edit", "spring", "--expires-at", "", "--json").ok().json["expires_at"] is None


def test_edit_to_what_it_is_already_changes_nothing(queued: CampaignFolder) -> None:
    ran = queued.cli("campaign", "edit", "spring", "--subject", "Hello {{ name }}", "--json").ok()
    assert (ran.json["version"], ran.json["changed"]) == (1, [])


def test_edit_is_refused_when_somebody_who_waits_could_not_be_rendered(queued: CampaignFolder) -> None:
    ran = queued.cli("campaign", "edit", "spring", "--subject", "Hello {{ surname }}")
    assert ran.exit == 1
    assert "surname" in ran.stderr
    assert queued.show()["version"] == 1


def test_edit_without_a_change_is_wrong_usage(queued: CampaignFolder) -> None:
    assert queued.cli("campaign", "edit", "spring").exit == 2


def test_edit_to_a_from_that_nobody_carries_is_refused(queued: CampaignFolder) -> None:
    ran = queued.cli("campaign", "edit", "spring", "--from", "me@elsewhere.org")
    assert ran.exit == 1
    assert "no relay may carry" in ran.stderr


# Without a database


@pytest.mark.parametrize(
    "args",
    [
        ("add", "spring", "--recipients", "list.csv"),
        ("drop", "spring", "a@example.org"),
        ("edit", "spring", "--subject", "S"),
        ("list",),
        ("show", "spring"),
        ("pause", "spring"),
        ("resume", "spring"),
        ("cancel", "spring"),
        ("delete", "spring"),
        ("retry", "spring", "--failed"),
        ("preview", "spring"),
        ("test", "spring", "--to", "me@example.com"),
        ("export", "spring"),
    ],
)
def test_without_a_database_a_command_says_where_it_looked(folder: CampaignFolder, args: tuple[str, ...]) -> None:
    ran = folder.cli("campaign", *args)
    assert ran.exit == 4
    assert f"no database at {folder.folder / 'mailer.db'}" in ran.stderr
    assert not folder.has_database


@pytest.mark.parametrize("command", ["pause", "resume", "cancel", "delete", "show", "export"])
def test_a_campaign_that_does_not_exist_is_named(queued: CampaignFolder, command: str) -> None:
    ran = queued.cli("campaign", command, "autumn")
    assert ran.exit == 1
    assert "there is no campaign called autumn" in ran.stderr
