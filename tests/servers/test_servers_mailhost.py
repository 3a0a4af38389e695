"""The two providers that the other tests send through do what `support.mailhost` says of them."""

from __future__ import annotations

import base64
import email
import email.policy
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

import pytest
from support.daemon import ServerError
from support.mailbox import without_trace
from support.mailhost import READER_PASSWORD, SENDERS, MailHost, running_mail_host
from support.postfix import postfix

ME = "me@qq.test"


def log_in(host: MailHost, *, implicit: bool = False, user: str = ME, password: str | None = None) -> smtplib.SMTP:
    """A session with smtp.qq.test after AUTH LOGIN."""
    trust = ssl.create_default_context(cafile=host.ca_file)
    if implicit:
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(host.address, host.implicit_port, context=trust)
    else:
        smtp = smtplib.SMTP(host.address, host.starttls_port)
        smtp.starttls(context=trust)
    smtp.ehlo()
    # smtplib's own login takes ASCII alone; what crosses the wire is the base64 of UTF-8 (RFC 4616 section 2).
    code, words = smtp.docmd("AUTH", f"LOGIN {_base64(user)}")
    assert code == 334, words
    code, words = smtp.docmd(_base64(password or SENDERS[user]))
    if code != 235:
        smtp.close()
        raise smtplib.SMTPAuthenticationError(code, words)
    return smtp


def letter(to: str, sender: str = ME) -> bytes:
    """A message with what wire and mailboxes are known to trip over: dots, long lines, trailing blanks, UTF-8."""
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = f"寄件人 <{sender}>", to, "每周新闻 · weekly"
    message["Date"], message["Message-ID"] = "Tue, 24 Nov 2026 08:00:00 +0800", f"<{to}>"
    message.set_content(".\r\n..\r\n.dot\r\nFrom here\r\ntrailing  \r\n\r\n正文\r\n\r\n" + "long " * 300, cte="base64")
    message.add_alternative(".\n<p>正文</p>\n.", subtype="html", cte="quoted-printable")
    return message.as_bytes()


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
@pytest.mark.parametrize("sender", SENDERS)
def test_what_is_sent_with_a_login_can_be_fetched_byte_for_byte(
    mail_host: MailHost, sender: str, implicit: bool
) -> None:
    (box,) = mail_host.fresh("reader")
    sent = letter(box.address, sender)
    with log_in(mail_host, user=sender, implicit=implicit) as smtp:
        assert smtp.sendmail(sender, [box.address], sent) == {}
    box.wait_for(1)
    (by_imap,), (by_pop3,) = box.fetch_imap(), box.fetch_pop3()
    assert without_trace(by_imap) == sent
    assert by_pop3 == by_imap


def test_both_hops_leave_their_trace(mail_host: MailHost) -> None:
    (box,) = mail_host.fresh("reader")
    with log_in(mail_host) as smtp:
        smtp.sendmail(ME, [box.address], letter(box.address))
    box.wait_for(1)
    message = email.message_from_bytes(box.fetch_imap()[0])
    received = message.get_all("Received", [])
    assert [line.partition(" by ")[2].split()[0] for line in (" ".join(each.split()) for each in received)][1:] == [
        "mx.163.test",
        "smtp.qq.test",
    ]
    assert "ESMTPSA" in received[-1], "submitted with TLS and a login"
    assert (message["Return-Path"], message["Delivered-To"]) == (f"<{ME}>", box.address)


def test_an_empty_mailbox_is_an_empty_list(mail_host: MailHost) -> None:
    (box,) = mail_host.fresh("reader")
    assert (box.fetch_imap(), box.fetch_pop3()) == ([], [])


def test_waiting_in_vain_says_how_many_have_come(mail_host: MailHost) -> None:
    (box,) = mail_host.fresh("reader")
    with pytest.raises(AssertionError, match=r"holds 0 of 1 messages"):
        box.wait_for(1, within_s=0.1)


def test_a_wrong_password_is_535_at_once(mail_host: MailHost) -> None:
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        log_in(mail_host, password="wrong")
    assert (refused.value.smtp_code, refused.value.smtp_error[:5]) == (535, b"5.7.8")


def test_without_a_login_nothing_is_taken(mail_host: MailHost) -> None:
    with smtplib.SMTP_SSL(mail_host.address, mail_host.implicit_port, context=_trust(mail_host)) as smtp:
        smtp.ehlo()
        assert smtp.mail("stranger@elsewhere.test")[0] == 250
        assert smtp.rcpt("reader01@163.test")[0] == 554


def test_a_login_is_not_offered_before_tls(mail_host: MailHost) -> None:
    with smtplib.SMTP(mail_host.address, mail_host.starttls_port) as smtp:
        smtp.ehlo()
        assert smtp.has_extn("starttls")
        assert not smtp.has_extn("auth")
        assert smtp.mail(ME)[0] == 530


def test_only_who_knows_the_authority_trusts_the_certificate(mail_host: MailHost) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        smtplib.SMTP_SSL(mail_host.address, mail_host.implicit_port, context=ssl.create_default_context())


@pytest.mark.parametrize(
    ("recipient", "refusal"),
    [
        ("nobody@163.test", (550, b"5.1.1")),
        ("someone@elsewhere.test", (550, b"5.1.2")),
        ("nobody@qq.test", (550, b"5.1.1")),
    ],
)
def test_unknown_recipients_are_refused_at_rcpt(
    mail_host: MailHost, recipient: str, refusal: tuple[int, bytes]
) -> None:
    with log_in(mail_host) as smtp:
        assert smtp.mail(ME)[0] == 250
        code, words = smtp.rcpt(recipient)
    assert (code, words[:5]) == refusal


def test_nobody_writes_under_the_name_of_another(mail_host: MailHost) -> None:
    with log_in(mail_host) as smtp:
        smtp.mail("news+me@qq.test")
        code, words = smtp.rcpt("reader01@163.test")
    assert (code, words[:5]) == (553, b"5.7.1")


def test_a_greylisted_recipient_is_put_off_once_and_then_delivered_to(mail_host: MailHost) -> None:
    (box,) = mail_host.fresh("grey")
    with log_in(mail_host) as smtp:
        smtp.mail(ME)
        code, words = smtp.rcpt(box.address)
        assert (code, words[:5]) == (450, b"4.2.0")
        smtp.rset()
        smtp.sendmail(ME, [box.address], letter(box.address))
    box.wait_for(1)
    assert mail_host.greylist.tries_for(box.address) == 2


def test_what_the_second_hop_puts_off_the_first_one_tries_again(mail_host: MailHost) -> None:
    (box,) = mail_host.fresh("slow")
    with log_in(mail_host) as smtp:
        smtp.sendmail(ME, [box.address], letter(box.address))
    box.wait_for(1)
    assert mail_host.slow_greylist.tries_for(box.address) == 2


def test_what_the_second_hop_refuses_comes_back_to_the_sender(mail_host: MailHost) -> None:
    (gone,) = mail_host.fresh("gone")
    bounces = mail_host.mailbox(ME)
    had = len(bounces.fetch_imap())
    with log_in(mail_host) as smtp:
        smtp.sendmail(ME, [gone.address], letter(gone.address))
    bounces.wait_for(had + 1)
    report = email.message_from_bytes(bounces.fetch_pop3()[-1])
    assert report.get_content_type() == "multipart/report"
    status = next(part for part in report.walk() if part.get_content_type() == "message/delivery-status")
    assert f"rfc822; {gone.address}" in status.as_string()
    assert "Status: 5.1.1" in status.as_string()


def test_the_recipients_provider_takes_its_own_mail_from_anyone_and_relays_none(mail_host: MailHost) -> None:
    (box,) = mail_host.fresh("reader")
    with smtplib.SMTP(mail_host.address, mail_host.mx_port) as smtp:
        smtp.ehlo()
        assert not smtp.has_extn("auth")
        assert smtp.sendmail("a@b.test", [box.address], letter(box.address)) == {}
        smtp.mail("a@b.test")
        assert smtp.rcpt("someone@elsewhere.test")[0] == 554
    box.wait_for(1)


def test_mailboxes_of_a_kind_are_handed_out_once(mail_host: MailHost) -> None:
    first, second = (mail_host.fresh("reader")[0].address for _ in range(2))
    assert first != second
    with pytest.raises(LookupError, match="raise _HOW_MANY"):
        mail_host.fresh("reader", 1000)


def test_a_second_set_runs_beside_the_first_and_leaves_nothing(mail_host: MailHost) -> None:
    with running_mail_host() as other:
        assert other.address != mail_host.address
        (box,) = other.fresh("reader")
        with log_in(other) as smtp:
            smtp.sendmail(ME, [box.address], letter(box.address))
        box.wait_for(1)
        folder = other.ca_file.parent
        ports = (other.starttls_port, other.implicit_port, other.mx_port, other.imap_port, other.pop3_port)
        assert all(_answers(other.address, port) for port in ports)
    assert not any(_answers(other.address, port) for port in ports)
    assert not folder.exists()
    assert mail_host.mailbox("reader01@163.test").password == READER_PASSWORD
    log_in(mail_host).quit()


def test_a_postfix_that_cannot_start_says_why_and_nothing_is_left(mail_host: MailHost) -> None:
    taken = (mail_host.address, mail_host.imap_port)
    folder = mail_host.ca_file.parent / "failing"
    folder.mkdir()
    server = postfix(folder, "failing.test", settings={}, services={taken: {}, (mail_host.address, 1): {}})
    with pytest.raises(ServerError, match="Address already in use"), server:
        pytest.fail("it started")
    assert not _answers(mail_host.address, 1)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_servers_end_with_who_started_them(mail_host: MailHost, how: signal.Signals) -> None:
    script = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored\n"
        "from support.mailhost import running_mail_host\n"
        "with running_mail_host() as host:\n"
        "    print(host.address, host.starttls_port, host.imap_port, host.ca_file.parent, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
        text=True,
    ) as process:
        assert process.stdout is not None
        address, *ports, folder = process.stdout.readline().split()
        assert all(_answers(address, int(port)) for port in ports)
        with socket.create_connection((address, int(ports[0]))) as witness:
            assert witness.recv(1000).startswith(b"220 ")
            process.send_signal(how)
            process.wait(30)
            # The server that talks to us ends too: that closes the connection, which is the event to wait for.
            witness.settimeout(30)
            while witness.recv(1000):
                pass
    if how is signal.SIGKILL:
        shutil.rmtree(folder)  # nobody was left to do it
    if how is signal.SIGINT:
        assert not Path(folder).exists()
        assert not any(_answers(address, int(port)) for port in ports)


def _trust(host: MailHost) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=host.ca_file)


def _answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
