"""What a worker has in hand, and how many more it may take."""

from __future__ import annotations

from itertools import count

from mailer.core.message import Claimed, OnUncertain, State
from mailer.service.hand import Hand, Room

_numbers = count(1)


def claimed(relay: str = "a", campaign: int = 1) -> Claimed:
    number = next(_numbers)
    return Claimed(
        claim=number,
        message_id=number,
        campaign_id=campaign,
        lane_id=1,
        relay=relay,
        version=1,
        address="x@example.com",
        fields="{}",
        attempts=0,
        refusals=0,
        losses=0,
        first_refused_at_us=None,
        in_doubt=False,
        waited_as=State.QUEUED,
        due_at_us=0,
        expires_at_us=None,
        on_uncertain=OnUncertain.RESEND,
    )


def test_an_empty_hand_takes_what_the_relay_has_room_for() -> None:
    hand = Hand([Room("a", most=8, weight=1)], most=100)
    assert hand.places((), ["a"]) == {"a": 8}
    assert hand.count == 0


def test_what_is_in_hand_takes_its_place_until_it_is_recorded() -> None:
    hand = Hand([Room("a", most=3, weight=1)], most=100)
    messages = [claimed(), claimed()]
    hand.take(messages)
    assert hand.places((), ["a"]) == {"a": 1}
    assert hand.places(messages[:1], ["a"]) == {"a": 2}, "what leaves with the coming exchange makes room in it"
    assert hand.count == 2, "asking changes nothing"
    hand.release(messages)
    assert hand.places((), ["a"]) == {"a": 3}
    assert hand.campaigns == frozenset()


def test_all_relays_together_never_hold_more_than_the_most() -> None:
    hand = Hand([Room("a", most=8, weight=1), Room("b", most=8, weight=1)], most=10)
    free = hand.places((), ["a", "b"])
    assert sum(free.values()) == 10
    hand.take(claimed(relay) for relay, places in free.items() for _ in range(places))
    assert sum(hand.places((), ["a", "b"]).values()) == 0


def test_the_relay_that_is_served_least_for_its_weight_comes_first() -> None:
    hand = Hand([Room("light", most=10, weight=1), Room("heavy", most=10, weight=3)], most=100)
    hand.take([claimed("light"), claimed("heavy"), claimed("heavy")])
    assert list(hand.places((), ["light", "heavy"])) == ["heavy", "light"]


def test_a_closed_relay_gets_nothing() -> None:
    hand = Hand([Room("a", most=8, weight=1), Room("b", most=8, weight=1)], most=100)
    assert hand.places((), ["b"]) == {"b": 8}


def test_the_campaigns_in_hand_are_those_of_the_messages_in_hand() -> None:
    hand = Hand([Room("a", most=8, weight=1)], most=100)
    one, two = claimed(campaign=1), claimed(campaign=2)
    hand.take([one, two])
    assert hand.campaigns == {1, 2}
    hand.release([one])
    assert hand.campaigns == {2}
