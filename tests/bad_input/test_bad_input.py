"""Whatever is wrong from outside is refused with one sentence and a hint, the right exit code, and nothing half done.

README.md beside this file has the form of a case.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.bad_input import Case, cases, rows_left, run, unexpected
from support.cli import validate

CASES = pytest.mark.parametrize("case", cases(), ids=lambda case: case.folder.name)


@CASES
def test_it_is_refused_with_a_sentence_and_nothing_is_half_done(case: Case, tmp_path: Path) -> None:
    done = run(case, tmp_path / "run")
    expect(done.difference(case.stderr, done.ran.stderr))
    assert done.ran.exit == case.exit
    if case.stdout != "*":
        expect(done.difference(case.stdout, done.ran.stdout))
    assert unexpected(case, done) == [], "files were changed, created or removed"
    assert {path.name: rows_left(path) for path in done.created if rows_left(path)} == {}


@CASES
def test_with_json_it_is_refused_with_the_same_sentence_as_a_document(case: Case, tmp_path: Path) -> None:
    if not case.json:
        return
    done = run(case, tmp_path / "run", "--json")
    assert (done.ran.exit, done.ran.stdout if case.stdout != "*" else "") == (case.exit, "")
    error = done.ran.error
    validate({"error": error}, "error")
    assert error["exit"] == case.exit
    lines = [f"mailer: {error['message']}", *(f"  {line}" for line in (error["hint"] or "").splitlines())]
    notes = done.ran.stderr.splitlines()[:-1]
    expect(done.difference(case.stderr, "\n".join([*notes, *lines])))


def expect(difference: str) -> None:
    if difference:
        pytest.fail(difference, pytrace=False)


def test_there_are_cases() -> None:
    assert len(cases()) > 10
