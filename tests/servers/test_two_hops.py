"""The whole way as a user goes it: `mailer campaign queue`, `mailer worker`, two providers, the recipients' mailboxes.

Every message is fetched by POP3 and by IMAP and compared with what was asked for: names, subject and texts character by
character, pictures and attachments byte for byte.
"""

from __future__ import annotations

import csv
import email
import email.header
import email.policy
import email.utils
import hashlib
import html
import time
import zlib
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest
from support.cli import Cli, Ran
from support.mailbox import Mailbox
from support.mailhost import SENDERS, MailHost

ME: Final = "me@qq.test"
CODE: Final = SENDERS[ME]
PATIENCE_S: Final = 30.0
TLS: Final = ["starttls", "implicit"]

SUBJECT: Final = (
    "{{ name }}，您好：本周新增 {{ points }} 积分，城市 {{ city }}，请查收附件并回复确认 — 每周新闻编辑部 敬上"
)
TEXT: Final = """\
{{ name }}，您好！

您在 {{ city }} 的账户本周新增 {{ points }} 积分。
.
..两个点开头的行
From the first column, trailing blanks:  \n
{% if points|int > 100 %}恭喜您成为金牌会员！
{% endif %}-- \n每周新闻
"""
HTML: Final = """\
<!doctype html>
<html><body>
<p>{{ name }}，您好！</p>
.
<p><img src="cid:logo" alt="标志"> 您在 <b>{{ city }}</b> 的账户本周新增 {{ points }} 积分。</p>
</body></html>
"""
PDF_NAME: Final = "每周报告 2026-11.pdf"
CSV_NAME: Final = "points.csv"

# Names that headers, CSV, HTML or base64 are known to damage.
NAMES: Final = ["王小明", "欧阳 娜娜（北京）", 'O\'Brien, "Zoë" <x@y>', "A & B", "😀 Ünïcödé " + "长" * 40, "plain"]


@dataclass(frozen=True)
class Row:
    """One line of the recipients file."""

    box: Mailbox
    name: str
    city: str
    points: int

    @property
    def subject(self) -> str:
        """What SUBJECT makes of it. Written by hand, so that nothing of the project's has to be trusted."""
        news = f"本周新增 {self.points} 积分，城市 {self.city}"
        return f"{self.name}，您好：{news}，请查收附件并回复确认 — 每周新闻编辑部 敬上"

    @property
    def text(self) -> str:
        """What TEXT makes of it."""
        gold = "恭喜您成为金牌会员！\n" if self.points > 100 else ""
        return (
            f"{self.name}，您好！\n\n您在 {self.city} 的账户本周新增 {self.points} 积分。\n.\n..两个点开头的行\n"
            f"From the first column, trailing blanks:  \n\n{gold}-- \n每周新闻\n"
        )

    @property
    def html(self) -> str:
        """What HTML makes of it; the names are escaped as jinja2 does it, the standard library's way but for quotes."""
        name = html.escape(self.name).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
        return (
            f"<!doctype html>\n<html><body>\n<p>{name}，您好！</p>\n.\n"
            f'<p><img src="cid:logo" alt="标志"> 您在 <b>{self.city}</b> 的账户本周新增 {self.points} 积分。</p>\n'
            "</body></html>\n"
        )


def png() -> bytes:
    """A real picture of 16 × 16 points."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    rows = b"".join(b"\0" + bytes((x * 16, y * 16, 128)[i] for x in range(16) for i in range(3)) for y in range(16))
    head = (16).to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pdf() -> bytes:
    """Begins and ends as a PDF does; between them every octet, and what a mail server must not take for its own."""
    noise = b"".join(hashlib.sha256(n.to_bytes(4, "big")).digest() for n in range(1500))
    return b"%PDF-1.7\n" + bytes(range(256)) + b"\r\n.\r\nMAIL FROM:<x@y>\r\n\r.\n\n" + noise + b"\n%%EOF"


class Project:
    """A user's folder: config.toml, recipients, templates and files."""

    def __init__(self, folder: Path, host: MailHost, tls: str, *, password: str = CODE) -> None:
        port = host.implicit_port if tls == "implicit" else host.starttls_port
        self.folder = folder
        self.cli = Cli(folder, QQ_PASSWORD=password)
        self.write("config.toml", _CONFIG.format(host=host.address, port=port, tls=tls, ca_file=host.ca_file))
        self.write("news.txt", TEXT)
        self.write("news.html", HTML)
        (folder / "logo.png").write_bytes(png())
        (folder / PDF_NAME).write_bytes(pdf())
        self.write(CSV_NAME, "城市,积分\n北京,7\n")

    def write(self, name: str, text: str) -> None:
        """A file of the project's, UTF-8 with LF."""
        (self.folder / name).write_text(text, "utf-8", newline="\n")

    def queue(self, rows: list[Row]) -> Any:
        """The campaign `news` to `rows`, with all that a message can have; the answer."""
        with (self.folder / "readers.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["email", "name", "city", "points"])
            table.writerows([row.box.address, row.name, row.city, row.points] for row in rows)
        return self.cli(
            "campaign", "queue", "news", "--subject", SUBJECT, "--text", "news.txt", "--html", "news.html",
            "--inline", "logo=logo.png", "--attach", PDF_NAME, "--attach", CSV_NAME,
            "--reply-to", "编辑部 <news+me@qq.test>", "--header", "X-City: {{ city }}",
            "--recipients", "readers.csv", "--json",
        ).ok().json  # fmt: skip

    def work(self) -> Ran:
        """A worker, until nothing is left that it can do."""
        return self.cli("worker", "--until-empty")

    def tally(self) -> dict[str, int]:
        """The campaign's messages by state, those states that have any."""
        (campaign,) = self.cli("status", "news", "--json").json["campaigns"]
        states = ("queued", "deferred", "sending", "sent", "failed", "uncertain", "suppressed", "cancelled")
        return {state: campaign[state] for state in states if campaign[state]}

    def export(self) -> dict[str, Any]:
        """What became of each recipient, by address."""
        rows = self.cli("campaign", "export", "news", "--json").ok().json["messages"]
        return {row["address"]: row for row in rows}

    def message(self, address: str) -> Any:
        """The one message to `address`, with its attempts."""
        (found,) = self.cli("message", "list", "--address", address, "--json").ok().json["messages"]
        return self.cli("message", "show", found["id"], "--json").ok().json


_CONFIG: Final = """\
[defaults]
from = "每周新闻 <me@qq.test>"
zone = "Asia/Shanghai"

[retry]
first = "0.2s"
longest = "1s"

[[relay]]
name = "qq"
host = "{host}"
port = {port}
tls = "{tls}"
auth = "login"
username = "me@qq.test"
password = {{ env = "QQ_PASSWORD" }}
senders = ["me@qq.test"]
ca_file = "{ca_file}"
max_connections = 2
messages_per_connection = 3
"""


def rows_for(boxes: list[Mailbox]) -> list[Row]:
    """A row for each mailbox, no two alike."""
    return [
        Row(box, NAMES[n % len(NAMES)], ("北京", "上海", "São Paulo")[n % 3], 40 * n + 7) for n, box in enumerate(boxes)
    ]


def fetch_one(box: Mailbox) -> EmailMessage:
    """The only message in a mailbox, the same by POP3 and by IMAP, parsed by the standard library."""
    box.wait_for(1)
    by_imap, by_pop3 = box.fetch_imap(), box.fetch_pop3()
    assert by_imap == by_pop3
    assert len(by_imap) == 1, f"{len(by_imap)} messages for {box.address}"
    message = email.message_from_bytes(by_imap[0], policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not any(part.defects for part in message.walk())
    return message


def mailbox_in(message: EmailMessage, header: str) -> tuple[str, str]:
    """The display name and the address in a header."""
    # By the older half of the standard library: the newer one leaves the blanks between encoded-words in a name, which
    # RFC 2047 section 6.2 takes away (python/cpython issue 128110).
    source = next(value for name, value in message.raw_items() if name == header)
    name, address = email.utils.parseaddr(str(source))
    return str(email.header.make_header(email.header.decode_header(name))), address


def parts_of(message: EmailMessage) -> dict[str, EmailMessage]:
    """Its leaves by what they are: text, html, cid:NAME, file name."""
    parts: dict[str, EmailMessage] = {}
    for part in message.walk():
        assert isinstance(part, EmailMessage)
        if part.is_multipart():
            continue
        kind = {"text/plain": "text", "text/html": "html"}.get(part.get_content_type(), "?")
        name = f"cid:{part['Content-ID'].strip('<>')}" if part["Content-ID"] else part.get_filename() or kind
        assert name not in parts
        parts[name] = part
    return parts


def raw(part: EmailMessage) -> bytes:
    """A part's bytes with its transfer encoding undone."""
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    return data


def wait_for_relay(project: Project, state: str) -> Any:
    """The relay as `mailer status` shows it, once it is in `state`."""
    deadline = time.monotonic() + PATIENCE_S
    while (relay := project.cli("status", "--json").ok().json["relays"][0])["state"] != state:
        assert time.monotonic() < deadline, relay
    return relay


@pytest.mark.parametrize("tls", TLS)
def test_each_recipient_finds_in_the_mailbox_what_was_asked_for(tmp_path: Path, mail_host: MailHost, tls: str) -> None:
    rows = rows_for(mail_host.fresh("reader", 8))
    project = Project(tmp_path, mail_host, tls)
    assert project.queue(rows)["added"] == len(rows)
    project.work().ok()
    assert project.tally() == {"sent": len(rows)}
    exported = project.export()
    identities = set()
    for row in rows:
        message = fetch_one(row.box)
        assert mailbox_in(message, "From") == ("每周新闻", ME)
        assert mailbox_in(message, "To") == (row.name, row.box.address)
        assert mailbox_in(message, "Reply-To") == ("编辑部", "news+me@qq.test")
        assert message["Return-Path"] == f"<{ME}>"
        assert message["Subject"] == row.subject
        assert message["X-City"] == row.city
        parts = parts_of(message)
        assert set(parts) == {"text", "html", "cid:logo", PDF_NAME, CSV_NAME}
        assert raw(parts["text"]) == row.text.replace("\n", "\r\n").encode()
        assert raw(parts["html"]) == row.html.replace("\n", "\r\n").encode()
        assert raw(parts["cid:logo"]) == png()
        assert parts["cid:logo"].get_content_type() == "image/png"
        assert raw(parts[PDF_NAME]) == pdf()
        assert parts[PDF_NAME].get_content_type() == "application/pdf"
        assert parts[PDF_NAME].get_content_disposition() == "attachment"
        assert raw(parts[CSV_NAME]) == (tmp_path / CSV_NAME).read_bytes()
        record = exported[row.box.address]
        assert (record["state"], record["code"], record["attempts"]) == ("sent", 250, 1)
        assert record["message_id"] == message["Message-ID"]
        identities |= {message["Message-ID"], message["X-Mailer-Id"]}
    assert len(identities) == 2 * len(rows), "no two messages share an identity"
    (attempt,) = project.message(rows[0].box.address)["attempts"]
    assert (attempt["code"], attempt["phase"]) == (250, "end-of-data")
    assert attempt["tls"].startswith("TLSv1.3 ")


def test_refused_greylisted_and_bounced_recipients_end_as_the_servers_said(tmp_path: Path, mail_host: MailHost) -> None:
    readers, greys, (slow,), (gone,) = (
        mail_host.fresh("reader", 2), mail_host.fresh("grey", 3), mail_host.fresh("slow"), mail_host.fresh("gone")
    )  # fmt: skip
    unknown = [mail_host.mailbox(f"nobody{n}@163.test") for n in range(3)]
    nowhere = mail_host.mailbox("someone@elsewhere.test")
    bounces = mail_host.mailbox(ME)
    had = len(bounces.fetch_imap())
    rows = rows_for([*readers, *greys, slow, gone, *unknown, nowhere])
    project = Project(tmp_path, mail_host, "starttls")
    project.queue(rows)
    ran = project.work()
    assert ran.exit == 5, ran.stderr
    assert "4 of 11 messages failed" in ran.stderr
    assert project.tally() == {"sent": 7, "failed": 4}

    for box in (*readers, *greys, slow):
        fetch_one(box)
    for box in greys:
        assert mail_host.greylist.tries_for(box.address) == 2
        first, second = project.message(box.address)["attempts"]
        assert (first["code"], first["enhanced"], first["phase"]) == (450, "4.2.0", "rcpt")
        assert "Greylisted, try again later" in first["text"]
        assert (second["code"], second["phase"]) == (250, "end-of-data")
    exported = project.export()
    for box in unknown:
        record = exported[box.address]
        assert (record["state"], record["code"], record["enhanced"]) == ("failed", 550, "5.1.1")
        assert (record["category"], record["attempts"]) == ("no-such-user", 1)
        assert record["text"] == f"<{box.address}>: Recipient address rejected: User unknown in relay recipient table"
    record = exported[nowhere.address]
    assert (record["state"], record["code"], record["enhanced"]) == ("failed", 550, "5.1.2")
    assert [each["phase"] for each in project.message(unknown[0].address)["attempts"]] == ["rcpt"]

    # What the second provider refuses the first one has taken: sent for us, and a bounce in the sender's mailbox.
    record = exported[gone.address]
    assert (record["state"], record["code"]) == ("sent", 250)
    bounces.wait_for(had + 1)
    bounce = bounces.fetch_pop3()[had]
    assert record["message_id"].encode() in bounce
    assert b"Status: 5.1.1" in bounce


@pytest.mark.parametrize("tls", TLS)
def test_a_wrong_password_stops_the_relay_and_leaves_the_queue_whole(
    tmp_path: Path, mail_host: MailHost, tls: str
) -> None:
    rows = rows_for(mail_host.fresh("reader", 5))
    project = Project(tmp_path, mail_host, tls, password="not-the-code")
    project.queue(rows)
    ran = project.work()
    assert ran.exit == 6, ran.stderr
    assert "news: 5 left" in ran.stderr
    assert "535 5.7.8" in ran.stderr
    assert project.tally() == {"queued": 5}
    assert all(record["attempts"] == 0 for record in project.export().values())
    written = [path for path in tmp_path.iterdir() if path.is_file() and path.name.startswith(("error", "mailer"))]
    assert not any(b"not-the-code" in path.read_bytes() for path in written)
    assert "not-the-code" not in ran.stdout + ran.stderr

    project.cli.environ["QQ_PASSWORD"] = CODE
    project.work().ok()
    assert project.tally() == {"sent": 5}
    for row in rows:
        assert fetch_one(row.box)["Subject"] == row.subject


def test_while_a_worker_stands_before_a_wrong_password_the_status_says_so(tmp_path: Path, mail_host: MailHost) -> None:
    project = Project(tmp_path, mail_host, "implicit", password="not-the-code")
    # A worker reports its relays when it renews its lease, at a twelfth of it.
    project.write("config.toml", (tmp_path / "config.toml").read_text("utf-8") + '[worker]\nlease = "12s"\n')
    project.queue(rows_for(mail_host.fresh("reader", 2)))
    with project.cli.start("worker") as worker:
        try:
            relay = wait_for_relay(project, "stopped")
        finally:
            worker.terminate()
            worker.communicate(timeout=PATIENCE_S)
    assert "535 5.7.8" in relay["reason"]
    assert worker.returncode == 0
    assert project.tally() == {"queued": 2}


@pytest.mark.parametrize("tls", TLS)
def test_a_relay_check_logs_in_and_sends_one_message(tmp_path: Path, mail_host: MailHost, tls: str) -> None:
    (box,) = mail_host.fresh("reader")
    project = Project(tmp_path, mail_host, tls)
    ran = project.cli("relay", "check", "qq", "--transcript", "--to", box.address).ok()
    assert "S: 235 2.7.0 Authentication successful" in ran.stderr
    assert CODE not in ran.stdout + ran.stderr
    assert fetch_one(box)["To"].addresses[0].addr_spec == box.address


def test_a_relay_check_with_a_wrong_password_names_the_reply(tmp_path: Path, mail_host: MailHost) -> None:
    project = Project(tmp_path, mail_host, "implicit", password="not-the-code")
    ran = project.cli("relay", "check", "qq")
    assert ran.exit == 1
    assert "535 5.7.8" in ran.stderr
    assert "Traceback" not in ran.stderr
