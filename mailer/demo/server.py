"""The demo's SMTP server, a process of its own: `python -m mailer.demo.server`, started by `mailer.demo.serving`.

It insists on AUTH LOGIN, in three steps or with an initial response, treats recipients by `fates` and delivers nowhere.

Between the two processes: the first line on stdin is the account, as JSON; stdin's end is the end of the server, so
that it cannot outlive whoever started it, not even after a kill -9. The first line on stdout is `{"port": …}`, the last
one its own count of what it took. Ctrl-C goes to every process of a terminal; this one leaves it to the other.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import warnings
from collections import Counter
from typing import Any, Final

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from mailer.demo.account import Account
from mailer.demo.fates import Fate, fate_of, number_in

__all__ = ["Handler", "listen"]

# What a server some way off would need for a message. Without it the run would be over before anybody has seen it.
WORK_S: Final = 0.01


class Handler:
    """Decides about each message, and counts."""

    def __init__(self, work_s: float = WORK_S) -> None:
        self._work_s = work_s
        self._refused: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()
        """Messages taken, by recipient."""
        self.refusals = 0

    async def handle_RCPT(  # noqa: N802 - the name is aiosmtpd's
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take the recipient, or refuse it for now or for good."""
        refusal = self._refusal(address, at_end=False)
        if refusal is not None:
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Recipient ok"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - so is this
        """Take the message, or refuse it."""
        if self._work_s:
            await asyncio.sleep(self._work_s)
        for address in envelope.rcpt_tos:
            refusal = self._refusal(address, at_end=True)
            if refusal is not None:
                return refusal
        self.taken.update(envelope.rcpt_tos)
        return f"250 2.0.0 Taken as number {self.taken.total()}"

    def _refusal(self, address: str, *, at_end: bool) -> str | None:
        fate: Fate = fate_of(number_in(address))
        refusal = fate.refusal(self._refused[address], at_end=at_end)
        if refusal is not None:
            self._refused[address] += 1
            self.refusals += 1
        return refusal

    def count(self) -> dict[str, int]:
        """What the server has to say at the end."""
        return {"messages": self.taken.total(), "recipients": len(self.taken), "refusals": self.refusals}


async def listen(account: Account, handler: Handler) -> asyncio.Server:
    """Listen on a free port of the loopback interface."""

    def authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: Any) -> AuthResult:
        is_known = isinstance(given, LoginPassword) and (given.login, given.password) == (
            account.username.encode(),
            account.password.encode(),
        )
        return AuthResult(success=is_known, handled=False)

    def conversation() -> SMTP:
        return SMTP(
            handler,
            hostname="demo.example",
            ident="mailer demo, delivers nowhere",
            enable_SMTPUTF8=True,
            authenticator=authenticate,
            auth_required=True,
            auth_require_tls=False,  # it listens on loopback alone
            auth_exclude_mechanism=["PLAIN"],
        )

    return await asyncio.get_running_loop().create_server(conversation, "127.0.0.1", 0)


async def serve(account: Account, ended: asyncio.Event) -> dict[str, int]:
    """Serve until `ended`; the server's own count."""
    handler = Handler()
    server = await listen(account, handler)
    async with server:
        print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)  # noqa: T201 - the protocol above
        await ended.wait()
    return handler.count()


async def main() -> None:
    """What this process does."""
    loop = asyncio.get_running_loop()
    account = Account(**json.loads(sys.stdin.readline()))
    ended = asyncio.Event()
    # Nothing more is ever written: readable means that the other process has closed its end, or is gone.
    loop.add_reader(sys.stdin.fileno(), ended.set)
    print(json.dumps(await serve(account, ended)), flush=True)  # noqa: T201 - and its end


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # At each connection aiosmtpd warns of AUTH without TLS. On loopback nobody listens in.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="Requiring AUTH while not requiring TLS")
    asyncio.run(main())
