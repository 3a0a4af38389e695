"""The command line as a user types it: a process of its own, in a folder of its own, with a clean environment."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema

ROOT: Final = Path(__file__).parents[2]
SCHEMAS: Final = ROOT / "docs" / "json"

# What a command may take at most. Far above what any does: it only keeps a hanging one from hanging the tests.
PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run left behind."""

    exit: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.stdout)

    @property
    def jsonl(self) -> list[Any]:
        """The JSON documents on stdout, one a line."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def error(self) -> Any:
        """What is inside `{"error": …}` on stderr; other lines may stand before it."""
        return json.loads(self.stderr.splitlines()[-1])["error"]

    def ok(self) -> Ran:
        """This run itself, if it ended with 0; otherwise the test fails and shows what was said."""
        assert self.exit == 0, f"exit {self.exit}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"
        return self


class Cli:
    """`mailer …` in one folder: `Cli(tmp_path)("status", "--json").json`."""

    def __init__(self, folder: Path, **environ: str) -> None:
        """`environ` is added to the clean environment of every run."""
        self.program: tuple[str, ...] = (sys.executable, "-m", "mailer")
        """How mailer is started: with this very interpreter."""
        self.folder = folder
        self.environ = clean_environ(folder) | environ

    def __call__(
        self,
        *args: str | Path,
        stdin: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout: float = PATIENCE_S,
    ) -> Ran:
        """Run to the end. stdin, stdout and stderr are no terminal; `stdin` is empty unless given."""
        done = subprocess.run(
            [*self.program, *map(str, args)],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            cwd=self.folder,
            env={**self.environ, **(env or {})},
            timeout=timeout,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def on_terminal(self, *args: str | Path, typed: str = "", env: Mapping[str, str] | None = None) -> Ran:
        """Run to the end with all three streams on a terminal, on which `typed` is typed; `stdout` is the screen.

        What is typed is echoed, and lines end in CR LF, as on any terminal. The input ends where `typed` does.
        """
        screen, terminal = pty.openpty()
        with subprocess.Popen(
            [*self.program, *map(str, args)],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=self.folder,
            env={**self.environ, **(env or {})},
            start_new_session=True,
        ) as process:
            os.close(terminal)
            os.write(screen, typed.encode() + b"\x04")  # ^D
            shown = bytearray()
            # Linux reports the last writer's leaving as EIO.
            with suppress(OSError):
                while read := os.read(screen, 65_536):
                    shown += read
            os.close(screen)
            return Ran(process.wait(PATIENCE_S), shown.decode(), "")

    def start(self, *args: str | Path, env: Mapping[str, str] | None = None, **more: Any) -> subprocess.Popen[str]:
        """Start, e.g. a worker, and hand out the process; use it in a `with`, or wait for it. `more` goes to Popen."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        return subprocess.Popen(
            [*self.program, *map(str, args)],
            cwd=self.folder,
            env={**self.environ, **(env or {})},
            text=True,
            encoding="utf-8",
            **streams,
        )


def clean_environ(folder: Path) -> dict[str, str]:
    """Nothing of the environment the tests run in: no configuration, colours, terminal or home of the developer's."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "TERM": "xterm-256color",
        "COLUMNS": "100",
    }


def validate(document: object, name: str) -> None:
    """Fails unless `document` is what `docs/json/NAME.schema.json` describes."""
    _validator(name).validate(document)


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
