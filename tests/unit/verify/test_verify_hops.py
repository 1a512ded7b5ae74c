"""The hops one by one: what has no outcome, no change, no row, another number; each planted and named."""

from collections.abc import Sequence
from typing import Any

import pytest

from cli.verify.customers import Seen, graph_problem, snapshot_problem
from cli.verify.cut import Cut
from cli.verify.facts import FactsHop
from cli.verify.leftovers import channels_check, dead_check
from cli.verify.log import Log
from cli.verify.model import EXAMPLES, Check, Names
from cli.verify.numbers import Channel
from cli.verify.tables import compared, weighted
from cli.verify.touchpoints import Judge, Outcomes, TouchpointsHop
from services.chassis.errors import Poison
from services.chassis.records import Record
from services.identity.adapters import load_policy
from services.profile.adapters import load_config
from services.profile.core.customer_log import CustomerState, Held
from services.profile.core.fold import fold
from services.profile.core.state import Conclusion, Event
from tests.unit.verify.verify_builders import CUSTOMER, cut, record, standing

POLICY = load_policy("deploy/config/identity.yaml")
CONFIG = load_config("deploy/config/profile.yaml", "deploy/config/tags.yaml", "Asia/Shanghai")
NODES = {"user_id:erased": b"e" * 17}


def named(check: Check) -> dict[str, tuple[str, ...]]:
    return {difference.what: difference.examples for difference in check.differences}


def test_names_count_all_and_keep_a_few() -> None:
    names = Names("lost", "look")
    assert names.differences() == ()
    for number in range(9):
        names.add(str(number))
    (difference,) = names.differences()
    assert (difference.count, len(difference.examples)) == (9, EXAMPLES)


def touchpoint(value: bytes | None) -> dict[str, Any]:
    """`type source event_id identifier` as a decoded touchpoint."""
    words = (value or b"").decode().split()
    if len(words) != 4:
        raise Poison("not four words")
    return {
        "type": words[0],
        "source": words[1],
        "event_id": words[2],
        "identifiers": [words[3]],
        "flags": 0,
        "properties": b"",
    }


def touchpoints(values: Sequence[str], events: Sequence[int], dead: Sequence[int] = (), position: int = 99) -> Check:
    """A partition with these touchpoints, of which `events` (offsets) are in touchpoints.resolved."""
    end = len(values)
    outcomes = Outcomes(cut(standing("identity", "touchpoints", position), ends={("touchpoints", 0): end}))
    for at, offset in enumerate(events):
        outcomes.event(record(at, src=f"1.0.{offset}"))
    for offset in dead:
        outcomes.dead_letter(0, offset)
    archived = {("shop", "e0"): {(0, 0)}}
    judge = Judge(
        POLICY, lambda name: NODES.get(name, b"n" * 17), touchpoint, lambda ids: archived,
        lambda nodes: [node in NODES.values() for node in nodes],
    )  # fmt: skip
    hop = TouchpointsHop(
        cut(standing("identity", "touchpoints", position), ends={("touchpoints", 0): end}), outcomes, judge
    )
    hop.read(0, (Record("touchpoints", 0, at, b"", value.encode(), {}, 1) for at, value in enumerate(values)))
    hop.settle(True)
    return hop.check()


def test_every_touchpoint_has_an_outcome_or_a_reason() -> None:
    check = touchpoints(
        [
            "track shop e0 user_id:a", "track shop e0 user_id:a", "track shop e2 user_id:erased",
            "unlink shop e3 user_id:a", "unreadable", "track shop e5 user_id:a",
        ],
        events=[0], dead=[4], position=5,
    )  # fmt: skip
    assert (check.expected, check.got, check.waiting, check.differences) == (5, 5, 1, ())
    assert check.note == "1 events, 1 dead letters, 1 client duplicates, 1 for erased identifiers, 1 operations"


def test_a_touchpoint_of_which_nothing_came_is_named() -> None:
    check = touchpoints(["track shop e0 user_id:a", "track shop e1 user_id:a", "unreadable"], events=[0])
    assert named(check)["touchpoints of which nothing came"] == (
        "touchpoints/0 offset 2 (unreadable, no dead letter)",
        "touchpoints/0 offset 1 (event e1 of shop)",
    )
    assert check.got == check.expected - 2


def test_the_same_event_of_another_source_or_at_the_same_place_explains_nothing() -> None:
    assert touchpoints(["track other e0 user_id:a"], events=[]).differences
    assert touchpoints(["track shop e0 user_id:a"], events=[]).differences  # ClickHouse has it, the topic lost it


def test_an_event_that_is_resolved_twice_is_named() -> None:
    check = touchpoints(["track shop e0 user_id:a"], events=[0, 0])
    assert named(check)["events that stand in touchpoints.resolved twice"] == (
        "touchpoints/0 offset 0, again at touchpoints.resolved/0 offset 1",
    )


class Facts:
    """A partition of touchpoints.resolved with three events and a merge's take, all worked by profile."""

    def __init__(self, position: int = 99) -> None:
        ends = {("touchpoints", 0): 10, ("touchpoints.resolved", 0): 9, ("profile.changes", 0): 9}
        ledgers = standing("identity", "touchpoints", 10), standing("profile", "touchpoints.resolved", position)
        found = cut(*ledgers, ends=ends)
        self.outcomes = Outcomes(found)
        self.hop = FactsHop(found, self.outcomes, lambda value: {"kind": "took", "cause": "1.0.4.0"})
        self.records = [
            *(record(at, kind="event", n=at + 1, src=f"1.0.{at}") for at in range(3)),
            record(3, kind="take", n=4, src="1.0.4"),
        ]

    def check(self, *facts: Record, held: Sequence[int] = (), dead: Sequence[int] = ()) -> Check:
        self.hop.dead = {(0, offset) for offset in dead}
        self.hop.begin(0)
        for one in self.records:
            self.hop.record(one, self.outcomes.event(one) if one.headers["kind"] == b"event" else None)
        for fact in facts:
            self.hop.fact(fact)
        self.hop.end(lambda: iter(self.records), lambda ids: dict.fromkeys(ids, (1, frozenset(held))))
        return self.hop.check()


def fact(offset: int, place: int, when: str = "Viewed\x1f") -> Record:
    return record(offset, "profile.changes", src=f"1.0.{place}", when=when)


TAKEN = fact(3, 4, "\x1fh")


def test_every_record_of_the_log_has_one_change() -> None:
    check = Facts().check(fact(0, 0), fact(1, 1), fact(2, 2), TAKEN)
    assert (check.expected, check.got, check.differences) == (4, 4, ())


def test_what_profile_has_not_reached_holds_or_cannot_read_is_not_asked_for() -> None:
    check = Facts(position=2).check(fact(0, 0), fact(1, 1))
    assert (check.expected, check.got, check.waiting, check.differences) == (2, 2, 2, ())
    check = Facts().check(fact(0, 0), fact(1, 1), held=[4], dead=[2])
    assert (check.expected, check.got, check.waiting, check.differences) == (2, 2, 1, ())


def test_a_record_without_a_change_is_named_with_its_customer() -> None:
    check = Facts().check(fact(0, 0), fact(2, 2))
    assert named(check) == {
        "records of which profile made nothing": (
            f"touchpoints.resolved/0 offset 1: customer {CUSTOMER} n 2, touchpoints/0 offset 1",
            f"touchpoints.resolved/0 offset 3: customer {CUSTOMER} n 4, a hand-over or end",
        )
    }


def test_a_second_change_and_one_from_nowhere_are_named() -> None:
    check = Facts().check(fact(0, 0), fact(1, 1), fact(2, 2), fact(3, 1), fact(4, 9), TAKEN)
    assert named(check) == {
        "records of which profile made two changes": (
            "touchpoints/0 offset 1, again at profile.changes/0 offset 3",
        ),
        "changes without their record": ("profile.changes/0 offset 4: touchpoints/0 offset 9",),
    }  # fmt: skip


MINE = [((offset, 0), weighted(offset, 0, 7)) for offset in (1, 2, 4)]


def rows(*offsets: int, times: int = 1, weight: int = 7) -> list[tuple[int, int, int, int]]:
    return [(offset, 0, weighted(offset, 0, weight), times) for offset in offsets]


@pytest.mark.parametrize(
    ("theirs", "found"),
    [
        (rows(1, 2, 4), []),
        (rows(1, 4), [((2, 0), "missing")]),
        (rows(1, 2), [((4, 0), "missing")]),
        ([], [((1, 0), "missing"), ((2, 0), "missing"), ((4, 0), "missing")]),
        (rows(0, 1, 2, 3, 4, 5), [((0, 0), "strange"), ((3, 0), "strange"), ((5, 0), "strange")]),
        (rows(1) + rows(2, times=3) + rows(4), [((2, 0), "doubled")]),
        (rows(1) + rows(2, weight=8) + rows(4), [((2, 0), "altered")]),
        (rows(1, 2) + rows(4) + rows(4, weight=9), [((4, 0), "altered")]),
    ],
)
def test_rows_are_compared_key_by_key(theirs: list[tuple[int, int, int, int]], found: list[object]) -> None:
    assert list(compared(iter(MINE), iter(theirs))) == found


def bought(minor: int = 500) -> CustomerState:
    order = Event("e1", "track", "Order Completed", "shop", "1.0.1", 1_750_000_000_000, "o1", minor, "CNY")
    return CustomerState(2, 3, {"user_id:1": fold(None, order, CONFIG)}, Conclusion({}, "first_purchase", 1))


SNAPSHOT = {
    "rev": 3, "n": 2, "events": 1, "frequency": 1, "monetary_minor": 500, "currency": "CNY", "stage": "first_purchase",
    "updated_ms": 1_750_000_100_000,
}  # fmt: skip


def seen(state: CustomerState | None, graph_n: int | None = 2, snapshot: dict[str, Any] | None = None) -> Seen:
    return Seen(CUSTOMER, graph_n, state, SNAPSHOT if snapshot is None else snapshot or None)


def test_a_customer_that_is_the_same_everywhere_is_no_problem() -> None:
    assert (graph_problem(seen(bought())), snapshot_problem(seen(bought()), CONFIG)) == ("", "")


@pytest.mark.parametrize("field", ["n", "events", "frequency", "monetary_minor", "currency", "stage", "rev"])
def test_a_snapshot_that_differs_in_any_field_is_named(field: str) -> None:
    other = {**SNAPSHOT, field: "x" if isinstance(SNAPSHOT[field], str) else 99}
    problem = snapshot_problem(seen(bought(), snapshot=other), CONFIG)
    assert ("revision" if field == "rev" else field) in problem


def test_a_customer_that_one_place_lacks_is_named() -> None:
    assert "not in ClickHouse" in snapshot_problem(seen(bought(), snapshot={}), CONFIG)
    assert "Redis does not have" in snapshot_problem(seen(None), CONFIG)
    assert "profile has no state" in graph_problem(seen(None))
    assert "not in the graph" in graph_problem(seen(bought(), None))


def test_numbers_that_profile_has_not_worked_are_named_unless_the_customer_waits() -> None:
    state = bought()
    assert graph_problem(seen(state, 5)) == "the graph has given out 5 numbers, profile has worked 2"
    assert graph_problem(seen(state, 1)) == "the graph has given out 1 numbers, profile has worked 2"
    state.held[4] = Held("event", "", "", b"")
    assert graph_problem(seen(state, 5)) == ""


def test_channels_are_held_against_what_every_ledger_has_sent() -> None:
    found = cut(standing("rules", "profile.changes", 9, base={"triggers/0": 3}), relayed={0: 2})
    log = Log("", found, lambda step: None)
    for topic, last in (("triggers", 2), ("deliveries", 2)):
        log.channels[topic, 0] = Channel(topic, 0, True)
        for number in range(1, last + 1):
            log.channels[topic, 0].takes(record(number, topic, seq=f"0:{number}"))
    check = channels_check(found, log)
    assert (check.expected, check.got) == (5, 4)
    assert named(check)["numbers of the relay missing in a topic"][0].startswith("triggers/0: 0:3 acknowledged")


@pytest.mark.parametrize(("there", "differs"), [(2, False), (3, False), (1, True)])
def test_fewer_dead_letters_than_were_sent_are_named(there: int, differs: bool) -> None:
    found: Cut = cut(
        standing("archive.triggers", "triggers", 9, base={"archive.dead/0": 1}),
        standing("archive.deliveries", "deliveries", 9, base={"archive.dead/0": 1}),
        ends={("archive.dead", 0): there},
    )
    check = dead_check(found, {"archive.dead": there})
    assert bool(check.differences) is differs
    assert (check.got < check.expected) is differs
