"""An import with its own clock through profile's handler: dated changes that no rule sees, and when it is over."""

import json
from typing import Any

from services.chassis.avro import Codec
from services.chassis.records import Decision, Record
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_ledger import FakeLedger
from services.profile.core.calendar import DAY_MS
from services.profile.core.state import FLAG_EVENT_CLOCK, FLAG_IMPORT
from services.profile.handler import ProfileHandler
from tests.unit.profile.profile_builders import CONFIG, CUTS, NOW_MS, TODAY

TOUCHPOINT, CHANGE, PROFILE = Codec("touchpoint"), Codec("profile_change"), Codec("profile")
START_MS = CONFIG.calendar.start_ms(TODAY - 300) + DAY_MS // 2
QUIET_MS = 60_000


def handler() -> ProfileHandler:
    return ProfileHandler(Slot("profile", 0), FakeLedger(), {}, CONFIG, 1, lambda: CUTS, 0)


def event(n: int, at_ms: int, is_live: bool = False, customer: str = "anna") -> Record:
    value = TOUCHPOINT.encode(
        {
            "event_id": f"e{n}", "source": "shop", "type": "track", "name": "Logged In", "identifiers": ["phone:1"],
            "occurred_at": at_ms, "received_at": NOW_MS, "flags": 0 if is_live else FLAG_IMPORT | FLAG_EVENT_CLOCK,
        }
    )  # fmt: skip
    headers = {"kind": b"event", "n": b"%d" % n, "src": b"1.0.%d" % n, "node": b"phone:1"}
    return Record("touchpoints.resolved", 0, n, customer.encode(), value, headers, NOW_MS)


def changes(decision: Decision | None) -> list[dict[str, Any]]:
    assert decision is not None
    return [CHANGE.decode(output.value) for output in decision.outputs if output.topic == "profile.changes"]


def snapshot(decision: Decision | None) -> dict[str, Any]:
    assert decision is not None
    return [PROFILE.decode(output.value) for output in decision.outputs if output.topic == "profiles"][-1]


def tags(decision: Decision | None) -> set[str]:
    return {tag["name"] for tag in json.loads(snapshot(decision)["tags"])}


def test_what_fell_due_between_two_events_is_dated_and_silent() -> None:
    decision = handler().decide([event(1, START_MS), event(2, START_MS + 200 * DAY_MS)], [], NOW_MS)
    (risk,) = [one for one in changes(decision) if "at_risk" in one["tags_added"]]
    assert (risk["kind"], risk["is_import"], risk["event_id"]) == ("tick", True, "e2")
    assert risk["occurred_at"] == CONFIG.calendar.start_ms(TODAY - 300 + 91)
    assert risk["changed_at"] == NOW_MS
    assert risk["cause"] == "1.0.1"
    (back,) = [one for one in changes(decision) if "at_risk" in one["tags_removed"]]
    assert (back["kind"], back["event_id"]) == ("event", "e2")
    assert decision is not None
    whens = [dict(output.headers)["when"] for output in decision.outputs if output.topic == "profile.changes"]
    assert all(b"i" in when.rpartition(b"\x1f")[2] for when in whens)


def test_customers_live_on_until_now_when_the_import_is_over_and_not_before() -> None:
    one = handler()
    first = one.decide([event(1, START_MS)], [], NOW_MS)
    assert "at_risk" not in tags(first)
    assert first is not None
    assert first.due == {"anna": NOW_MS + QUIET_MS}
    one.decide([event(1, START_MS, customer="bert")], [], NOW_MS + QUIET_MS - 1)
    still = one.decide([], ["anna"], NOW_MS + QUIET_MS)
    assert still is not None
    assert changes(still) == []
    assert still.due == {"anna": NOW_MS + 2 * QUIET_MS}
    over = one.decide([], ["anna"], NOW_MS + 2 * QUIET_MS)
    began = {tag: change["occurred_at"] for change in changes(over) for tag in change["tags_added"]}
    assert began["at_risk"] == CONFIG.calendar.start_ms(TODAY - 300 + 91)
    assert [change["stage_to"] for change in changes(over) if change["stage_from"] != change["stage_to"]] == ["dormant"]
    assert all(change["is_import"] for change in changes(over))
    assert over is not None
    assert over.due["anna"] > NOW_MS + DAY_MS // 2


def test_the_end_of_a_history_is_told_when_nothing_changes_by_it() -> None:
    """Once, and silently: a rebuild reads there from when on the wall's clock counts."""
    one = handler()
    one.decide([event(1, NOW_MS - DAY_MS)], [], NOW_MS)
    (end,) = changes(one.decide([], ["anna"], NOW_MS + QUIET_MS))
    assert (end["kind"], end["event_id"], end["is_import"], end["occurred_at"]) == ("tick", "", True, end["changed_at"])
    assert (end["tags_added"], end["tags_removed"], end["stage_from"] == end["stage_to"]) == ([], [], True)
    assert changes(one.decide([], ["anna"], NOW_MS + 2 * QUIET_MS)) == []


def test_a_new_owner_does_not_take_the_import_for_over() -> None:
    before = handler()
    before.decide([event(1, START_MS)], [], NOW_MS)
    after = handler()
    after._cache = before._cache
    decision = after.decide([], ["anna"], NOW_MS + 10 * QUIET_MS)
    assert changes(decision) == []


def test_a_clock_that_is_put_back_neither_ends_what_time_began_nor_begins_it_again() -> None:
    """At midnight at_risk begins; the clock goes back behind midnight, and comes to it once more."""
    one = handler()
    midnight_ms = CONFIG.calendar.start_ms(TODAY)
    one.decide([event(1, CONFIG.calendar.start_ms(TODAY - 91) + 1, is_live=True)], [], midnight_ms - DAY_MS)
    (risk,) = [c for c in changes(one.decide([], ["anna"], midnight_ms)) if "at_risk" in c["tags_added"]]
    assert risk["occurred_at"] == midnight_ms
    for now_ms in (midnight_ms - 2_000, midnight_ms - 1, midnight_ms, midnight_ms + 5_000):
        decision = one.decide([], ["anna"], now_ms)
        assert changes(decision) == []
        assert "at_risk" in tags(decision)


def test_an_event_after_the_clock_was_put_back_leaves_what_time_began() -> None:
    one = handler()
    midnight_ms = CONFIG.calendar.start_ms(TODAY)
    old_ms = CONFIG.calendar.start_ms(TODAY - 91) + 1
    one.decide([event(1, old_ms, is_live=True)], [], midnight_ms - DAY_MS)
    one.decide([], ["anna"], midnight_ms)
    late = event(2, old_ms + 1, is_live=True)
    (change,) = changes(one.decide([late], [], midnight_ms - 2_000))
    assert (change["tags_added"], change["tags_removed"]) == ([], [])


def test_a_clock_that_was_days_ahead_is_not_waited_for() -> None:
    """Nobody is left at risk for a year because a clock was wrong for a minute."""
    one = handler()
    one.decide([event(1, NOW_MS, is_live=True)], [], NOW_MS)
    assert "at_risk" in tags(one.decide([], ["anna"], NOW_MS + 100 * DAY_MS))
    assert "at_risk" not in tags(one.decide([], ["anna"], NOW_MS + DAY_MS))
