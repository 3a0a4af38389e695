"""Every command's help: a first sentence, and two examples that can be typed as they stand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from support.cli import Cli

from mailer.cli.app import Command, Group, root
from mailer.cli.session import Session


def walk(made: Command | Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Command | Group]]:
    """Every command and group with the words that lead to it."""
    yield path, made
    if isinstance(made, Group):
        context = click.Context(made, obj=Session({}))
        for name in made.list_commands(context):
            found = made.get_command(context, name)
            assert isinstance(found, Command | Group)
            yield from walk(found, (*path, name))


TREE = dict(walk(root()))


def words_of(example: str) -> list[str]:
    """The arguments of an example: what stands behind `mailer`, up to a redirection, a pipe or a comment."""
    lexer = shlex.shlex(example, posix=True, punctuation_chars="|<>;&")
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if word in ("|", "<", ">", ">>", "&&"):
            break
        words.append(word)
    return words


def parse(words: list[str]) -> None:
    """Parse as the command line would, without doing anything. Raises click.UsageError."""
    made: click.Command = root()
    context = made.make_context("mailer", list(words), obj=Session({}))
    while isinstance(made, Group):
        rest = [*context._protected_args, *context.args]
        name, found, rest = made.resolve_command(context, rest)
        assert found is not None
        made, context = found, found.make_context(name, rest, parent=context)


@pytest.mark.parametrize("path", TREE, ids=lambda path: " ".join(path) or "mailer")
def test_the_help_ends_with_two_examples(path: tuple[str, ...]) -> None:
    made = TREE[path]
    context = click.Context(made, info_name=" ".join(("mailer", *path)), obj=Session({}))
    lines = made.get_help(context).splitlines()
    assert lines[-3] == "Examples:"
    assert [line.strip() for line in lines[-2:]] == list(made.examples)


@pytest.mark.parametrize("path", TREE, ids=lambda path: " ".join(path) or "mailer")
def test_the_examples_can_be_typed(path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for example in TREE[path].examples:
        commands = [part for part in example.split(" | ") if part.startswith("mailer")]
        assert commands, example
        for typed in commands:
            words = words_of(typed)[1:]
            assert tuple(words[: len(path)]) == path or not path, f"{example} is no example of {' '.join(path)}"
            for word in words:  # the files that an example names
                if re.fullmatch(r"[\w.-]+\.\w+", word.rpartition("=")[2]):
                    (tmp_path / word.rpartition("=")[2]).touch()
            try:
                parse(words)
            except click.exceptions.Exit as end:  # --version
                assert end.exit_code == 0
            except click.UsageError as error:
                pytest.fail(f"{typed}: {error.format_message()}")


@pytest.mark.parametrize("path", TREE, ids=lambda path: " ".join(path) or "mailer")
def test_the_help_begins_with_a_sentence(path: tuple[str, ...]) -> None:
    first = (TREE[path].help or "").partition("\n\n")[0]
    assert re.match(r"[A-Z].*[.]", " ".join(first.split()))


def test_help_is_shown_on_stdout_by_both_names_of_the_option(tmp_path: Path) -> None:
    mailer = Cli(tmp_path)
    assert mailer("explain", "-h").ok().stdout == mailer("explain", "--help").ok().stdout
    assert mailer("--help").ok().stdout.startswith("Usage: mailer [OPTIONS] COMMAND")
