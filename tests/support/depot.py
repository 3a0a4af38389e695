"""A Postfix that keeps what it takes in a folder, byte for byte, behind ports that announce different extensions.

| port          | what it announces, and how it is spoken to                                     |
|---------------|--------------------------------------------------------------------------------|
| all           | PIPELINING and CHUNKING, in plain text                                         |
| no-chunking   | PIPELINING                                                                     |
| no-pipelining | CHUNKING, which no client should use without the other                         |
| neither       | neither of them                                                                |
| starttls      | both, once TLS has begun                                                       |
| implicit      | both, TLS from the first byte                                                  |
| ipv6          | both, in plain text on ::1; missing where the machine has no IPv6              |

| address             | what happens                                                             |
|---------------------|--------------------------------------------------------------------------|
| boxNNNNN@depot.test | taken and kept                                                           |
| SMUGGLED            | taken and kept: nobody writes to it, so what lies there was smuggled     |
| LATER               | 450 4.2.0 at RCPT, every time                                            |
| other …@depot.test  | 550 5.1.1 at RCPT                                                        |
| other domains       | 554 5.7.1 at RCPT                                                        |

Settings that are not the usual ones, and why:

- `virtual` delivers into one maildir: a file a message, line ends as LF, and above it three lines (Return-Path,
  X-Original-To, Delivered-To) and smtpd's Received, which are taken off again and nothing else.
- `local_header_rewrite_clients` empty: to a client on its own machine Postfix would do the favour of adding headers.
- `smtpd_forbid_bare_newline = no`: Postfix as it was until it learnt of smuggling, and as many still run. It takes a
  bare LF for a line end, so a client that lets one through is found out.

What Postfix itself changes (3.7.11, seen by raw socket in DATA and BDAT alike): a header is cut at its first NUL; in
the body NULs stay. Bcc, Return-Path and Content-Length are dropped, `Subject :` loses its blank, and a text that does
not begin with a header gets an empty line before it. A missing last line end is added.
"""

from __future__ import annotations

import pwd
import re
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from support.certificates import Certificates, make_certificates
from support.daemon import Daemon, Place, free_ports, open_folder, own_address
from support.dovecot import Submission, dovecot
from support.postfix import POSTFIX_USER, inline_map, postfix, text_map
from support.raw_smtp import RawSmtp

DOMAIN: Final = "depot.test"
SMUGGLED: Final = f"smuggled@{DOMAIN}"
LATER: Final = f"later@{DOMAIN}"

# Enough for every test of a run to have its own.
_BOXES: Final = 20000

_SERVICES: Final[Mapping[str, Mapping[str, str]]] = {
    "no-chunking": {"smtpd_discard_ehlo_keywords": "chunking"},
    "no-pipelining": {"smtpd_discard_ehlo_keywords": "pipelining"},
    "neither": {"smtpd_discard_ehlo_keywords": "pipelining, chunking"},
    "starttls": {"smtpd_tls_security_level": "encrypt"},
    "implicit": {"smtpd_tls_wrappermode": "yes", "smtpd_tls_security_level": "encrypt"},
}

_DONE_WITHIN_S: Final = 60.0
_LOOK_EVERY_S: Final = 0.02

_HEAD: Final = re.compile(rb"Return-Path: <[^\n]*>\nX-Original-To: ([^\n]+)\nDelivered-To: [^\n]+\n")
_RECEIVED: Final = re.compile(rb"Received: [^\n]*\n(?:[ \t][^\n]*\n)*")
_VERBS: Final = re.compile(r"([a-z]+)=(?:\d+/)?(\d+)")


@dataclass
class Depot:
    """It, running."""

    places: Mapping[str, Place]
    """Port by name, as in the table above."""
    certificates: Certificates
    server: Daemon
    _maildir: Path
    _queue: Path
    _next: int = 1
    _mark: int = 0
    _marks: int = 0
    _seen: set[str] = field(default_factory=set)
    _stored: dict[str, list[bytes]] = field(default_factory=dict)

    def fresh(self, count: int) -> list[str]:
        """Addresses that nobody was given before."""
        start, self._next = self._next, self._next + count
        if self._next > _BOXES:
            raise LookupError(f"all {_BOXES} addresses are taken; raise _BOXES")
        return [_box(n) for n in range(start, self._next)]

    def kept(self, addresses: Iterable[str], *, received: int = 1) -> Mapping[str, list[bytes]]:
        """What it has ever taken for each of `addresses`, with CRLF, when it has nothing left to deliver.

        `received`: so many servers have put a Received before what was sent, this one included.
        """
        self._wait_until_delivered()
        for file in sorted((self._maildir / "new").glob("*")):
            if file.name not in self._seen:
                self._seen.add(file.name)
                recipient, text = _opened(file.read_bytes())
                self._stored.setdefault(recipient, []).append(text)
        return {to: [_sent(text, received) for text in self._stored.get(to, [])] for to in addresses}

    def mark(self) -> None:
        """From here on counts what `commands` returns. Every session that a client has left by now is before it."""
        # Postfix says that a session is over after the client has left, and through a writer of its own. What is said
        # of ours comes after all that was said before; then the sessions of others that have begun must have ended.
        self._marks += 1
        nobody = f"mark{self._marks}@{DOMAIN}"
        with RawSmtp(self.places["all"]) as client:
            client.say(b"EHLO mark.test\r\nMAIL FROM:<>\r\nRCPT TO:<%b>\r\nQUIT\r\n" % nobody.encode(), 4)
        deadline = time.monotonic() + _DONE_WITHIN_S
        while not self._is_quiet(nobody):
            if time.monotonic() > deadline:
                raise AssertionError(f"the depot's sessions did not end:\n{self.said()}")
            time.sleep(_LOOK_EVERY_S)
        self._mark = self.server.log_size()

    def said(self) -> str:
        """What Postfix wrote to its log since the last `mark`."""
        return self.server.said(self._mark)

    def commands(self, port: str, *, mail: int) -> Counter[str]:
        """How often each command was given on that port, since the last `mark`, in sessions that have ended.

        Waits until there were `mail` MAILs, refused ones included: Postfix logs a session after the client has left.
        """
        deadline = time.monotonic() + _DONE_WITHIN_S
        while (given := self._commands(port))["mail"] < mail:
            if time.monotonic() > deadline:
                raise AssertionError(f"no {mail} MAILs on {port}, but {dict(given)}:\n{self.said()}")
            time.sleep(_LOOK_EVERY_S)
        return given

    def _commands(self, port: str) -> Counter[str]:
        given: Counter[str] = Counter()
        for line in self.said().splitlines():
            who, found, what = line.partition(": disconnect from ")
            if found and f"postfix/{port}/" in who:
                given.update({verb: int(count) for verb, count in _VERBS.findall(what)})
        return given

    def _is_quiet(self, after: str) -> bool:
        said = self.said()
        return after in said and said.count(": connect from ") == said.count(": disconnect from ")

    def _wait_until_delivered(self) -> None:
        # A message is in one of these from before its 250 until it is delivered, and moves in this order.
        queues = [self._queue / name for name in ("incoming", "active", "deferred")]
        deadline = time.monotonic() + _DONE_WITHIN_S
        while any(path.is_file() for queue in queues for path in queue.rglob("*")):
            if time.monotonic() > deadline:
                raise AssertionError(f"the depot did not deliver all it has:\n{self.said()}")
            time.sleep(_LOOK_EVERY_S)


@contextmanager
def running_depot() -> Iterator[Depot]:
    """A depot, started; stopped and removed at the end. Raises ServerError."""
    with open_folder("depot-") as folder:
        address = own_address()
        names = ("all", "no-chunking", "no-pipelining", "neither", "starttls", "implicit")
        places = {name: (address, port) for name, port in zip(names, free_ports(address, len(names)), strict=True)}
        if has_ipv6():
            places["ipv6"] = ("::1", free_ports("::1", 1)[0])
        certificates = make_certificates(folder, address)
        home = folder / "postfix"
        home.mkdir()
        user = pwd.getpwnam(POSTFIX_USER)
        mail = folder / "mail"
        mail.mkdir()
        shutil.chown(mail, user.pw_uid, user.pw_gid)
        server = postfix(
            home,
            "mx.depot.test",
            settings={
                "inet_protocols": "all" if "ipv6" in places else "ipv4",
                "virtual_mailbox_domains": DOMAIN,
                "virtual_mailbox_maps": text_map(home / "boxes", [SMUGGLED, LATER, *map(_box, range(1, _BOXES))], "m/"),
                "virtual_mailbox_base": str(mail),
                "virtual_uid_maps": f"static:{user.pw_uid}",
                "virtual_gid_maps": f"static:{user.pw_gid}",
                "virtual_minimum_uid": "1",
                "local_header_rewrite_clients": "",
                "smtpd_forbid_bare_newline": "no",
                "smtpd_relay_restrictions": "reject_unauth_destination",
                "smtpd_recipient_restrictions": (
                    f"check_recipient_access {inline_map({LATER: '450 4.2.0 Greylisted, try again later'})}"
                ),
                "smtpd_tls_chain_files": str(certificates.server_file),
            },
            services={
                place: {"syslog_name": f"postfix/{name}", **_SERVICES.get(name, {})} for name, place in places.items()
            },
        )
        with server:
            yield Depot(places, certificates, server, mail / "m", home / "queue")


USER: Final = f"me@{DOMAIN}"
PASSWORD: Final = "proxied"
"""Who may log in at Dovecot's submission service."""


async def password() -> str:
    """For the settings of a relay."""
    return PASSWORD


@contextmanager
def running_submission(depot: Depot) -> Iterator[Place]:
    """Dovecot's submission service in front of the depot's port `all`: where it is. It puts a Received of its own."""
    with open_folder("submission-") as folder:
        address = own_address()
        imap, pop3, port = free_ports(address, 3)
        server, _ = dovecot(
            folder / "dovecot",
            address,
            imap_port=imap,
            pop3_port=pop3,
            passwords={USER: PASSWORD},
            submission=Submission(port, depot.places["all"]),
        )
        with server:
            yield address, port


def _sent(text: bytes, received: int) -> bytes:
    """As it was sent: without the Received that servers have put before it, of which there must be so many."""
    end = 0
    for _ in range(received):
        trace = _RECEIVED.match(text, end)
        if trace is None:
            raise AssertionError(f"no Received where one should be: {text[:600]!r}")
        end = trace.end()
    return text[end:].replace(b"\n", b"\r\n")


def _opened(stored: bytes) -> tuple[str, bytes]:
    """For whom `virtual` has stored a message, and what it was handed: its own three lines taken off."""
    head = _HEAD.match(stored)
    if head is None:
        raise AssertionError(f"not how Postfix stores a message: {stored[:300]!r}")
    return head[1].decode(), stored[head.end() :]


def has_ipv6() -> bool:
    """Whether ::1 is an address of this machine."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def _box(n: int) -> str:
    return f"box{n:05}@{DOMAIN}"
