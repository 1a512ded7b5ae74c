"""New thresholds: every customer is looked at again, also when the next ones come before the last customer."""

from typing import cast

import msgspec

from services.chassis.redis.ledger import LedgerPort
from services.chassis.redis.slots import Slot
from services.profile.core.state import Thresholds
from services.profile.sweep import Sweep
from tests.unit.profile.profile_builders import CUTS

PAGES = [["anna"], ["bert"], ["carl"]]


class Scanned:
    """A timer index that is seen in three pages, as ZSCAN shows it."""

    def scan_due(self, slot: Slot, cursor: int, count: int) -> tuple[int, list[str]]:
        return (cursor + 1) % len(PAGES), PAGES[cursor]

    def get_many(self, keys: list[str]) -> list[bytes | None]:
        return [None for _ in keys]


class Cuts:
    """The thresholds in use."""

    def __init__(self) -> None:
        self.now: Thresholds | None = None

    def renew(self) -> None:
        self.now = CUTS if self.now is None else msgspec.structs.replace(self.now, version=self.now.version + 1)

    def __call__(self) -> Thresholds | None:
        return self.now


def sweep_of(cuts: Cuts) -> Sweep:
    return Sweep(Slot("profile", 0), cast(LedgerPort, Scanned()), cuts, {})


def test_without_thresholds_nobody_is_looked_at_again() -> None:
    assert sweep_of(Cuts()).some() == []


def test_new_thresholds_are_for_everybody_once() -> None:
    cuts = Cuts()
    one = sweep_of(cuts)
    for _ in range(2):
        cuts.renew()
        assert [one.some() for _ in range(5)] == [*PAGES, [], []]


def test_thresholds_that_change_all_the_time_reach_the_last_customer() -> None:
    cuts = Cuts()
    one, seen = sweep_of(cuts), []
    for _ in range(2 * len(PAGES)):
        cuts.renew()
        seen.append(one.some())
    assert seen == PAGES * 2


def test_who_was_seen_before_the_change_is_seen_again_in_the_next_circle() -> None:
    cuts = Cuts()
    one = sweep_of(cuts)
    cuts.renew()
    seen = [one.some(), one.some()]
    cuts.renew()
    assert seen + [one.some() for _ in range(5)] == [*PAGES, *PAGES, []]
