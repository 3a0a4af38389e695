"""The SQL of the store, by name.

A `.sql` file in `sql/` holds queries, each under a line `-- name: the_name` with comments of why. They are read once.
Ours rather than aiosql: it runs each query in three hops to the connection's thread (execute, fetch, close) where one
is enough, and text by name is all we need of it.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_HEADING = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def queries() -> dict[str, str]:
    """Every query by its name. Raises ValueError when two have the same one."""
    found: dict[str, str] = {}
    for file in sorted(files("mailer.store").joinpath("sql").iterdir(), key=lambda f: f.name):
        if not file.name.endswith(".sql"):
            continue
        parts = _HEADING.split(file.read_text(encoding="utf-8"))
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                raise ValueError(f"two queries are called {name}")
            found[name] = text.strip()
    return found
