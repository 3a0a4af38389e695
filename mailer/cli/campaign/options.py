"""The options that `queue`, `edit`, `preview` and `test` share, and what is typed made into what the service takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from mailer.cli import names
from mailer.cli.interruptible import interruptible
from mailer.errors import UsageError

if TYPE_CHECKING:
    from mailer.cli.session import Session
    from mailer.content import ContentFiles
    from mailer.service.queue_draft import Ground, Wishes

__all__ = [
    "Stdin",
    "content_options",
    "files_of",
    "given_content",
    "ground_of",
    "headers_of",
    "pairs_of",
    "recipients_options",
    "sending_options",
    "source_of",
    "wishes_of",
]

F = TypeVar("F", bound=Callable[..., Any])

_CONTENT: Final = (
    click.option("--from", "sender", metavar="ADDRESS", help="Name <a@b> or a@b; default: [defaults] from."),
    click.option("--subject", metavar="TEMPLATE", help="Subject line."),
    click.option("--text", metavar="FILE", help="Template of the text; - reads it from stdin."),
    click.option("--html", metavar="FILE", help="Template of the HTML; text is made from it where none is given."),
    click.option("--attach", metavar="FILE", multiple=True, help="Attach a file."),
    click.option("--inline", metavar="NAME=FILE", multiple=True, help="A picture that the HTML shows as cid:NAME."),
    click.option(
        "--header", "headers", metavar="'K: V'", multiple=True, help="One more header; its value is a template."
    ),
    click.option("--reply-to", metavar="ADDRESS", help="Where answers go."),
    click.option("--to-name", metavar="TEMPLATE", help="Name in To; default: the row's `name`."),
    click.option("--set", "variables", metavar="KEY=VALUE", multiple=True, help="A value that templates see as KEY."),
    click.option("--list", "list_name", metavar="LIST", help="Mailing list that this campaign goes to."),
)
_SENDING: Final = (
    click.option("--envelope-from", metavar="ADDRESS", help="Where bounces go; default: the From address."),
    click.option(
        "--relay", "relays", metavar="RELAY", type=names.RELAY, multiple=True, help="Only through this relay."
    ),
    click.option("--start-at", metavar="TIME", help="Send nothing before, e.g. 2026-11-24T08:00."),
    click.option("--expires-at", metavar="TIME", help="What is not accepted by then fails."),
    click.option("--expires-in", metavar="LENGTH", help="The same, counted from the start: 12h, 2d."),
    click.option("--priority", type=click.IntRange(-10, 10), help="-10 to 10, higher first; default 0."),
    click.option(
        "--on-uncertain",
        type=click.Choice(["resend", "hold"]),
        help="What to do when nobody knows whether the relay took a message; default resend.",
    ),
)
_RECIPIENTS: Final = (
    click.option("--recipients", metavar="FILE", help="CSV, JSON lines or an address a line; - is stdin."),
    click.option("--encoding", metavar="NAME", help="Encoding of that file, if it is not found out by itself."),
    click.option("--address-column", metavar="NAME", help="Column with the address; default: address or email."),
)


def content_options(body: F) -> F:
    """What is sent."""
    return _decorated(body, _CONTENT)


def sending_options(body: F) -> F:
    """How it is sent."""
    return _decorated(body, _SENDING)


def recipients_options(body: F) -> F:
    """To whom."""
    return _decorated(body, _RECIPIENTS)


def _decorated(body: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        body = option(body)
    return body


class Stdin:
    """Standard input, which one option may take."""

    def __init__(self, **taken: str | None) -> None:
        """`taken` are the options that may name it, with their values. Raises UsageError if two do."""
        users = [f"--{name.replace('_', '-')}" for name, value in taken.items() if value == "-"]
        if len(users) > 1:
            raise UsageError(f"{' and '.join(users)} both read standard input; only one option may be `-`.")

    def read(self) -> bytes:
        """All of it."""
        with interruptible():
            return sys.stdin.buffer.read()


def ground_of(session: Session) -> Ground:
    """Configuration, zone and the present."""
    from mailer.clocks import wall_clock
    from mailer.service.queue_draft import Ground

    return Ground(session.config, session.loaded.zone, wall_clock())


def given_content(given: Mapping[str, Any]) -> bool:
    """Whether any option about content was typed."""
    return any(
        given[name]
        for name in (
            "sender", "subject", "text", "html", "attach", "inline", "headers", "reply_to", "to_name", "variables",
            "list_name",
        )
    )  # fmt: skip


def files_of(session: Session, given: Mapping[str, Any]) -> ContentFiles:
    """The content options as the content room takes them. Raises UsageError for what is missing or misshapen."""
    from mailer.content import ContentFiles

    sender = given["sender"] or session.config.defaults.sender
    if not sender:
        raise UsageError("--from is missing, and the configuration has no [defaults] from.", "Add --from 'Name <a@b>'.")
    if given["subject"] is None:
        raise UsageError("--subject is missing.", "Add --subject 'Hello {{ name }}'.")
    if not given["text"] and not given["html"]:
        raise UsageError("neither --text nor --html is given.", "Add --text FILE or --html FILE; - is standard input.")
    return ContentFiles(
        sender=sender,
        subject=given["subject"],
        text=source_of(given["text"]),
        html=source_of(given["html"]),
        attach=tuple(Path(path) for path in given["attach"]),
        inline=tuple((name, Path(path)) for name, path in pairs_of(given["inline"], "--inline", "NAME=FILE")),
        headers=tuple(headers_of(given["headers"])),
        reply_to=given["reply_to"] or None,
        to_name=given["to_name"] or None,
        variables=dict(pairs_of(given["variables"], "--set", "KEY=VALUE")),
        list_name=given["list_name"] or None,
    )


def wishes_of(given: Mapping[str, Any]) -> Wishes:
    """The sending options as the service takes them."""
    from mailer.core.message import OnUncertain
    from mailer.service.queue_draft import Wishes

    return Wishes(
        envelope_from=given["envelope_from"],
        relays=given["relays"],
        start_at=given["start_at"],
        expires_at=given["expires_at"],
        expires_in=given["expires_in"],
        priority=given["priority"],
        on_uncertain=OnUncertain(given["on_uncertain"]) if given["on_uncertain"] else None,
    )


def source_of(text: str | None) -> Any:
    """A file of a template: a path, `-` for stdin, or None."""
    if not text:
        return None
    return "-" if text == "-" else Path(text)


def pairs_of(texts: tuple[str, ...], option: str, form: str) -> list[tuple[str, str]]:
    """`K=V` texts, split. Raises UsageError for one without `=` and for a key that comes twice."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"{option} {text!r}: expected {form}.")
        if key in found:
            raise UsageError(f"{option} {key} is given twice.")
        found[key] = value
    return list(found.items())


def headers_of(texts: tuple[str, ...]) -> list[tuple[str, str]]:
    """`K: V` texts, split. Raises UsageError for one without a colon."""
    found = []
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise UsageError(f"--header {text!r}: expected 'Name: value'.")
        found.append((name.strip(), value.strip()))
    return found
