"""The contender without a queue: ready-made bytes, one connection a task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiosmtplib


async def aiosmtplib_alone(
    port: int,
    sender: str,
    body: bytes,
    *,
    messages: int,
    connections: int,
    on_taken: Callable[[], None] = lambda: None,
) -> None:
    """Send the same body to `messages` recipients. Raises if one is refused; `on_taken` is called for each other."""
    left = iter(range(messages))

    async def send() -> None:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False)
        await client.connect()
        for n in left:
            await client.sendmail(sender, [f"user{n}@example.test"], body)
            on_taken()
        await client.quit()

    await asyncio.gather(*(send() for _ in range(connections)))
