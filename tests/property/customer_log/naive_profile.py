"""profile as one machine: every customer's events folded from scratch, in the order in which the graph decided.

Conclusions are profile's own (its core has tests of its own); what is checked against this is everything around them:
numbers, holding back, hand-overs, waiting, batches, partitions, crashes.
"""

from dataclasses import dataclass, field
from typing import Any

from services.profile.core.contribution import contribution
from services.profile.core.fold import fold
from services.profile.core.judgement import judgement
from services.profile.core.state import Changes, Conclusion, Event, Part
from services.profile.core.summary import profile_json
from services.profile.core.tags import conclude
from services.profile.core.timers import next_due_ms
from tests.property.customer_log.graph_feed import TOUCHPOINT, place_of
from tests.property.identity.naive_graph import LogItem
from tests.unit.profile.profile_builders import CONFIG, CUTS

NOTHING = Changes((), (), "", "")
Line = dict[str, Any]  # the fields of a profile_change that are compared


@dataclass
class Person:
    """What one machine knows of a customer."""

    n: int = 0
    events: dict[str, list[Event]] = field(default_factory=dict)
    conclusion: Conclusion | None = None
    lines: list[Line] = field(default_factory=list)

    def parts(self) -> dict[str, Part]:
        """Folded from scratch."""
        return {node: folded(events) for node, events in self.events.items() if events}

    def before(self) -> list[Conclusion]:
        """What held so far."""
        return [] if self.conclusion is None else [self.conclusion]


def folded(events: list[Event]) -> Part:
    """One node's part; the order of its events is of no consequence, so the reverse one is taken."""
    part: Part | None = None
    for event in reversed(events):
        part = fold(part, event, CONFIG)
    assert part is not None
    return part


class NaiveProfile:
    """`people` are those who exist; `ended` keeps the lines of the others."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.people: dict[str, Person] = {}
        self.ended: dict[str, Person] = {}
        self.dead: list[str] = []
        self.handed: dict[tuple[str, str], Person] = {}  # (hand-over, to)

    def step(self, items: list[LogItem], touchpoint: dict[str, Any] | None) -> None:
        """What one touchpoint caused."""
        for item in items:
            person = self.people.setdefault(item.customer, Person())
            assert item.n == person.n + 1
            person.n = item.n
            accepted_ms = touchpoint["received_at"] if touchpoint else 0
            getattr(self, f"_{item.kind}")(item, person, accepted_ms, touchpoint)

    def _event(self, item: LogItem, person: Person, accepted_ms: int, touchpoint: dict[str, Any] | None) -> None:
        if touchpoint is None:
            self.dead.append(place_of(item))
            return
        event = contribution(TOUCHPOINT.decode(TOUCHPOINT.encode(touchpoint)), place_of(item))
        is_first = all(event.name != other.name for events in person.events.values() for other in events)
        person.events.setdefault(item.touch.ids[0], []).append(event)
        line = {"event_id": event.event_id, "name": event.name, "node": item.touch.ids[0], "first": is_first}
        self._conclude(person, item, place_of(item), person.before(), event.occurred_at, accepted_ms, "event", line)

    def _give(self, item: LogItem, person: Person, accepted_ms: int, touchpoint: dict[str, Any] | None) -> None:
        cause = f"{place_of(item)}.{item.pieces[0][0]}"
        pieces = [{"handoff_id": f"{place_of(item)}.{k}", "to_id": to, "nodes": list(n)} for k, to, n in item.pieces]
        for k, to, nodes in item.pieces:
            moved = {x: events for x, events in person.events.items() if x in nodes or not nodes}
            self.handed[f"{place_of(item)}.{k}", to] = Person(0, moved, person.conclusion)
            person.events = {x: events for x, events in person.events.items() if x not in moved}
        if item.pieces[0][2]:
            self._conclude(person, item, cause, person.before(), accepted_ms, accepted_ms, "gave", {"pieces": pieces})
        else:
            person.lines.append(line_of(item, "gave", cause, accepted_ms, NOTHING, b"", {"pieces": pieces}))
            self.ended[item.customer] = self.people.pop(item.customer)

    def _take(self, item: LogItem, person: Person, accepted_ms: int, touchpoint: dict[str, Any] | None) -> None:
        handoff = f"{place_of(item)}.{item.k}"
        given = self._given(item, handoff)
        assert not person.events.keys() & given.events.keys()
        person.events |= given.events
        extra = {"handoff_id": handoff, "from_id": item.giver}
        before = person.before() + given.before()
        added = self._conclude(person, item, handoff, before, accepted_ms, accepted_ms, "took", extra)
        assert not added & {name for conclusion in before for name in conclusion.tags}

    def _given(self, item: LogItem, handoff: str) -> Person:
        return self.handed.pop((handoff, item.customer))

    def _erase(self, item: LogItem, person: Person, accepted_ms: int, touchpoint: dict[str, Any] | None) -> None:
        person.lines.append(line_of(item, "erased", place_of(item), accepted_ms, NOTHING, b"", {}))
        self.ended[item.customer] = self.people.pop(item.customer)

    def _conclude(
        self, person: Person, item: LogItem, cause: str, before: list[Conclusion], at_ms: int, accepted_ms: int,
        kind: str, extra: Line,
    ) -> set[str]:  # fmt: skip
        judged = judgement(tuple(person.parts().values()), self.now_ms, CUTS, CONFIG)
        person.conclusion, changes = conclude(judged.facts, before, cause, at_ms, CONFIG)
        profile = profile_json(item.customer, judged.seen, person.conclusion, judged.rfm)
        person.lines.append(line_of(item, kind, cause, accepted_ms, changes, profile, extra))
        return {name for name, _, _ in changes.tags_added}

    def due_ms(self, person: Person) -> int | None:
        """When time alone can change what is held true of a person."""
        if person.conclusion is None:
            return None
        judged = judgement(tuple(person.parts().values()), self.now_ms, CUTS, CONFIG)
        return next_due_ms(judged.facts_now(person.conclusion), CONFIG)


def line_of(
    item: LogItem, kind: str, cause: str, accepted_ms: int, changes: Changes, profile: bytes, extra: Line
) -> Line:
    """The compared fields of a profile_change."""
    return {
        "customer_id": item.customer, "kind": kind, "cause": cause, "accepted_at": accepted_ms, "event_id": "",
        "name": "", "node": "", "first": False, "handoff_id": "", "from_id": "", "pieces": [], "profile": profile,
        "tags_added": [name for name, _, _ in changes.tags_added],
        "tag_anchors": [anchor for _, anchor, _ in changes.tags_added],
        "tag_reasons": [reason for _, _, reason in changes.tags_added],
        "tags_removed": list(changes.tags_removed),
        "stage_from": changes.stage_from, "stage_to": changes.stage_to, **extra,
    }  # fmt: skip
