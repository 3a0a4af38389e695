"""The runner's parts for tests/bad_input: reading a case, running it, and what is compared. Its README has the form."""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
import tomllib
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from support.cli import Cli, Ran
from support.stages import STAGES

__all__ = ["Case", "Run", "cases", "rows_left", "run", "unexpected"]

FOLDER: Final = Path(__file__).parents[1] / "bad_input"

# SQLite's own files beside a database: their bytes are no part of what it holds.
BESIDE: Final = ("-wal", "-shm", "-journal")

# What a command that came to nothing may not have left in a database that it created.
MUST_BE_EMPTY: Final = ("campaign", "content", "message", "ready", "lane", "load")


@dataclass(frozen=True)
class Case:
    """One folder."""

    folder: Path
    command: list[str]
    exit: int
    stderr: str
    stage: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    stdin: str | None = None
    stdout: str = ""
    leaves: list[str] = field(default_factory=list)
    json: bool = True


@dataclass(frozen=True)
class Run:
    """What one run of a case did, and the placeholders it ran with."""

    ran: Ran
    before: Mapping[str, str]
    after: Mapping[str, str]
    created: list[Path]
    placeholders: Mapping[str, str]

    def difference(self, expected: str, said: str) -> str:
        """Both texts if `said` is not what was expected, otherwise nothing. Blank lines around them do not count."""
        expected, said = _filled(expected.strip("\n"), self.placeholders), said.strip("\n")
        pattern = ".*".join(re.escape(part) for part in expected.split("{any}"))
        return "" if re.fullmatch(pattern, said) else f"expected\n{expected}\n\nsaid\n{said}"


def cases() -> list[Case]:
    """All cases. A folder without a case.toml, or a case with an unknown key, is an error."""
    return [
        Case(folder, **tomllib.loads((folder / "case.toml").read_text("utf-8")))
        for folder in sorted(FOLDER.iterdir())
        if folder.is_dir() and not folder.name.startswith(("__", "."))
    ]


def run(case: Case, folder: Path, *more: str) -> Run:
    """Run `case` in `folder`, a new one, with `more` arguments at the end of its command."""
    folder.mkdir()
    placeholders = {"folder": str(folder)}
    with ExitStack() as staged:
        _copy(case.folder, folder)
        for name in case.stage:
            placeholders |= staged.enter_context(STAGES[name](folder))
        _fill_in(folder, placeholders)
        stdin = (folder / case.stdin).read_bytes() if case.stdin else b""
        before = _contents(folder)
        ran = Cli(folder)(
            *(_filled(word, placeholders) for word in case.command),
            *more,
            stdin=stdin,
            env={name: _filled(value, placeholders) for name, value in case.env.items()},
        )
        # Before the stages are undone: a database that a stage has locked is compared as it was, by its bytes.
        after = _contents(folder)
    created = [folder / name for name in after if name not in before]
    return Run(ran, before, after, created, placeholders)


def unexpected(case: Case, done: Run) -> list[str]:
    """The names of files that were created, changed or removed without leave."""
    differ = {name for name in done.before.keys() | done.after.keys() if done.before.get(name) != done.after.get(name)}
    return sorted(name for name in differ if not any(fnmatch(name, pattern) for pattern in case.leaves))


def rows_left(path: Path) -> dict[str, int]:
    """For a database that was created: the tables that should be empty and are not, with their rows."""
    if not _is_database(path):
        return {}
    with closing(_open(path)) as connection:
        counts = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in MUST_BE_EMPTY}  # noqa: S608
    return {table: count for table, count in counts.items() if count}


def _copy(source: Path, target: Path) -> None:
    for path in source.iterdir():
        if path.name == "case.toml":
            continue
        if path.is_dir():
            shutil.copytree(path, target / path.name)
        else:
            shutil.copyfile(path, target / path.name)


def _fill_in(folder: Path, placeholders: Mapping[str, str]) -> None:
    for path in folder.rglob("*.in"):
        path.with_suffix("").write_text(_filled(path.read_text("utf-8"), placeholders), "utf-8")
        path.unlink()


def _filled(text: str, placeholders: Mapping[str, str]) -> str:
    # Not str.format: TOML and JSON are full of braces.
    for name, value in placeholders.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _contents(folder: Path) -> dict[str, str]:
    """Relative name of every file → digest of its bytes, or of what a database holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name.endswith(BESIDE):
            continue
        found[name] = hashlib.sha256(_dump(path) if _is_database(path) else path.read_bytes()).hexdigest()
    return found


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _dump(path: Path) -> bytes:
    """Everything a database holds as SQL; its bytes where it cannot be read: damaged, or locked by a stage."""
    try:
        with closing(_open(path)) as connection:
            return "\n".join(connection.iterdump()).encode()
    except sqlite3.Error:
        return path.read_bytes()


def _open(path: Path) -> Any:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0)
