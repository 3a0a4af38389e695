"""Compiled campaigns: made once, kept while there is room, made anew when they are needed again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.store import Clock, no_rest, queue, recipients
from support.worker import campaign, letter

from mailer.errors import NotFound
from mailer.service.contents import Contents, Unusable, Usable
from mailer.store import Store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    path = tmp_path / "mailer.db"
    async with await Store.open(path, create=True, synchronous="off", clock=Clock(), rest=no_rest) as store:
        yield store


async def test_a_version_is_compiled_once(store: Store) -> None:
    one = await queue(store, "one", recipients(1), campaign())
    contents = Contents(store)
    assert await contents.get(one, 1) is await contents.get(one, 1)


async def test_what_has_not_been_used_for_longest_makes_room(store: Store) -> None:
    ids = [await queue(store, name, recipients(1), campaign(letter(subject=name))) for name in ("one", "two", "three")]
    made = await Contents(store).get(ids[0], 1)
    assert isinstance(made, Usable)
    contents = Contents(store, most_bytes=made.compiled.size_bytes * 5 // 2)  # two fit, three do not
    one, two = [await contents.get(ids[n], 1) for n in (0, 1)]
    assert await contents.get(ids[0], 1) is one
    await contents.get(ids[2], 1)
    assert await contents.get(ids[0], 1) is one, "it was used a moment ago"
    assert await contents.get(ids[1], 1) is not two


async def test_what_is_larger_than_all_the_room_is_kept_while_it_is_in_use(store: Store) -> None:
    one = await queue(store, "one", recipients(1), campaign())
    contents = Contents(store, most_bytes=1)
    assert await contents.get(one, 1) is await contents.get(one, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"body": "[]"}, "the stored content cannot be read"),
        ({"body": letter(text="{% for %}").to_json()}, "its content cannot be used"),
        ({"settings": "{}"}, "the campaign's settings hold no date"),
        ({"settings": '{"today": 7}'}, "the campaign's settings hold no date"),
    ],
)
async def test_what_cannot_be_compiled_says_why_and_is_not_tried_again(
    store: Store, change: dict[str, Any], words: str
) -> None:
    one = await queue(store, "one", recipients(1), campaign(**change, digest="b" * 64))
    contents = Contents(store)
    found = await contents.get(one, 1)
    assert isinstance(found, Unusable)
    assert words in found.reason
    assert await contents.get(one, 1) is found


async def test_a_version_that_does_not_exist_is_an_error(store: Store) -> None:
    one = await queue(store, "one", recipients(1), campaign())
    with pytest.raises(NotFound):
        await Contents(store).get(one, 2)
