"""Real servers for the tests in this folder, and their words beside each test that failed."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
from support.dovecot import dovecot_version
from support.mailhost import MailHost, running_mail_host
from support.servers import missing, require
from support.smtpsink import SmtpSink, running_smtp_sink


@pytest.fixture(scope="session")
def _shared_mail_host() -> Iterator[MailHost]:
    for program in ("postfix", "dovecot", "swaks"):
        require(program)
    if os.geteuid() != 0:
        missing("Postfix and Dovecot give their parts away to their own users, which takes root")
    if not dovecot_version().startswith("2.3."):
        missing(f"Dovecot is {dovecot_version()}; its configuration in the tests is written for 2.3")
    with running_mail_host() as host:
        yield host


@pytest.fixture
def mail_host(_shared_mail_host: MailHost) -> MailHost:
    """The two providers of `support.mailhost`, started once for all tests; each takes fresh mailboxes for itself."""
    _shared_mail_host.mark()
    return _shared_mail_host


@pytest.fixture
def smtp_sink() -> Iterator[SmtpSink]:
    """An smtp-sink that takes everything."""
    require("smtp-sink")
    with running_smtp_sink() as sink:
        yield sink


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    host = getattr(item, "funcargs", {}).get("mail_host")
    if report.failed and isinstance(host, MailHost):
        report.sections += [(f"log of {name} in {call.when}", words) for name, words in host.said().items()]
    return report
