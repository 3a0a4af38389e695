"""The package to ship: everything that is read at run time is in it, and it works without the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.cli import ROOT, Cli, clean_environ


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make wheel` does; pip fetches the build backend."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    done = subprocess.run([*build, "--wheel-dir", folder, ROOT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [built] = folder.glob("*.whl")
    return built


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_module_and_data_file_is_in_it(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "mailer").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert {"mailer/config/presets.toml", "mailer/core/replies.toml", "mailer/store/sql/exchange.sql"} <= expected
    assert expected <= names(wheel)


def test_what_is_a_link_to_the_top_level_is_a_file_there(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("mailer/config.example.toml") == (ROOT / "config.toml").read_bytes()
        for migration in (ROOT / "migrations").rglob("*.sql"):
            inside = f"mailer/{migration.relative_to(ROOT).as_posix()}"
            assert archive.read(inside) == migration.read_bytes(), inside


def test_nothing_but_the_package_is_in_it(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"mailer"}


def test_unpacked_elsewhere_it_writes_a_configuration_and_a_database(wheel: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(program)
    folder = tmp_path / "folder"
    folder.mkdir()
    cli = Cli(folder, PYTHONPATH=str(program))
    where = subprocess.run(
        [sys.executable, "-c", "import mailer; print(mailer.__file__)"],
        env={**clean_environ(folder), "PYTHONPATH": str(program)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.strip() == str(
        program / "mailer" / "__init__.py"
    )  # it is that one which runs, not the checkout
    cli("init").ok()
    assert (folder / "config.toml").read_bytes() == (ROOT / "config.toml").read_bytes()
    cli("db", "check").ok()
