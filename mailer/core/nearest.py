"""Which known name somebody probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name in `known` that is most like `name`, compared without case, or None if nothing comes near."""
    from difflib import get_close_matches  # only ever needed on the way to an error message

    folded = {candidate.casefold(): candidate for candidate in known}
    # 0.6 is difflib's own default: "slots_per_conection" and "usrname" are found, unrelated words are not.
    found = get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], *, quote: str = "") -> str:
    """`Did you mean X?`, or an empty text if nothing comes near; made to be used as a hint."""
    found = nearest(name, known)
    return f"Did you mean {quote}{found}{quote}?" if found else ""
