"""A campaign that is damaged in the database costs its own messages, never the worker."""

from __future__ import annotations

import pytest

from mailer.content import Content
from mailer.service.contents import Unusable, make_usable
from mailer.store import StoredContent

BODY = Content(sender="News <news@example.com>", subject="Hello", text="Hello\n").to_json()


@pytest.mark.parametrize("settings", ["", "[]", "null", "{", "{}", '{"today": "soon"}', '{"today": 7}'])
def test_settings_that_cannot_be_read_make_a_campaign_unusable(settings: str) -> None:
    made = make_usable(
        StoredContent(
            name="spring", kind="campaign", digest="", body=BODY, settings=settings, author="news@example.com",
            envelope_from="news@example.com", relays=(), blobs={},
        )
    )  # fmt: skip
    assert isinstance(made, Unusable)
    assert "hold no date" in made.reason
