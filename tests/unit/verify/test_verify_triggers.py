"""Triggers come from events, and their deliveries are in ClickHouse or still known to notify."""

from collections.abc import Iterator
from typing import Any, cast

from cli.verify.model import Check
from cli.verify.touchpoints import Outcomes
from cli.verify.triggers import TriggersHop
from services.chassis.clickhouse import Clickhouse
from services.chassis.ids import stable_id
from services.chassis.records import Record
from services.chassis.redis.client import RedisClient
from tests.unit.verify.verify_builders import cut, record, standing


class House:
    """ClickHouse: what it says to the questions of the hop."""

    def __init__(
        self, repeated: list[tuple[object, ...]], unfinished: list[tuple[object, ...]], there: list[str]
    ) -> None:
        self.answers, self.there = [repeated, unfinished], there

    def stream_rows(self, sql: str, params: object) -> Iterator[tuple[object, ...]]:
        yield from self.answers.pop(0)

    def query_rows(self, sql: str, params: object) -> list[dict[str, str]]:
        return [{"delivery_id": name} for name in self.there]


class Notify:
    """notify's Redis: state by delivery id, asked in a pipeline."""

    def __init__(self, states: dict[str, bytes]) -> None:
        self.states, self.asked = states, list[str]()

    def pipeline(self, transaction: bool) -> "Notify":
        self.asked = []
        return self

    def hget(self, key: str, field: str) -> None:
        self.asked.append(key.rpartition(":")[2])

    def execute(self) -> list[bytes | None]:
        return [self.states.get(name) for name in self.asked]


def checks(
    records: list[Record], states: dict[str, bytes] | None = None, repeated: list[tuple[object, ...]] | None = None,
    unfinished: list[tuple[object, ...]] | None = None, there: list[str] | None = None, has_arrived: bool = True,
) -> list[Check]:  # fmt: skip
    """A hop that has seen these triggers, where only touchpoints/0 offset 1 became an event."""
    found = cut(
        standing("identity", "touchpoints", 9), ends={("touchpoints", 0): 9, ("triggers", 0): 9}, notified={0: 5}
    )
    outcomes = Outcomes(found)
    outcomes.event(record(0, src="1.0.1"))
    value = {"trigger_id": "t", "rule": "r", "actions": '[{"sink": {}}, {"sink": {}}]'}
    house = House(repeated or [], unfinished or [], there or [])
    hop = TriggersHop(
        found, outcomes, cast(Clickhouse, house), cast(RedisClient, Notify(states or {})), lambda raw: value
    )
    for one in records:
        assert hop.see(one) == "t"
    hop.match()
    hop.settle(has_arrived)
    return hop.check(0)


def named(found: list[Check]) -> dict[str, tuple[str, ...]]:
    return {one.what: one.examples for check in found for one in check.differences}


def fired(src: str) -> list[Record]:
    return [record(0, "triggers", src=src)]


def test_a_trigger_whose_cause_is_an_event_or_a_hand_over_is_no_difference() -> None:
    for src in ("1.0.1", "1.0.2.0", "2.0.2", "1.0.99"):  # an event, an unlink's, another log's, of before the log
        fine = checks(fired(src))
        assert named(fine) == {}
        assert [check.got for check in fine] == [1, 2]


def test_a_trigger_without_an_event_behind_it_is_named() -> None:
    assert named(checks(fired("1.0.2"))) == {
        "triggers whose cause is no event": ("t of rule r: touchpoints/0 offset 2",)
    }


def test_a_trigger_that_fired_twice_is_named() -> None:
    found = checks(fired("1.0.1"), repeated=[("t", 3)])
    assert named(found) == {"triggers that fired more than once": ("t (3 times)",)}
    assert found[0].differences[0].count == 2


FIRST, SECOND = stable_id("t", "0"), stable_id("t", "1")
UNFINISHED: list[tuple[object, ...]] = [("t", 0, 4, 2, [FIRST])]


def test_a_delivery_that_waits_in_notify_is_on_its_way() -> None:
    found = checks(fired("1.0.1"), {SECOND: b"q"}, unfinished=UNFINISHED)
    assert named(found) == {}
    assert found[1].waiting == 9 - 5 + 1


def test_a_delivery_that_notify_does_not_know_is_named() -> None:
    assert named(checks(fired("1.0.1"), unfinished=UNFINISHED)) == {
        "deliveries that neither ended nor wait in notify": (f"delivery {SECOND} of trigger t",)
    }
    beyond: list[tuple[object, ...]] = [("t", 0, 5, 2, [FIRST])]  # notify has not come to that trigger
    assert named(checks(fired("1.0.1"), unfinished=beyond)) == {}


def test_a_delivery_that_ended_must_have_its_row_once_everything_has_arrived() -> None:
    ended = {SECOND: b"delivered"}
    assert named(checks(fired("1.0.1"), ended, unfinished=UNFINISHED, there=[SECOND])) == {}
    assert named(checks(fired("1.0.1"), ended, unfinished=UNFINISHED, has_arrived=False)) == {}
    assert named(checks(fired("1.0.1"), ended, unfinished=UNFINISHED)) == {
        "deliveries that ended without a record in ClickHouse": (f"delivery {SECOND} of trigger t",)
    }


def test_without_triggers_nothing_is_asked() -> None:
    nothing: Any = checks([])
    assert [check.expected for check in nothing] == [0, 0]
