"""`mailer completion`: a script for each shell, and what Tab offers with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import Cli

from mailer.core.message import OnUncertain
from mailer.store import Snapshot, Store

BASH = """
eval "$(mailer completion bash)"
COMP_WORDS=("$@")
COMP_CWORD=$(( $# - 1 ))
_mailer_completion mailer
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def mailer(tmp_path: Path) -> Cli:
    made = Cli(tmp_path)
    made.environ["PATH"] = f"{Path(sys.executable).parent}:{made.environ['PATH']}"
    return made


def in_bash(mailer: Cli, *words: str) -> list[str]:
    """What bash offers for the last of `words`."""
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", *words],
        cwd=mailer.folder,
        env=mailer.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def offered(mailer: Cli, shell: str, *words: str) -> str:
    """What the program tells the script of `shell` about the last of `words`."""
    asked = {
        "_MAILER_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1),
    }
    return mailer(env=asked).ok().stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_of_its_shell_and_complete(mailer: Cli, shell: str) -> None:
    script = mailer("completion", shell).ok().stdout
    assert f"_MAILER_COMPLETE={shell}_complete" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True, env=mailer.environ)


def test_another_shell_is_wrong_usage(mailer: Cli) -> None:
    ran = mailer("completion", "tcsh")
    assert ran.exit == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in ran.stderr


def test_bash_completes_commands_options_and_choices(mailer: Cli) -> None:
    assert in_bash(mailer, "mailer", "compl") == ["completion"]
    assert in_bash(mailer, "mailer", "explain", "--no-p") == ["--no-progress"]
    assert in_bash(mailer, "mailer", "completion", "f") == ["fish"]
    assert in_bash(mailer, "mailer", "explain", "--format", "json") == ["json", "jsonl"]
    assert in_bash(mailer, "mailer", "nothing-like-this", "x") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_are_told_of_the_same(mailer: Cli, shell: str) -> None:
    assert "completion" in offered(mailer, shell, "mailer", "compl")
    assert "fish" in offered(mailer, shell, "mailer", "completion", "f")


CONFIG = """
[[relay]]
name = "office"
host = "localhost"
port = 2525
tls = "none"
auth = "none"

[[relay]]
name = "other"
host = "localhost"
port = 2526
tls = "none"
auth = "none"
"""


def test_names_of_relays_come_from_the_configuration(mailer: Cli) -> None:
    (mailer.folder / "config.toml").write_text(CONFIG)
    assert in_bash(mailer, "mailer", "relay", "check", "of") == ["office"]
    assert in_bash(mailer, "mailer", "relay", "check", "") == ["office", "other"]


async def test_names_of_campaigns_come_from_the_database(mailer: Cli) -> None:
    (mailer.folder / "config.toml").write_text(CONFIG)
    snapshot = Snapshot(
        body="{}",
        digest="0" * 64,
        blobs={},
        settings="{}",
        author="a@example.com",
        envelope_from="a@example.com",
        relays=(),
        priority=0,
        on_uncertain=OnUncertain.RESEND,
        start_at_us=None,
        expires_at_us=None,
    )
    async with await Store.open(mailer.folder / "mailer.db", create=True) as store:
        for name in ("spring", "春季", "summer"):
            load = await store.begin_load(name, loader="test", new=snapshot)
            await load.release(hold=True)
    assert in_bash(mailer, "mailer", "status", "sp") == ["spring"]
    assert sorted(in_bash(mailer, "mailer", "status", "")) == ["spring", "summer", "春季"]


def test_a_broken_configuration_does_not_spoil_the_line_that_is_being_typed(mailer: Cli) -> None:
    (mailer.folder / "config.toml").write_text("this is no toml")
    assert in_bash(mailer, "mailer", "relay", "check", "of") == []
    assert in_bash(mailer, "mailer", "status", "sp") == []
