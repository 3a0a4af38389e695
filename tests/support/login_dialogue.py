"""Logins as dialogues: what a mechanism says in answer to what, and how it ends."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Final

from mailer.core.reply import Reply
from mailer.smtp.auth import Login, LoginEnd

USER: Final = "me@qq.com"
PASSWORD: Final = "hunter22"

ENDS: Final[Mapping[str, LoginEnd]] = {"in": LoginEnd.IN, "refused": LoginEnd.REFUSED}


def b64(text: str) -> str:
    """`text` as it goes over the wire."""
    return base64.b64encode(text.encode()).decode()


def b64_of(names: Mapping[str, str]) -> Callable[[re.Match[str]], str]:
    """For `re.sub`: the base64 of what stands in braces, or of what that is a name of."""
    return lambda found: b64(names.get(found[1], found[1]))


def play(login: Login, dialogue: str, **names: str) -> None:
    """Check that `login` says exactly the C: lines in answer to the S: lines, and ends as the last line says.

    `{text}` stands for the base64 of the text, `{user}` and `{password}` for those of USER and PASSWORD, and so with
    each of `names`. ` | ` stands between the lines of one reply.
    """
    known = {"user": USER, "password": PASSWORD, **names}
    said: bytes | LoginEnd = login.first_line()
    for line in filter(None, map(str.strip, dialogue.splitlines())):
        who, _, text = re.sub(r"\{(.*?)\}", b64_of(known), line).partition(":")
        text = text.strip()
        match who:
            case "C":
                assert said == text.encode() + b"\r\n", line
            case "S":
                assert not isinstance(said, LoginEnd), f"{said} before {line!r}"
                said = login.answer(Reply(int(text[:3]), None, "\n".join(text[4:].split(" | "))))
            case _:
                assert said is ENDS[who]
