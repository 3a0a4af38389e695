"""The documents say what is so: commands, schemas, dependencies, rooms and folders of tests, each listed in full."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest
from support.cli import ROOT, SCHEMAS

from mailer.cli.app import Group, root
from mailer.cli.session import Session

ARCHITECTURE: Final = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
CONTRIBUTING: Final = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
COMMANDS: Final = (ROOT / "docs" / "commands.md").read_text("utf-8")
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def rows(document: str, heading: str = "") -> list[list[str]]:
    """The rows of the first table behind `heading`, without its head."""
    lines = iter(document.partition(heading)[2].splitlines() if heading else document.splitlines())
    found: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif found:
            break
    return found[2:]


def commands(made: click.Command, words: tuple[str, ...] = ("mailer",)) -> Iterator[tuple[str, str]]:
    """Each command that can be typed, with the first sentence of its help."""
    if not isinstance(made, Group):
        yield " ".join(words), made.get_short_help_str(limit=1_000)
        return
    context = click.Context(made, obj=Session({}))
    for name in made.list_commands(context):
        found = made.get_command(context, name)
        assert found is not None
        if not found.hidden:
            yield from commands(found, (*words, name))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[]", requirement)[0] for requirement in requirements} - {PROJECT["name"]}


def test_the_list_of_commands_is_that_of_the_help() -> None:
    assert [tuple(row) for row in rows(COMMANDS)] == [(f"`{words}`", said) for words, said in commands(root())]


def test_the_conversation_is_drawn_from_its_tables(tmp_path: Path) -> None:
    drawn = tmp_path / "dialogue.md"
    subprocess.run([sys.executable, ROOT / "tools" / "draw-dialogue", drawn], check=True, cwd=ROOT)
    assert drawn.read_text("utf-8") == (ROOT / "docs" / "dialogue.md").read_text("utf-8")


def test_the_list_of_schemas_is_that_of_the_folder() -> None:
    listed = [tuple(row) for row in rows((SCHEMAS / "README.md").read_text("utf-8"))]
    titles = [(path.name, json.loads(path.read_text("utf-8"))["title"]) for path in sorted(SCHEMAS.glob("*.json"))]
    assert listed == [(f"[{name}]({name})", title.replace("|", r"\|")) for name, title in titles]


def test_every_schema_is_held_to_real_output_by_some_test() -> None:
    validated = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "validate":
                validated |= {argument.value for argument in call.args if isinstance(argument, ast.Constant)}
    assert {path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.json")} <= validated


def test_the_table_of_dependencies_is_that_of_the_package() -> None:
    extras = PROJECT["optional-dependencies"]
    listed: dict[str, set[str]] = {"needed": set(), "extra": set(), "dev": set()}
    for packages, why, _ in rows(ARCHITECTURE, "## Dependencies"):
        kind = "extra" if "(extra" in packages else "dev" if why.startswith(("tests", "lint")) else "needed"
        listed[kind] |= set(re.sub(r" \(.*?\)", "", packages).split(", "))
    assert listed["needed"] == names(PROJECT["dependencies"])
    assert listed["extra"] == {each for name in extras if name != "dev" for each in names(extras[name])}
    assert listed["dev"] == names(extras["dev"])


def test_the_rooms_of_the_architecture_are_those_of_the_package() -> None:
    drawn = ARCHITECTURE.partition("```\nmailer/\n")[2].partition("migrations/")[0]
    package = ROOT / "mailer"
    there = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    there |= {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    assert {line.split()[0] for line in drawn.splitlines()} == there


def test_the_folders_of_tests_are_all_explained() -> None:
    there = {f"`tests/{path.name}`" for path in (ROOT / "tests").iterdir() if any(path.glob("*.py"))}
    assert {row[0] for row in rows(CONTRIBUTING, "turns that into a failure.")} == there


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/commands.md"])
def test_what_a_document_links_to_or_names_is_there(document: str) -> None:
    path = ROOT / document
    text = path.read_text("utf-8")
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    named = re.findall(r"`((?:mailer|tests|docs|migrations|tools|bench)/[\w./-]+)`", text)
    assert [each for each in linked if not (path.parent / each).exists()] == []
    assert [each for each in named if "NNNN" not in each and not (ROOT / each).exists()] == []
