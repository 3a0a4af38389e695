"""`make` and its tools on machines that are not like this one: stand-ins take the place of Python and apt."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.cli import ROOT

TOOLS = ROOT / "tools"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The only folder on the PATH. What every system has is linked into it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("cat", "chmod", "grep", "mktemp", "mv", "rm", "sh"):
        (folder / name).symlink_to(Path("/bin", name))
    return folder


def put(folder: Path, name: str, script: str = "exit 0") -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def run(
    tool: str, *args: str, path: Path, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOLS / tool, *args],
        env={"PATH": str(path), **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
    )


# make-venv

TOO_OLD = "exit 1"
WITHOUT_VENV = """
case "$2" in
*ensurepip*) exit 1 ;;
*print*) echo 3.12 ;;
esac
"""
GOOD = 'case "$1" in -m) echo "made with $0: $*" ;; esac'


def test_a_name_on_the_path_that_does_not_run_is_passed_over(programs: Path) -> None:
    put(programs, "python3.13", "exit 127")
    put(programs, "python3.12", GOOD)
    put(programs, "python3", GOOD)
    done = run("make-venv", ".venv", path=programs)
    assert (done.returncode, done.stdout) == (0, f"made with {programs}/python3.12: -m venv --clear .venv\n")


def test_the_python_that_was_named_is_taken(programs: Path) -> None:
    put(programs, "python3.12", GOOD)
    put(programs, "own", GOOD)
    done = run("make-venv", ".venv", path=programs, environ={"PYTHON": "own"})
    assert done.stdout.startswith(f"made with {programs}/own")
    put(programs, "own", TOO_OLD)
    done = run("make-venv", ".venv", path=programs, environ={"PYTHON": "own"})
    assert (done.returncode, done.stderr) == (
        1,
        "make: own is not Python 3.11 or later. Leave out PYTHON=, or name another one.\n",
    )


def test_where_venv_is_missing_it_says_what_to_install(programs: Path) -> None:
    put(programs, "python3", WITHOUT_VENV)
    put(programs, "apt-get")
    done = run("make-venv", ".venv", path=programs)
    assert (done.returncode, done.stderr) == (
        1,
        "make: Python's venv is not installed. Type: apt-get install python3.12-venv\n",
    )
    (programs / "apt-get").unlink()
    assert (
        "python3 has no venv and ensurepip; install your system's package"
        in run("make-venv", "x", path=programs).stderr
    )


def test_where_every_python_is_too_old_it_says_what_is_needed(programs: Path) -> None:
    put(programs, "python3", TOO_OLD)
    done = run("make-venv", ".venv", path=programs)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first == "make: mailer needs Python 3.11 or later, and there is none on the PATH."
    assert "https://www.python.org/downloads/" in second
    put(programs, "apt-get")
    assert "apt-get install python3 python3-venv" in run("make-venv", ".venv", path=programs).stderr


# install-servers

APT = """
case "$*" in
*install*) "$SBIN/policy-rc.d"; echo "$? $*" >"$SEEN" ;;
esac
"""


@pytest.fixture
def sbin(tmp_path: Path) -> Path:
    folder = tmp_path / "usr" / "sbin"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def environ(tmp_path: Path, sbin: Path) -> dict[str, str]:
    return {"SBIN": str(sbin), "SEEN": str(tmp_path / "seen"), "TMPDIR": str(tmp_path)}


def debian(programs: Path, *, user: int, apt: str = APT) -> None:
    put(programs, "id", f"echo {user}")
    put(programs, "apt-get", apt)
    put(programs, "debconf-set-selections", "cat >/dev/null")


def test_as_root_on_debian_servers_are_installed_and_forbidden_to_start(
    programs: Path, sbin: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    debian(programs, user=0)
    done = run("install-servers", path=programs, environ=environ)
    assert done.returncode == 0, done.stderr
    code, _, command = (tmp_path / "seen").read_text().partition(" ")
    assert code == "101"  # what a package that asks whether it may start its service is told
    dovecot = "dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-submissiond"
    assert command.endswith(f"postfix {dovecot} swaks libnet-ssleay-perl\n")
    assert list(sbin.iterdir()) == []
    assert not list(tmp_path.glob("tmp.*"))


def test_what_decided_over_starting_before_decides_again_afterwards(
    programs: Path, sbin: Path, environ: dict[str, str]
) -> None:
    debian(programs, user=0)
    put(sbin, "policy-rc.d", "exit 0  # mine")
    assert run("install-servers", path=programs, environ=environ).returncode == 0
    assert "mine" in (sbin / "policy-rc.d").read_text()
    assert [path.name for path in sbin.iterdir()] == ["policy-rc.d"]


def test_also_when_the_installation_fails_which_is_shown(programs: Path, sbin: Path, environ: dict[str, str]) -> None:
    debian(programs, user=0, apt='echo "E: no network"; exit 100')
    put(sbin, "policy-rc.d", "exit 0  # mine")
    done = run("install-servers", path=programs, environ=environ)
    assert done.returncode != 0
    assert "E: no network" in done.stderr
    assert "mine" in (sbin / "policy-rc.d").read_text()


def test_also_after_a_run_that_was_killed(programs: Path, sbin: Path, environ: dict[str, str]) -> None:
    debian(programs, user=0)
    put(sbin, "policy-rc.d.before-mailer", "exit 0  # mine")
    put(sbin, "policy-rc.d", "exit 101")
    assert run("install-servers", path=programs, environ=environ).returncode == 0
    assert "mine" in (sbin / "policy-rc.d").read_text()
    assert [path.name for path in sbin.iterdir()] == ["policy-rc.d"]


def test_elsewhere_it_says_what_is_skipped_and_how_to_get_it(programs: Path, environ: dict[str, str]) -> None:
    debian(programs, user=1000)
    done = run("install-servers", path=programs, environ=environ)
    assert done.returncode == 0
    assert "To have them: sudo apt-get install postfix dovecot-imapd" in done.stderr
    (programs / "apt-get").unlink()
    done = run("install-servers", path=programs, environ=environ)
    assert done.returncode == 0
    assert "Tests with real mail servers are skipped" in done.stderr


def test_where_all_is_there_nothing_is_done(programs: Path, sbin: Path, environ: dict[str, str]) -> None:
    debian(programs, user=0, apt="exit 1")
    for name in ("postfix", "dovecot"):
        put(sbin, name)
    put(programs, "swaks", 'echo "TLS supported"')
    libraries = sbin.parent / "lib" / "dovecot"
    libraries.mkdir(parents=True)
    for name in ("imap", "pop3", "lmtp", "submission"):
        put(libraries, name)
    done = run("install-servers", path=programs, environ=environ)
    assert (done.returncode, done.stderr) == (0, "")


# make


def test_help_is_the_first_verb_and_lists_all_of_them() -> None:
    text = (ROOT / "Makefile").read_text()
    verbs = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert verbs is not None
    done = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = [line.split()[1] for line in done.stdout.splitlines()]
    assert listed == verbs[1].split()
    assert all(len(line.split()) > 3 for line in done.stdout.splitlines())
