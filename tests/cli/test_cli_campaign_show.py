"""`mailer campaign list|show|preview|export` as they are typed."""

from __future__ import annotations

import asyncio
import csv
import email
import email.policy
import io
import json
from pathlib import Path

import pytest
from support.campaign_folder import CampaignFolder
from support.cli import validate
from support.store import GREYLISTED, NO_SUCH_USER, SENT, Clock, answered, claim, register, settled, want

from mailer.clocks import wall_clock
from mailer.core.message import Phase
from mailer.store import Store

COLUMNS = "address,state,code,enhanced,category,advice,text,relay,attempts,first_attempt_at,last_attempt_at,message_id"


@pytest.fixture
def folder(tmp_path: Path) -> CampaignFolder:
    return CampaignFolder(tmp_path)


@pytest.fixture
def queued(folder: CampaignFolder) -> CampaignFolder:
    folder.queue().ok()
    return folder


@pytest.fixture
def sent(queued: CampaignFolder) -> CampaignFolder:
    """Ann has it, Bob is deferred, Cem was refused."""
    met = {
        "ann@gmail.com": SENT,
        "bob@qq.com": answered(GREYLISTED, Phase.RCPT),
        "cem@example.org": answered(NO_SUCH_USER, Phase.RCPT),
    }

    async def play() -> None:
        clock = Clock(wall_clock())
        async with await Store.open(queued.folder / "mailer.db", create=False, clock=clock) as store:
            worker = await register(store)
            outcomes = [settled(one, met[one.address], clock) for one in await claim(worker, 10)]
            await worker.exchange(outcomes, [want(0)])
            await store.workers.end(worker.worker_id)

    asyncio.run(play())
    return queued


# list, show


def test_list_shows_all_campaigns_in_each_form(queued: CampaignFolder) -> None:
    queued.queue(name="summer").ok()
    ran = queued.cli("campaign", "list", "--json").ok()
    validate(ran.json, "campaign-list")
    assert [campaign["name"] for campaign in ran.json["campaigns"]] == ["spring", "summer"]
    assert "spring" in queued.cli("campaign", "list").ok().stdout
    rows = list(csv.DictReader(io.StringIO(queued.cli("campaign", "list", "--format", "csv").ok().stdout)))
    assert rows[1]["name"] == "summer"
    assert rows[1]["total"] == "3"
    assert [row["name"] for row in queued.cli("campaign", "list", "--format", "jsonl").ok().jsonl] == [
        "spring",
        "summer",
    ]


def test_show_tells_the_settings_in_words(folder: CampaignFolder) -> None:
    folder.queue("--start-at", "2030-03-01T08:00", "--on-uncertain", "hold", "--relay", "local").ok()
    said = folder.cli("campaign", "show", "spring").ok().stdout
    assert "2030-03-01T08:00:00+08:00" in said
    assert "held for you to decide" in said
    assert "3 (3 queued)" in said
    assert "local" in said


def test_show_counts_every_state(sent: CampaignFolder) -> None:
    shown = sent.show()
    validate(shown, "campaign-show")
    assert (shown["total"], shown["sent"], shown["deferred"], shown["failed"]) == (3, 1, 1, 1)


# preview


def test_preview_shows_the_first_recipients_message(queued: CampaignFolder) -> None:
    said = queued.cli("campaign", "preview", "spring").ok().stdout
    assert "Subject: Hello Ann\n" in said
    assert "ann@gmail.com" in said
    assert "Dear Ann," in said


def test_preview_of_one_recipient_as_json(queued: CampaignFolder) -> None:
    ran = queued.cli("campaign", "preview", "spring", "--recipient", "BOB@qq.com", "--json").ok()
    validate(ran.json, "campaign-preview")
    assert (ran.json["address"], ran.json["subject"]) == ("bob@qq.com", "Hello Bob")


def test_preview_writes_the_whole_message(queued: CampaignFolder) -> None:
    queued.cli("campaign", "preview", "spring", "--output", "ann.eml").ok()
    message = email.message_from_bytes((queued.folder / "ann.eml").read_bytes(), policy=email.policy.default)
    assert message["Subject"] == "Hello Ann"
    assert message["From"] == "News <news@example.com>"
    assert message.get_content().replace("\r\n", "\n") == "Dear Ann,\n\nspring is here.\n"


def test_preview_of_the_options_of_queue_stores_nothing(folder: CampaignFolder) -> None:
    ran = folder.cli(
        *("campaign", "preview", "--subject", "Hi {{ name }}", "--text", "spring.txt", "--recipients", "list.csv"),
        *("--recipient", "cem@example.org", "--json"),
    ).ok()
    assert ran.json["subject"] == "Hi Cem"
    assert not folder.has_database


def test_preview_without_a_list_has_no_fields(folder: CampaignFolder) -> None:
    plain = ("campaign", "preview", "--subject", "Hi", "--text", "-", "--json")
    assert folder.cli(*plain, stdin="To {{ address }}\n").ok().json["text"].strip() == "To somebody@example.com"
    ran = folder.cli(*plain, stdin="Dear {{ name }}\n")
    assert ran.exit == 1
    assert "name" in ran.stderr


@pytest.mark.parametrize(
    ("args", "exit_code", "said"),
    [
        (("spring", "--recipient", "x@example.org"), 1, "has no recipient x@example.org"),
        (("spring", "--recipient", "x"), 1, "is no address"),
        (("spring", "--subject", "S"), 2, "not both"),
        ((), 2, "not said of what"),
        (
            ("--subject", "S", "--text", "spring.txt", "--recipients", "list.csv", "--recipient", "x@example.org"),
            1,
            "does not stand in it",
        ),
    ],
)
def test_preview_says_what_it_cannot_show(
    queued: CampaignFolder, args: tuple[str, ...], exit_code: int, said: str
) -> None:
    ran = queued.cli("campaign", "preview", *args)
    assert ran.exit == exit_code
    assert said in ran.stderr


# export


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_export_is_csv_with_our_columns_and_then_the_recipients(sent: CampaignFolder) -> None:
    text = sent.cli("campaign", "export", "spring").ok().stdout
    assert text.splitlines()[0] == COLUMNS + ",name"
    ann, bob, cem = rows_of(text)
    assert (ann["address"], ann["state"], ann["code"], ann["name"]) == ("ann@gmail.com", "sent", "250", "Ann")
    assert (bob["state"], bob["category"], bob["attempts"]) == ("deferred", "policy-block", "1")
    assert (cem["state"], cem["enhanced"], cem["text"], cem["relay"]) == ("failed", "5.1.1", "no such user", "qq")
    assert cem["advice"]
    assert cem["message_id"].endswith("@example.com>")


def test_export_of_some_states(sent: CampaignFolder) -> None:
    rows = rows_of(sent.cli("campaign", "export", "spring", "--state", "failed", "--state", "sent").ok().stdout)
    assert [row["state"] for row in rows] == ["sent", "failed"]


def test_export_as_json_and_as_lines(sent: CampaignFolder) -> None:
    document = sent.cli("campaign", "export", "spring", "--json").ok().json
    validate(document, "campaign-export")
    assert [message["state"] for message in document["messages"]] == ["sent", "deferred", "failed"]
    assert sent.cli("campaign", "export", "spring", "--format", "jsonl").ok().jsonl == document["messages"]


def test_export_to_a_file(sent: CampaignFolder) -> None:
    ran = sent.cli("campaign", "export", "spring", "--output", "spring.csv").ok()
    assert ran.stdout == ""
    assert len(rows_of((sent.folder / "spring.csv").read_text("utf-8"))) == 3


def test_export_disarms_what_a_spreadsheet_would_run_and_raw_does_not(folder: CampaignFolder) -> None:
    folder.write("list.csv", "email,name\nann@gmail.com,=1+1\n")
    folder.queue().ok()
    assert rows_of(folder.cli("campaign", "export", "spring").ok().stdout)[0]["name"] == "'=1+1"
    assert rows_of(folder.cli("campaign", "export", "spring", "--raw").ok().stdout)[0]["name"] == "=1+1"


def test_our_own_export_can_be_imported_again(folder: CampaignFolder) -> None:
    folder.write("list.csv", "email,name\nann@gmail.com,=1+1\n")
    folder.queue().ok()
    folder.cli("campaign", "export", "spring", "--output", "again.csv").ok()
    folder.queue("--recipients", "again.csv", name="again").ok()
    assert folder.cli("campaign", "preview", "again", "--json").ok().json["subject"] == "Hello =1+1"


def test_a_field_named_like_a_column_of_ours_keeps_a_name_of_its_own(folder: CampaignFolder) -> None:
    folder.write("list.csv", "email,name,state\nann@gmail.com,Ann,Texas\n")
    folder.queue().ok()
    [row] = rows_of(folder.cli("campaign", "export", "spring").ok().stdout)
    assert (row["state"], row["fields.state"]) == ("queued", "Texas")


def test_rows_with_different_fields_share_one_header(folder: CampaignFolder) -> None:
    lines = [{"email": "a@example.org", "name": "A", "x": 1}, {"email": "b@example.org", "name": "B", "y": [1, 2]}]
    folder.write("list.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    folder.queue("--recipients", "list.jsonl").ok()
    first, second = rows_of(folder.cli("campaign", "export", "spring").ok().stdout)
    assert (first["x"], first["y"], second["x"], second["y"]) == ("1", "", "", "[1, 2]")


def test_an_export_is_no_table(queued: CampaignFolder) -> None:
    ran = queued.cli("campaign", "export", "spring", "--format", "table")
    assert ran.exit == 2
    assert "not a table" in ran.stderr
