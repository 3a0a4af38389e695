"""Two mail providers on this machine, made of servers that nobody here wrote, and the way of a message through them.

    mailer ──submission──▶ smtp.qq.test ──SMTP──▶ mx.163.test ──LMTP──▶ Dovecot ──POP3, IMAP──▶ the test
              AUTH, TLS      (Postfix)             (Postfix)

smtp.qq.test is the sender's provider. It takes mail for those who log in (any AUTH we know, asked of Dovecot) with
STARTTLS on one port and TLS from the first byte on the other, lets everyone write under his own address only, and
refuses at RCPT what it knows to be wrong, so that mailer sees it. mx.163.test is the recipients' provider; what it
refuses comes back to the sender's mailbox as a bounce, as it would from the real one.

What an address does is in its name:

| address           | what happens                                                                                     |
|-------------------|--------------------------------------------------------------------------------------------------|
| readerNN@163.test | delivered                                                                                        |
| greyNN@163.test   | smtp.qq.test answers 450 to the first try (mailer sees it), then takes it; delivered             |
| slowNN@163.test   | mx.163.test answers 450 to the first try (smtp.qq.test keeps it and tries again); delivered      |
| goneNN@163.test   | smtp.qq.test takes it, mx.163.test does not know it: 550, and a bounce into the sender's mailbox |
| other …@163.test  | smtp.qq.test answers 550 5.1.1 to RCPT                                                           |
| other domains     | smtp.qq.test answers 550 5.1.2 to RCPT: it knows no way there                                    |
| those of SENDERS  | may log in and send; their mailboxes get their bounces                                           |

`MailHost.fresh` hands out each of the numbered ones once, so tests that share the servers do not share mailboxes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from support.certificates import Certificates, make_certificates
from support.daemon import Daemon, Place, free_ports, open_folder, own_address
from support.dovecot import Sockets, dovecot
from support.greylist import Greylist
from support.mailbox import Mailbox
from support.postfix import inline_map, postfix, text_map

Kind = Literal["reader", "grey", "slow", "gone"]

# Enough of each for every test of a run to have its own.
_HOW_MANY: Final[Mapping[Kind, int]] = {"reader": 200, "grey": 20, "slow": 10, "gone": 10}

_SAID_WITHIN_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.02

SENDERS: Final[Mapping[str, str]] = {
    "me@qq.test": "authorization-code",
    # What the base64 of AUTH has to carry: a user name with a plus, a password that is not ASCII and has a colon.
    "news+me@qq.test": "授权码: ÿ {PLAIN} 'x' \\",
}
"""Who may log in, and the password."""

READER_PASSWORD: Final = "reader"
"""Opens the mailbox of every recipient."""


@dataclass
class MailHost:
    """The two providers, running."""

    address: str
    """The loopback address that all of them listen on. Their certificate is good for it and for `smtp.qq.test`."""
    starttls_port: int
    """Submission: AUTH after STARTTLS only."""
    implicit_port: int
    """Submission with TLS from the first byte."""
    mx_port: int
    """mx.163.test: SMTP without a login, for its own recipients."""
    imap_port: int
    pop3_port: int
    certificates: Certificates
    greylist: Greylist
    """Of smtp.qq.test, asked for greyNN."""
    slow_greylist: Greylist
    """Of mx.163.test, asked for slowNN."""
    servers: tuple[Daemon, ...]
    _taken: dict[Kind, int] = field(default_factory=dict)
    _marks: dict[str, int] = field(default_factory=dict)

    @property
    def ca_file(self) -> Path:
        """What a relay's `ca_file` should name."""
        return self.certificates.ca_file

    def mailbox(self, address: str) -> Mailbox:
        """The mailbox of a sender, or of a recipient that is delivered to."""
        return Mailbox(address, SENDERS.get(address, READER_PASSWORD), self.address, self.imap_port, self.pop3_port)

    def fresh(self, kind: Kind, count: int = 1) -> list[Mailbox]:
        """`count` mailboxes of a kind (see above) that nobody was given before. Those of kind "gone" do not exist."""
        start = self._taken.get(kind, 0)
        if start + count > _HOW_MANY[kind]:
            raise LookupError(f"all {_HOW_MANY[kind]} addresses of kind {kind} are taken; raise _HOW_MANY")
        self._taken[kind] = start + count
        return [self.mailbox(address) for address in _addresses(kind)[start : start + count]]

    def mark(self) -> None:
        """From here on counts what `said` returns."""
        self._marks = {server.name: server.log_size() for server in self.servers}

    def said(self) -> dict[str, str]:
        """What each server wrote to its log since the last `mark`."""
        return {server.name: server.said(self._marks.get(server.name, 0)) for server in self.servers}

    def wait_until_said(self, server: str, words: str, count: int = 1) -> None:
        """Return once `server` has logged `words` that often since the last `mark`; else AssertionError."""
        # The log has a writer of its own (postlogd): what a server logged before it answered may appear after that.
        deadline = time.monotonic() + _SAID_WITHIN_S
        while self.said()[server].count(words) < count:
            if time.monotonic() > deadline:
                raise AssertionError(f"{server} did not say {words!r} {count} times")
            time.sleep(_LOOK_EVERY_S)


@contextmanager
def running_mail_host() -> Iterator[MailHost]:
    """Both providers, started; stopped and removed at the end, however it comes. Raises ServerError."""
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder("mailhost-"))
        address = own_address()
        starttls, implicit, mx, imap, pop3, grey, slow = free_ports(address, 7)
        certificates = make_certificates(folder, "smtp.qq.test", address)
        greylist = stack.enter_context(Greylist(address, grey))
        slow_greylist = stack.enter_context(Greylist(address, slow))
        readers = {to: READER_PASSWORD for kind in ("reader", "grey", "slow") for to in _addresses(kind)}
        box_server, sockets = dovecot(
            folder / "dovecot", address, imap_port=imap, pop3_port=pop3, passwords={**SENDERS, **readers}
        )
        recipients = _recipient_provider(folder / "mx.163.test", (address, mx), sockets, slow_greylist)
        submission = _sender_provider(
            folder / "smtp.qq.test",
            (address, starttls),
            (address, implicit),
            (address, mx),
            sockets,
            certificates,
            greylist,
        )
        servers = tuple(stack.enter_context(server) for server in (box_server, recipients, submission))
        yield MailHost(address, starttls, implicit, mx, imap, pop3, certificates, greylist, slow_greylist, servers)


def _sender_provider(
    folder: Path,
    starttls: Place,
    implicit: Place,
    mx: Place,
    sockets: Sockets,
    certificates: Certificates,
    greylist: Greylist,
) -> Daemon:
    """smtp.qq.test."""
    folder.mkdir()
    known = [to for kind in _HOW_MANY for to in _addresses(kind)]
    return postfix(
        folder,
        "smtp.qq.test",
        settings={
            # Who may log in, and as whom he may write. Postfix asks at RCPT, not at MAIL (smtpd_delay_reject).
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "dovecot",
            "smtpd_sasl_path": str(sockets.sasl),
            "smtpd_tls_auth_only": "yes",
            "smtpd_tls_chain_files": str(certificates.server_file),
            "smtpd_sender_login_maps": inline_map({user: user for user in SENDERS}),
            "smtpd_sender_restrictions": "reject_sender_login_mismatch",
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
            # The addresses that are put off at first; anyone else is let through to the login's rights.
            "smtpd_restriction_classes": "greylisting",
            "greylisting": greylist.service,
            "smtpd_recipient_restrictions": (
                f"check_recipient_access {inline_map(dict.fromkeys(_addresses('grey'), 'greylisting'))}, "
                "permit_sasl_authenticated, reject"
            ),
            # What it knows of the other provider's users: a refusal at RCPT instead of a bounce.
            "relay_domains": "163.test",
            "relay_recipient_maps": text_map(folder / "recipients", known),
            "relay_transport": f"smtp:[{mx[0]}]:{mx[1]}",
            # Its own users, whose mailboxes get the bounces.
            "virtual_mailbox_domains": "qq.test",
            "virtual_mailbox_maps": inline_map(dict.fromkeys(SENDERS, "OK")),
            "virtual_transport": f"lmtp:unix:{sockets.lmtp}",
            # The rest of the world is not reachable from here.
            "default_transport": "error:5.1.2 no way to that domain from here",
        },
        services={
            starttls: {"smtpd_tls_security_level": "encrypt"},
            implicit: {"smtpd_tls_wrappermode": "yes", "smtpd_tls_security_level": "encrypt"},
        },
    )


def _recipient_provider(folder: Path, place: Place, sockets: Sockets, greylist: Greylist) -> Daemon:
    """mx.163.test."""
    folder.mkdir()
    known = [to for kind in ("reader", "grey", "slow") for to in _addresses(kind)]
    return postfix(
        folder,
        "mx.163.test",
        settings={
            "virtual_mailbox_domains": "163.test",
            "virtual_mailbox_maps": text_map(folder / "mailboxes", known),
            "virtual_transport": f"lmtp:unix:{sockets.lmtp}",
            "smtpd_relay_restrictions": "reject_unauth_destination",
            "smtpd_restriction_classes": "greylisting",
            "greylisting": greylist.service,
            "smtpd_recipient_restrictions": (
                f"check_recipient_access {inline_map(dict.fromkeys(_addresses('slow'), 'greylisting'))}"
            ),
        },
        services={place: {}},
    )


def _addresses(kind: Kind) -> list[str]:
    return [f"{kind}{n:02}@163.test" for n in range(1, _HOW_MANY[kind] + 1)]
