"""A content as data: one canonical form, one digest, and back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailer.content import Content, Part
from mailer.errors import InputError

WORD = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
PART = st.builds(Part, name=WORD, mime_type=WORD, digest=WORD, size_bytes=st.integers(0, 10**9))
CONTENT = st.builds(
    Content,
    sender=WORD,
    subject=WORD,
    text=st.none() | WORD,
    html=st.none() | WORD,
    reply_to=st.none() | WORD,
    to_name=st.none() | WORD,
    headers=st.lists(st.tuples(WORD, WORD), max_size=3).map(tuple),
    variables=st.dictionaries(WORD, WORD, max_size=3),
    attachments=st.lists(PART, max_size=2).map(tuple),
    inline=st.lists(PART, max_size=2).map(tuple),
    list_name=st.none() | WORD,
)


@given(CONTENT)
def test_json_and_back_is_the_same_content(content: Content) -> None:
    again = Content.from_json(content.to_json())
    assert again == content
    assert again.to_json() == content.to_json()
    assert again.digest == content.digest


def test_the_order_of_variables_makes_no_difference() -> None:
    one = Content("a@b.example", "s", text="t", variables={"a": "1", "b": "2"})
    other = Content("a@b.example", "s", text="t", variables={"b": "2", "a": "1"})
    assert one.to_json() == other.to_json()
    assert one.digest == other.digest


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Content)])
def test_everything_counts_in_the_digest(name: str) -> None:
    part = Part("a.png", "image/png", "00", 1)
    changed: Any = {
        "headers": (("X-A", "1"),),
        "variables": {"a": "1"},
        "attachments": (part,),
        "inline": (part,),
    }.get(name, "changed")
    content = Content("a@b.example", "s")
    assert dataclasses.replace(content, **{name: changed}).digest != content.digest


def test_the_canonical_form_never_changes() -> None:
    """Digests are kept in databases: a later version must write the same content the same way."""
    content = Content(
        "N <a@b.example>", "Hi ü", text="t\n", headers=(("X-A", "1"),), attachments=(Part("f", "m", "d", 1),)
    )
    assert content.to_json() == (
        '{"attachments":[{"digest":"d","mime_type":"m","name":"f","size_bytes":1}],"headers":[["X-A","1"]],'
        '"html":null,"inline":[],"list_name":null,"reply_to":null,"sender":"N <a@b.example>","subject":"Hi ü",'
        '"text":"t\\n","to_name":null,"variables":{}}'
    )
    assert content.digest == "114db230336eb8e80c824ae7ea32c3b8e00fd07ab3812d559a1610fc59ac5bef"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", '"x"', "{", json.dumps({"sender": 1}), '{"sender": "a"}'],
)
def test_what_is_no_content_is_an_error_that_says_so(text: str) -> None:
    with pytest.raises(InputError, match="the stored content cannot be read"):
        Content.from_json(text)
