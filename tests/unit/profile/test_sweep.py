"""New thresholds: every customer is looked at again, also when the next ones come before the last customer."""

from typing import cast

import msgspec

from services.chassis.avro import Codec
from services.chassis.records import Record
from services.chassis.redis.ledger import LedgerPort
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_ledger import FakeLedger
from services.profile.core.state import Thresholds
from services.profile.handler import ProfileHandler
from services.profile.sweep import Sweep
from tests.regression.test_customer_log import TOPIC, TOUCHPOINT
from tests.unit.profile.profile_builders import CONFIG, CUTS, NOW_MS, at

CHANGES, PROFILE_CHANGE = "profile.changes", Codec("profile_change")
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


def test_a_buyer_of_long_ago_whom_no_day_changes_any_more_is_scored_anew_as_well():
    ledger, slot, cuts = FakeLedger(), Slot("profile", 0), Cuts()
    cuts.renew()
    claim = ledger.claim(slot, TOPIC, "cluster", "topic", 0)
    handler = ProfileHandler(slot, ledger, claim.waits, CONFIG, 1, cuts, 0)
    records = [_touchpoint(0, "buyer", "Order Completed", 10_000), _touchpoint(1, "visitor", "Page Viewed", 0)]
    decision = handler.decide(records, [], NOW_MS)
    ledger.apply(claim, decision, {}, len(records), NOW_MS)
    sweep = Sweep(slot, ledger, cuts, {})
    found = []
    while names := sweep.some():
        found += names
    assert found == ["buyer"]
    assert ledger.due(slot, at(-100 * 365), 10) == []

    cuts.now = msgspec.structs.replace(CUTS, version=8, first_order_percentiles=tuple(range(10_001, 10_100)))
    (change,) = [output for output in handler.decide([], sweep.some(), NOW_MS).outputs if output.topic == CHANGES]
    assert list(PROFILE_CHANGE.decode(change.value)["tags_removed"]) == ["promising_first"]


def _touchpoint(number: int, customer: str, name: str, amount_minor: int) -> Record:
    """An event of 450 days ago: churned, and out of every window."""
    value = TOUCHPOINT.encode(
        {
            "event_id": customer, "source": "shop", "type": "track", "name": name, "identifiers": [f"phone:{customer}"],
            "occurred_at": at(450), "received_at": at(450), "amount_minor": amount_minor, "currency": "CNY",
        }
    )  # fmt: skip
    headers = {"kind": b"event", "n": b"1", "src": b"1.0.%d" % number, "node": f"phone:{customer}".encode()}
    return Record(TOPIC, 0, number, customer.encode(), value, headers, at(450))
