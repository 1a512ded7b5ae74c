"""A history replayed with its own clock comes to what a service that lived through it day by day came to."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.core import customer_log as log
from services.profile.core.customer_log import Context, CustomerState, Fact, LogRecord
from services.profile.core.state import FLAG_EVENT_CLOCK, FLAG_IMPORT, Event
from tests.unit.profile.profile_builders import CONFIG, CUTS, NOW_MS, TODAY

DAYS = 420
NAMES = ("Product Viewed", "Logged In", "Order Completed", "Message Opened", "Article Viewed", "Product Shared")
CALENDAR = CONFIG.calendar


@dataclass
class One:
    """A customer and what is told of it."""

    state: CustomerState = field(default_factory=CustomerState)
    facts: list[Fact] = field(default_factory=list)

    def context(self, now_ms: int, is_import_over: bool = True) -> Context:
        def no_record(*_: object) -> Any:
            raise AssertionError("nothing is held back")

        return Context(now_ms, CONFIG, CUTS, lambda *_: "", no_record, {}, is_import_over=is_import_over)

    def take(self, event: Event, context: Context, node: str = "n:1") -> None:
        log.define(self.state, "anna", context, self.facts)
        record = LogRecord("event", "anna", self.state.n + 1, node, event.place, event.occurred_at, event)
        log.advance(self.state, record, context, self.facts)

    def tick(self, context: Context) -> None:
        log.tick(self.state, "anna", context, self.facts)

    def history(self) -> list[tuple[object, ...]]:
        """(day, tags that began with anchor and reason, tags that ended, stage before and after) of every change."""
        told = []
        for fact in self.facts:
            changes = fact.changes
            if changes.is_empty():
                continue
            at_ms = fact.record.event.occurred_at if fact.record and fact.record.event else fact.due_ms
            told.append((CALENDAR.day(at_ms), changes.tags_added, changes.tags_removed, changes.stage_from,
                         changes.stage_to))  # fmt: skip
        return told


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, Event]]:
    """(node, event) by time; some days many, some months none."""
    moments = sorted(draw(st.lists(st.integers(0, DAYS * 24 - 1), min_size=1, max_size=14)))
    found = []
    for number, hour in enumerate(moments):
        name = draw(st.sampled_from(NAMES))
        amount = draw(st.sampled_from((500, 4_700, 60_000))) if name == "Order Completed" else 0
        at_ms = CALENDAR.start_ms(TODAY - DAYS) + hour * 3_600_000 + number
        event = Event(
            f"e{number}", "track", name, "shop", f"1.0.{number}", at_ms, f"o{number}" if amount else "", amount,
            "CNY" if amount else "",
        )  # fmt: skip
        found.append((draw(st.sampled_from(("n:1", "n:2"))), event))
    return found


def lived(history: list[tuple[str, Event]]) -> One:
    """Looked at every morning, whether due or not; what a tick tells is dated to that morning."""
    one, left = One(), list(history)
    for day in range(TODAY - DAYS, TODAY + 1):
        morning_ms, before = CALENDAR.start_ms(day), len(one.facts)
        one.tick(one.context(morning_ms))
        one.facts[before:] = [msgspec.structs.replace(fact, due_ms=morning_ms) for fact in one.facts[before:]]
        while left and CALENDAR.day(left[0][1].occurred_at) == day:
            node, event = left.pop(0)
            one.take(event, one.context(event.occurred_at), node)
    return one


def replayed(history: list[tuple[str, Event]], batch: int) -> One:
    """The same as an import with its own clock, today, in batches; then the import is over."""
    one = One()
    for at in range(0, len(history), batch):
        context = one.context(NOW_MS, is_import_over=False)
        one.tick(context)  # due, but the import goes on
        for node, event in history[at : at + batch]:
            one.take(msgspec.structs.replace(event, flags=FLAG_IMPORT | FLAG_EVENT_CLOCK), context, node)
        assert one.state.is_history
    one.tick(one.context(NOW_MS))
    assert not one.state.is_history
    return one


@settings(max_examples=150, deadline=None)
@given(histories(), st.integers(1, 6))
def test_tags_and_stages_have_the_history_they_would_have_had(history: list[tuple[str, Event]], batch: int) -> None:
    then, now = lived(history), replayed(history, batch)
    assert now.history() == then.history()
    assert now.state.conclusion == then.state.conclusion
    assert now.state.parts == then.state.parts


@settings(max_examples=50, deadline=None)
@given(histories())
def test_without_the_clock_an_import_tells_only_what_holds_today(history: list[tuple[str, Event]]) -> None:
    """The difference that the clock makes: without it nothing begins or ends by time."""
    one = One()
    for node, event in history:
        one.take(msgspec.structs.replace(event, flags=FLAG_IMPORT), one.context(NOW_MS), node)
    assert not any(fact.kind == "tick" for fact in one.facts)
    assert not one.state.is_history


def test_history_has_transitions() -> None:
    """Three visits and a year of silence: at risk after 90 days, dormant, churned, each on its day."""
    start = CALENDAR.start_ms(TODAY - DAYS)
    visits = [("n:1", Event(f"e{n}", "track", "Logged In", "shop", f"1.0.{n}", start + n)) for n in range(3)]
    told = replayed(visits, 2).history()
    began = {tag: day - (TODAY - DAYS) for day, added, _, _, _ in told for tag, _, _ in added}  # type: ignore[attr-defined, operator]
    assert began["at_risk"] == 91
    stages = [(to, day - (TODAY - DAYS)) for day, _, _, before, to in told if before != to]  # type: ignore[operator]
    assert stages == [("prospect", 0), ("dormant", 181), ("churned", 366)]


def test_something_live_ends_the_history() -> None:
    """What fell due before it is told first, silently; the live event itself is judged now, and so is what follows."""
    start = CALENDAR.start_ms(TODAY - DAYS)
    one, context = One(), One().context(NOW_MS, is_import_over=False)
    one.take(Event("e0", "track", "Logged In", "shop", "1.0.0", start, flags=FLAG_IMPORT | FLAG_EVENT_CLOCK), context)
    one.take(Event("e1", "track", "Logged In", "shop", "1.0.1", NOW_MS), context)
    assert [(fact.kind, fact.changes.stage_to) for fact in one.facts] == [
        ("event", "prospect"), *[("tick", fact.changes.stage_to) for fact in one.facts[1:-1]], ("event", "prospect"),
    ]  # fmt: skip
    assert {"dormant", "churned"} <= {fact.changes.stage_to for fact in one.facts[1:-1]}
    assert all(fact.due_ms and fact.event_id == "e1" for fact in one.facts[1:-1])
    assert not one.state.is_history
    late = Event("e2", "track", "Logged In", "shop", "1.0.2", start + 1, flags=FLAG_IMPORT | FLAG_EVENT_CLOCK)
    before = len(one.facts)
    one.take(late, context)
    assert [fact.kind for fact in one.facts[before:]] == ["event"]


def test_the_clock_of_a_history_never_goes_back() -> None:
    start = CALENDAR.start_ms(TODAY - DAYS)
    one, context = One(), One().context(NOW_MS, is_import_over=False)
    for number, day in enumerate((0, 200, 100)):
        at_ms = start + day * 86_400_000
        one.take(Event(f"e{number}", "track", "Logged In", "shop", f"1.0.{number}", at_ms,
                       flags=FLAG_IMPORT | FLAG_EVENT_CLOCK), context)  # fmt: skip
    assert one.state.day == TODAY - DAYS + 200
    days = [CALENDAR.day(fact.due_ms) - (TODAY - DAYS) for fact in one.facts if fact.kind == "tick"]
    assert days == sorted(days)
    assert max(days) <= 200
