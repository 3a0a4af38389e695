"""From templates and rows of fields to the bytes of messages.

What a campaign sends (`Content`) is read from files once, compiled once (`Compiled`), and composed for each recipient
at the cost of rendering its templates. Who it goes to comes row by row out of a `RecipientFile`. Everything that comes
in here is from outside: what is wrong with it is an `InputError` with a sentence, or `Unfit` for one row.
"""

from __future__ import annotations

from mailer.content.compose import Compiled, Occasion, Rendered, compile_content
from mailer.content.content import Content, Part
from mailer.content.recipient import BadRow, Recipient
from mailer.content.recipients import RecipientFile, open_recipients
from mailer.content.source import ContentFiles, read_content
from mailer.content.unfit import Unfit

__all__ = [
    "BadRow",
    "Compiled",
    "Content",
    "ContentFiles",
    "Occasion",
    "Part",
    "Recipient",
    "RecipientFile",
    "Rendered",
    "Unfit",
    "compile_content",
    "open_recipients",
    "read_content",
]
