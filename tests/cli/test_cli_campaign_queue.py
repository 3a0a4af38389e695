"""`mailer campaign queue` as it is typed: what it adds, what it refuses, and that a refusal leaves nothing behind."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from support.campaign_folder import CampaignFolder
from support.cli import validate


@pytest.fixture
def folder(tmp_path: Path) -> CampaignFolder:
    return CampaignFolder(tmp_path)


# What it adds


def test_a_campaign_is_queued_and_the_answer_counts_its_recipients(folder: CampaignFolder) -> None:
    ran = folder.queue("--json").ok()
    validate(ran.json, "campaign-queue")
    assert ran.json["estimated_finish_at"] is not None
    assert {
        key: ran.json[key] for key in ("campaign", "added", "already", "duplicates", "suppressed", "bad", "state")
    } == {
        "campaign": "spring",
        "added": 3,
        "already": 0,
        "duplicates": 0,
        "suppressed": 0,
        "bad": 0,
        "state": "running",
    }
    assert folder.show()["queued"] == 3


def test_the_first_queue_makes_the_database_and_says_where(folder: CampaignFolder) -> None:
    assert f"Created the database {folder.folder / 'mailer.db'}." in folder.queue().ok().stderr


def test_for_people_the_answer_is_a_table_with_times_on_their_clock(folder: CampaignFolder) -> None:
    ran = folder.queue("--start-at", "2030-03-01T08:00").ok()
    assert "added" in ran.stdout
    assert "2030-03-01T08:00:00+08:00" in ran.stdout


def test_the_same_command_again_adds_nobody(folder: CampaignFolder) -> None:
    folder.queue().ok()
    again = folder.queue("--json").ok().json
    assert (again["added"], again["already"]) == (0, 3)
    assert folder.show()["total"] == 3


def test_a_longer_list_adds_the_new_ones(folder: CampaignFolder) -> None:
    folder.queue().ok()
    folder.write("list.csv", "email,name\nbob@qq.com,Bob\ndan@example.org,Dan\n")
    longer = folder.queue("--json").ok().json
    assert (longer["added"], longer["already"]) == (1, 1)


def test_a_repeated_address_is_counted_and_queued_once(folder: CampaignFolder) -> None:
    folder.write("list.csv", "email,name\nbob@qq.com,Bob\nBOB@QQ.com,Bobby\n")
    answer = folder.queue("--json").ok().json
    assert (answer["added"], answer["duplicates"]) == (1, 1)


def test_expires_in_is_the_same_on_every_run(folder: CampaignFolder) -> None:
    folder.queue("--expires-in", "12h").ok()
    assert folder.queue("--expires-in", "12h", "--json").ok().json["already"] == 3


def test_recipients_may_come_from_standard_input(folder: CampaignFolder) -> None:
    ran = folder.queue("--recipients", "-", "--json", stdin="email,name\nx@example.org,X\n").ok()
    assert ran.json["added"] == 1


def test_the_text_may_come_from_standard_input(folder: CampaignFolder) -> None:
    folder.queue("--text", "-", stdin="Dear {{ name }}\n").ok()
    assert folder.show()["text"] == "Dear {{ name }}\n"


def test_json_lines_bring_their_own_fields(folder: CampaignFolder) -> None:
    folder.write(
        "list.jsonl", '{"email": "a@example.org", "name": "A", "n": 3}\n{"email": "b@example.org", "name": "B"}\n'
    )
    assert folder.queue("--recipients", "list.jsonl", "--json").ok().json["added"] == 2


def test_a_held_campaign_waits_for_its_resume(folder: CampaignFolder) -> None:
    held = folder.queue("--hold", "--json").ok().json
    assert (held["state"], held["estimated_finish_at"]) == ("paused", None)
    folder.cli("campaign", "resume", "spring").ok()
    assert folder.show()["state"] == "running"


def test_a_start_that_lies_ahead_is_repeated_with_its_offset(folder: CampaignFolder) -> None:
    ran = folder.queue("--start-at", "2030-03-01 08:00", "--json").ok()
    assert (ran.json["state"], ran.json["start_at"]) == ("scheduled", "2030-03-01T00:00:00.000Z")
    assert "It starts at 2030-03-01T08:00:00+08:00." in ran.stderr


def test_a_start_that_lies_in_the_past_is_a_warning(folder: CampaignFolder) -> None:
    ran = folder.queue("--start-at", "2001-01-01T08:00").ok()
    assert "mailer: warning: --start-at lies in the past: nothing is waited for.\n" in ran.stderr
    assert folder.show()["state"] == "running"


def test_all_that_was_asked_for_is_kept(folder: CampaignFolder) -> None:
    folder.write("pic.png", b"\x89PNG\r\n\x1a\n")
    folder.write("spring.html", "<p>Dear {{ name }} <img src='cid:pic'></p>")
    folder.write("terms.pdf", b"%PDF-1.4")
    folder.queue(
        *(
            "--html",
            "spring.html",
            "--attach",
            "terms.pdf",
            "--inline",
            "pic=pic.png",
            "--header",
            "X-Kind: {{ kind }}",
        ),
        *("--reply-to", "answers@example.com", "--envelope-from", "bounces@example.com", "--to-name", "Dr. {{ name }}"),
        *("--set", "kind=spring", "--relay", "local", "--list", "news", "--priority", "-3", "--on-uncertain", "hold"),
        *("--start-at", "2030-01-01T00:00Z", "--expires-at", "2030-01-02T00:00Z"),
    ).ok()
    shown = folder.show()
    validate(shown, "campaign-show")
    assert shown["envelope_from"] == "bounces@example.com"
    assert shown["headers"] == [["X-Kind", "{{ kind }}"]]
    assert shown["set"] == {"kind": "spring"}
    assert [part["name"] for part in shown["attachments"]] == ["terms.pdf"]
    assert [part["name"] for part in shown["inline"]] == ["pic"]
    assert (shown["relays"], shown["list"], shown["priority"], shown["on_uncertain"]) == (["local"], "news", -3, "hold")
    assert (shown["reply_to"], shown["to_name"]) == ("answers@example.com", "Dr. {{ name }}")
    assert (shown["start_at"], shown["expires_at"]) == ("2030-01-01T00:00:00.000Z", "2030-01-02T00:00:00.000Z")


# What it refuses


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--subject", "Hi {{ name }}"), "subject"),
        (("--html", "spring.html"), "html"),
        (("--attach", "terms.pdf"), "attachment terms.pdf"),
        (("--header", "X-Kind: a"), "header X-Kind"),
        (("--set", "kind=a"), "set kind"),
        (("--from", "Other <news@example.com>"), "from"),
        (("--priority", "5"), "priority"),
        (("--expires-in", "1d"), "expires-in"),
        (("--start-at", "2030-01-01T00:00Z"), "start-at"),
        (("--relay", "local"), "relay"),
        (("--on-uncertain", "hold"), "on-uncertain"),
        (("--envelope-from", "bounces@example.com"), "envelope-from"),
        (("--reply-to", "a@example.com"), "reply-to"),
        (("--list", "news"), "list"),
    ],
)
def test_an_existing_campaign_that_differs_is_refused_and_the_difference_named(
    folder: CampaignFolder, more: tuple[str, ...], named: str
) -> None:
    folder.write("terms.pdf", b"%PDF-1.4")
    folder.write("spring.html", "<p>{{ name }}</p>")
    folder.queue().ok()
    before = folder.show()
    folder.write("list.csv", "email,name\nnew@example.org,New\n")
    ran = folder.queue(*more)
    assert ran.exit == 1
    assert f"differs in: {named}. Nothing was changed." in ran.stderr
    assert folder.show() == before


def test_a_text_that_was_changed_on_the_disk_is_a_difference(folder: CampaignFolder) -> None:
    folder.queue().ok()
    folder.write("spring.txt", "Dear {{ name }}, never mind.\n")
    assert "differs in: text." in folder.queue().stderr


def test_bad_rows_refuse_the_whole_file_with_numbers_and_reasons(folder: CampaignFolder) -> None:
    folder.write("list.csv", "email,name\nann@gmail.com,Ann\nbob.example.org,Bob\n,Nobody\n")
    ran = folder.queue()
    assert ran.exit == 1
    assert "2 rows cannot be used, so nobody was queued." in ran.stderr
    assert "row 3, bob.example.org: " in ran.stderr
    assert "row 4, ,Nobody: it has no address" in ran.stderr
    assert not folder.has_database


def test_only_the_first_twenty_bad_rows_are_shown_and_the_rest_counted(folder: CampaignFolder) -> None:
    folder.write("list.csv", "email,name\n" + "".join(f"bad{n},x\n" for n in range(50)))
    ran = folder.queue()
    assert ran.stderr.count("  row ") == 20
    assert "… and 30 more." in ran.stderr


def test_a_bad_row_at_the_end_of_a_long_file_takes_all_back(folder: CampaignFolder) -> None:
    rows = "".join(f"u{n}@example.org,U{n}\n" for n in range(4_500))
    folder.write("list.csv", f"email,name\n{rows}nobody,N\n")
    ran = folder.queue()
    assert ran.exit == 1
    assert "row 4,502, nobody: " in ran.stderr
    assert folder.cli("campaign", "list", "--json").ok().json == {"campaigns": []}
    folder.write("list.csv", f"email,name\n{rows}")
    assert folder.queue("--json").ok().json["added"] == 4_500


def test_skip_bad_queues_the_good_ones_and_writes_the_others_down(folder: CampaignFolder) -> None:
    folder.write("list.csv", "email,name\nann@gmail.com,Ann\nbob.example.org,=Bob\n")
    ran = folder.queue("--skip-bad", "bad.csv", "--json").ok()
    assert (ran.json["added"], ran.json["bad"]) == (1, 1)
    with (folder.folder / "bad.csv").open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [row["row"] for row in written] == ["3"]
    assert "bob.example.org" in written[0]["text"]
    assert written[0]["reason"]
    assert "bad.csv" in ran.stderr


def test_a_field_that_a_row_lacks_is_a_bad_row(folder: CampaignFolder) -> None:
    folder.write("list.jsonl", '{"email": "a@example.org", "name": "A"}\n{"email": "b@example.org"}\n')
    ran = folder.queue("--recipients", "list.jsonl")
    assert ran.exit == 1
    assert "row 2, b@example.org: it has no field name, which a template needs" in ran.stderr


def test_a_line_break_in_a_field_of_the_subject_is_a_bad_row_and_elsewhere_it_is_not(folder: CampaignFolder) -> None:
    folder.write("list.csv", 'email,name,note\na@example.org,A,"one\ntwo"\nb@example.org,"B\nBcc: x@example.org",n\n')
    ran = folder.queue()
    assert ran.exit == 1
    assert "1 row cannot be used" in ran.stderr
    assert not folder.has_database


def test_a_template_that_fails_for_everybody_is_found_before_anything_is_queued(folder: CampaignFolder) -> None:
    folder.write("spring.txt", "{{ name.__class__.__mro__ }}\n")
    ran = folder.queue()
    assert ran.exit == 1
    assert "3 rows cannot be used" in ran.stderr
    assert not folder.has_database


def test_an_unknown_field_is_found_before_anything_is_queued(folder: CampaignFolder) -> None:
    ran = folder.queue("--subject", "Hello {{ nme }}")
    assert ran.exit == 1
    assert "nme" in ran.stderr
    assert "Did you mean" in ran.stderr
    assert not folder.has_database


def test_a_from_that_no_relay_may_carry_is_refused_with_what_they_may(folder: CampaignFolder) -> None:
    ran = folder.queue("--from", "me@elsewhere.org")
    assert ran.exit == 1
    assert "no relay may carry the From me@elsewhere.org." in ran.stderr
    assert "local may carry @example.com." in ran.stderr
    assert "slow may carry slow@example.net." in ran.stderr


def test_a_relay_that_does_not_exist_is_named_with_the_nearest(folder: CampaignFolder) -> None:
    ran = folder.queue("--relay", "locl")
    assert ran.exit == 1
    assert 'there is no relay "locl".' in ran.stderr
    assert 'Did you mean "local"?' in ran.stderr


def test_a_relay_that_may_not_carry_the_from_is_refused(folder: CampaignFolder) -> None:
    ran = folder.queue("--relay", "slow")
    assert ran.exit == 1
    assert 'relay "slow" may not carry the From news@example.com.' in ran.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--recipients", "-", "--text", "-"), "only one option may be `-`"),
        (("--header", "no colon"), "--header"),
        (("--set", "nothing"), "--set"),
        (("--inline", "nothing"), "--inline"),
        (("--start-at", "tomorrow"), "--start-at"),
        (("--expires-at", "2001-01-01T00:00Z"), "in the past"),
        (("--expires-at", "2030-01-01T00:00Z", "--expires-in", "1d"), "give one"),
        (("--expires-at", "2030-01-01T00:00Z", "--start-at", "2030-02-01T00:00Z"), "not after --start-at"),
        (("--expires-in", "soon"), "--expires-in"),
        (("--priority", "11"), "priority"),
        (("--skip-bad", "-"), "--skip-bad"),
    ],
)
def test_what_is_typed_wrongly_is_said_with_exit_2(folder: CampaignFolder, args: tuple[str, ...], said: str) -> None:
    ran = folder.queue(*args)
    assert ran.exit == 2
    assert said in ran.stderr
    assert not folder.has_database


@pytest.mark.parametrize("name", ["", "a/b", "a b", "x" * 101, "wow!", "tab\t"])
def test_a_name_that_cannot_be_one_is_refused(folder: CampaignFolder, name: str) -> None:
    ran = folder.queue(name=name)
    assert ran.exit == 2
    assert "a campaign's name" in ran.stderr


@pytest.mark.parametrize("name", ["春节", "spring_2026.v-1", "हिन्दी", "Ж", "x" * 100])
def test_a_name_may_be_of_any_script(folder: CampaignFolder, name: str) -> None:
    folder.queue(name=name).ok()
    assert folder.show(name)["name"] == name


def test_without_a_from_anywhere_it_says_so(folder: CampaignFolder) -> None:
    config = folder.folder / "config.toml"
    config.write_text(config.read_text().replace('from = "News <news@example.com>"\n', ""))
    ran = folder.queue()
    assert ran.exit == 2
    assert "--from is missing" in ran.stderr


def test_without_any_relay_it_points_to_init(folder: CampaignFolder) -> None:
    folder.write("config.toml", "[database]\n")
    ran = folder.queue("--from", "me@example.com")
    assert ran.exit == 1
    assert "no relay is configured" in ran.stderr
    assert "mailer init" in ran.stderr


def test_errors_are_json_with_json(folder: CampaignFolder) -> None:
    ran = folder.queue("--relay", "locl", "--json")
    validate({"error": ran.error}, "error")
    assert ran.error["code"] == "not-found"


# When it will be through


def test_a_finish_far_away_is_a_warning(folder: CampaignFolder) -> None:
    folder.write("list.csv", "email,name\n" + "".join(f"u{n}@example.org,U\n" for n in range(1_000)))
    ran = folder.queue("--from", "slow@example.net").ok()
    assert "warning" in ran.stderr
    assert "days away" in ran.stderr


def test_a_finish_later_than_the_deadline_is_a_warning(folder: CampaignFolder) -> None:
    folder.write("list.csv", "email,name\n" + "".join(f"u{n}@example.org,U\n" for n in range(90)))
    ran = folder.queue("--from", "slow@example.net", "--expires-in", "1h").ok()
    assert "later than the deadline" in ran.stderr


# A rehearsal


def test_a_dry_run_counts_and_changes_nothing(folder: CampaignFolder) -> None:
    ran = folder.queue("--dry-run", "--json").ok()
    validate(ran.json, "campaign-dry-run")
    assert (ran.json["rows"], ran.json["would_add"], ran.json["bad"]) == (3, 3, 0)
    assert ran.json["by_destination"] == {"gmail": 1, "qq": 1, "other": 1}
    assert ran.json["by_relay"] == {"local": 3}
    assert 0 < ran.json["smallest_bytes"] <= ran.json["largest_bytes"]
    assert not folder.has_database


def test_a_dry_run_renders_every_row_and_shows_what_fails(folder: CampaignFolder) -> None:
    folder.write("spring.txt", "{{ 6 // (number | int) }}\n")
    folder.write("list.csv", "email,name,number\na@example.org,A,3\nb@example.org,B,0\n")
    ran = folder.queue("--dry-run", "--json")
    assert ran.exit == 1
    assert ran.json["bad"] == 1
    assert ran.json["problems"][0]["row"] == 3


def test_a_dry_run_knows_who_is_queued_already(folder: CampaignFolder) -> None:
    folder.queue().ok()
    folder.write("list.csv", "email,name\nBOB@qq.com,Bob\nnew@example.org,New\nnew@example.org,New\n")
    ran = folder.queue("--dry-run", "--json").ok()
    assert (ran.json["would_add"], ran.json["already"], ran.json["duplicates"]) == (1, 1, 1)
    assert folder.show()["total"] == 3


def test_a_dry_run_refuses_what_queueing_would_refuse(folder: CampaignFolder) -> None:
    folder.queue().ok()
    ran = folder.queue("--dry-run", "--subject", "Other")
    assert ran.exit == 1
    assert "differs in: subject" in ran.stderr


def test_for_people_a_dry_run_lists_its_problems(folder: CampaignFolder) -> None:
    folder.write("list.csv", "email,name\nann@gmail.com,Ann\nbob.example.org,Bob\n")
    ran = folder.queue("--dry-run")
    assert ran.exit == 1
    assert "Problems:" in ran.stdout
    assert "row 3, bob.example.org: " in ran.stdout
    assert "Nothing was changed." in ran.stdout
