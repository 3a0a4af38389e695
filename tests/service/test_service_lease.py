"""A worker's lease: it ends no message once others may have taken it for dead."""

from __future__ import annotations

from dataclasses import dataclass

from mailer.core.clock import SECOND_US
from mailer.service.lease import Lease


@dataclass
class Clocks:
    """Both clocks, moved by hand."""

    wall: int = 1_000_000_000
    boot: int = 5_000_000

    def pass_by(self, seconds: float) -> None:
        self.wall += round(seconds * SECOND_US)
        self.boot += round(seconds * SECOND_US)


def lease_of(clocks: Clocks, seconds: int = 60) -> Lease:
    return Lease(seconds * SECOND_US, wall=lambda: clocks.wall, boot=lambda: clocks.boot)


def test_before_the_first_answered_exchange_nothing_may_be_ended() -> None:
    assert not lease_of(Clocks()).has_margin()


def test_the_own_limit_is_three_quarters_of_the_lease() -> None:
    clocks = Clocks()
    lease = lease_of(clocks)
    lease.renew(lease.now())
    clocks.pass_by(44.9)
    assert lease.has_margin()
    clocks.pass_by(0.1)
    assert not lease.has_margin()


def test_it_counts_from_the_beginning_of_the_exchange_not_from_its_answer() -> None:
    clocks = Clocks()
    lease = lease_of(clocks)
    begun_at = lease.now()
    clocks.pass_by(50)
    lease.renew(begun_at)
    assert not lease.has_margin()


def test_the_clock_that_has_advanced_more_decides() -> None:
    clocks = Clocks()
    lease = lease_of(clocks)
    lease.renew(lease.now())
    clocks.boot += 46 * SECOND_US
    clocks.wall -= 3_600 * SECOND_US
    assert not lease.has_margin(), "the machine slept and its wall clock was set back"
    lease.renew(lease.now())
    clocks.wall += 46 * SECOND_US
    assert not lease.has_margin(), "the wall clock jumped: others may judge by it"


def test_it_is_renewed_twelve_times_as_often_as_it_lasts() -> None:
    clocks = Clocks()
    lease = lease_of(clocks)
    assert lease.renewal_us == 5 * SECOND_US
    assert lease.age_us() >= lease.renewal_us, "the first renewal is due at once"
    lease.renew(lease.now())
    assert lease.age_us() == 0
