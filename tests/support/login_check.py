"""Logging in over a connection and keeping all that was said of it, to look for what must not be in it."""

from __future__ import annotations

import base64
import hmac
from typing import Any, Final, NamedTuple

from support.login_dialogue import b64
from support.wire import run_on, settings_for

from mailer.smtp import RelayFailure, Timeouts, Transcript, check_relay

USER: Final = "me@qq.com"
PASSWORD: Final = "hunter22-geheim"
TOKEN: Final = "ya29." + "a0AfB_byC-7dE~" * 3
LONG_TOKEN: Final = "EwBA" + "kQ7xZ2Lm9Wp4Rt6Y" * 90 + "=="
HELLO: Final = "S: 220 relay ready\nC: EHLO *\nS: 250-relay | 250 AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2\n"
CHALLENGE: Final = b64("<1896.697170952@postoffice.reston.mci.net>")
DIGEST: Final = hmac.new(PASSWORD.encode(), base64.b64decode(CHALLENGE), "md5").hexdigest()
JSON: Final = b64('{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}')


class Tried(NamedTuple):
    """What came of a check, and all that was said of it."""

    auth: str | None
    failure: RelayFailure | None
    lines: list[str]

    @property
    def said(self) -> str:
        texts = [*self.lines, repr(self.failure)]
        if self.failure is not None:
            texts += [self.failure.message, self.failure.hint, repr(self.failure.reply)]
        return "\n".join(texts)


def try_login(port: int, auth: str, secret: str = PASSWORD, loop: str = "asyncio", **others: Any) -> Tried:
    lines: list[str] = []

    async def resolved() -> str:
        return secret

    async def main() -> Tried:
        settings = settings_for(port, auth=auth, username=USER, password=resolved, ehlo_name="me", **others)
        try:
            report = await check_relay(settings, transcript=Transcript(lines.append), timeouts=Timeouts(quit=0.01))
        except RelayFailure as failure:
            return Tried(None, failure, lines)
        return Tried(report.auth, None, lines)

    tried: Tried = run_on(loop, main())
    return tried


def bearer(token: str) -> str:
    """What XOAUTH2 says."""
    return b64(f"user={USER}\1auth=Bearer {token}\1\1")


def secret_forms(secret: str) -> list[str]:
    """The forms in which it was sent, and what could be made of them at once."""
    return [
        secret, b64(secret), b64(f"\0{USER}\0{secret}"), bearer(secret),
        DIGEST, b64(f"{USER} {DIGEST}"),
    ]  # fmt: skip


def pieces(text: str, length: int = 12) -> list[str]:
    """`text` cut into so many letters each; what is left over is left out."""
    return [text[n : n + length] for n in range(0, len(text) - length + 1, length)]
