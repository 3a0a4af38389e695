"""smtp-sink, which benchmarks measure against, takes and counts what it is sent."""

from __future__ import annotations

import smtplib

from support.smtpsink import SmtpSink, running_smtp_sink


def test_it_counts_messages(smtp_sink: SmtpSink) -> None:
    assert smtp_sink.messages() == 0
    with smtplib.SMTP(smtp_sink.host, smtp_sink.port) as smtp:
        for n in range(3):
            smtp.sendmail("a@b.test", [f"{n}@c.test"], b"Subject: x\r\n\r\nhello\r\n")
        assert smtp_sink.messages() == 3


def test_its_own_options_are_at_hand(smtp_sink: SmtpSink) -> None:
    with running_smtp_sink("-f", "RCPT") as refusing, smtplib.SMTP(refusing.host, refusing.port) as smtp:
        assert refusing.host != smtp_sink.host
        smtp.ehlo()
        smtp.mail("a@b.test")
        assert smtp.rcpt("c@d.test")[0] == 500
        assert refusing.messages() == 0
