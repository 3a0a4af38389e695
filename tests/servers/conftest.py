"""Real servers for the tests in this folder, and their words beside each test that failed."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest
from support.aiosmtpd_server import Keeper, running_keeper
from support.daemon import Place
from support.depot import Depot, running_depot, running_submission
from support.dovecot import dovecot_version, has_submission
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


@pytest.fixture
def storing_sink() -> Iterator[SmtpSink]:
    """An smtp-sink that takes everything and keeps it."""
    require("smtp-sink")
    with running_smtp_sink(keeps=True) as sink:
        yield sink


@pytest.fixture
def keeper() -> Iterator[tuple[Place, Keeper]]:
    """An aiosmtpd that keeps everything, and where it is."""
    with running_keeper() as running:
        yield running


@pytest.fixture(scope="session")
def _shared_depot() -> Iterator[Depot]:
    require("postfix")
    if os.geteuid() != 0:
        missing("Postfix gives its parts away to its own user, which takes root")
    with running_depot() as depot:
        yield depot


@pytest.fixture
def depot(_shared_depot: Depot) -> Depot:
    """The Postfix of `support.depot`, started once for all tests; each takes fresh addresses for itself."""
    _shared_depot.mark()
    return _shared_depot


@pytest.fixture(scope="session")
def submission(_shared_depot: Depot) -> Iterator[Place]:
    """Dovecot's submission service in front of the depot, started once for all tests: where it is."""
    require("dovecot")
    if not has_submission():
        missing("Dovecot has no submission service; on Debian: apt-get install dovecot-submissiond")
    if not dovecot_version().startswith("2.3."):
        missing(f"Dovecot is {dovecot_version()}; its configuration in the tests is written for 2.3")
    with running_submission(_shared_depot) as place:
        yield place


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    host = getattr(item, "funcargs", {}).get("mail_host")
    if report.failed and isinstance(host, MailHost):
        report.sections += [(f"log of {name} in {call.when}", words) for name, words in host.said().items()]
    depot = getattr(item, "funcargs", {}).get("depot")
    if report.failed and isinstance(depot, Depot):
        report.sections.append((f"log of the depot in {call.when}", depot.said()))
    return report
