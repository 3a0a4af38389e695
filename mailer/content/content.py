"""What a campaign sends, as data: templates, header values and which files go with it.

A `Content` is immutable and has one canonical JSON form. Two contents are the same exactly if their digests are: that
is how a second `queue` under the same name is told from a different one. The bytes of attachments stand elsewhere, by
their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mailer.errors import InputError

__all__ = ["Content", "Part"]


@dataclass(frozen=True, slots=True)
class Part:
    """A file that travels with every message. Of an inline part `name` is the NAME of `cid:NAME`."""

    name: str
    mime_type: str
    digest: str
    """SHA-256 of its bytes, in hex."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Content:
    """Everything that is the same for all recipients of a campaign."""

    sender: str
    """The header From, as given: `Name <a@b>` or `a@b`."""
    subject: str
    text: str | None = None
    html: str | None = None
    reply_to: str | None = None
    to_name: str | None = None
    """A template for the name in To; None: the row's field `name`, if it has one."""
    headers: tuple[tuple[str, str], ...] = ()
    """Names and templates, in order; a name may occur twice."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """What `--set` gives to templates."""
    attachments: tuple[Part, ...] = ()
    inline: tuple[Part, ...] = ()
    list_name: str | None = None
    """The list whose unsubscriptions count, or None."""

    def to_json(self) -> str:
        """The canonical form: keys sorted, no blanks, the same text for the same content on every machine."""
        plain = {
            "sender": self.sender,
            "subject": self.subject,
            "text": self.text,
            "html": self.html,
            "reply_to": self.reply_to,
            "to_name": self.to_name,
            "headers": self.headers,
            "variables": dict(self.variables),
            "attachments": [asdict(part) for part in self.attachments],
            "inline": [asdict(part) for part in self.inline],
            "list_name": self.list_name,
        }
        return json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical form, in hex."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str) -> Content:
        """The content that `to_json` wrote. Raises InputError for anything else."""
        try:
            found: dict[str, Any] = json.loads(text)
            return cls(
                sender=_string(found["sender"]),
                subject=_string(found["subject"]),
                text=_string_or_none(found["text"]),
                html=_string_or_none(found["html"]),
                reply_to=_string_or_none(found["reply_to"]),
                to_name=_string_or_none(found["to_name"]),
                headers=tuple((_string(name), _string(value)) for name, value in found["headers"]),
                variables={name: _string(value) for name, value in found["variables"].items()},
                attachments=tuple(Part(**part) for part in found["attachments"]),
                inline=tuple(Part(**part) for part in found["inline"]),
                list_name=_string_or_none(found["list_name"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"the stored content cannot be read: {type(error).__name__}: {error}.", "Run `mailer db check`."
            ) from error


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, found {value!r}")
    return value


def _string_or_none(value: object) -> str | None:
    return None if value is None else _string(value)
