"""Whether a file of recipients has the fields that templates need, told before anything is queued."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final

from mailer.core.nearest import nearest
from mailer.errors import InputError

__all__ = ["RESERVED", "check_columns"]

# Names that mean the same in every template.
RESERVED: Final = ("address", "campaign", "today")

_ADDRESS_LIKE: Final = frozenset({"email", "e_mail", "mail", "mailbox"})
# How many columns a sentence can name.
_NAMED: Final = 12


def check_columns(
    known: Collection[str], needs: Iterable[tuple[str, frozenset[str]]], variables: Collection[str]
) -> None:
    """Raises InputError for the first of `needs` (a template, its fields) that `known` lacks, or for a name that both
    a column and `--set` give."""
    for name in sorted(set(known) & set(variables)):
        raise InputError(
            f"--set {name}=… and the recipients' column {name} are two values for one name.",
            "Give one of them another name.",
        )
    for where, fields in needs:
        for name in sorted(fields - set(known)):
            raise InputError(f"{where} needs the field {name}, which the recipients do not have.", _hint(name, known))


def _hint(name: str, known: Collection[str]) -> str:
    for column in known:
        if re.sub(r"\W+", "_", column).casefold() == name.casefold() and not column.isidentifier():
            return f'A template cannot ask for the column "{column}": its name would have to be like {name}.'
    if name.casefold() in _ADDRESS_LIKE:
        return "Templates call the recipient's address `address`."
    near = nearest(name, [*known, *RESERVED])
    if near is not None:
        return f"Did you mean {near}?"
    if not known:
        return f"They have addresses only. `{name} is defined` and `{name} | default(…)` allow for that."
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return f"Their fields are: {', '.join([*known][:_NAMED])}{more}."
