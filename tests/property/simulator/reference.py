"""The pipeline as one machine: touchpoints one at a time, in the order in which the graph script decided them.

Written apart from the product: who belongs together (the naive graph), what a rule does with a change, and everything
around conclusions. Folding one event and concluding from parts are profile's own core, which has tests of its own.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from services.chassis.ids import stable_id
from services.identity.core.policy import Policy
from services.profile.core.contribution import ContributionError, contribution
from services.profile.core.fold import fold
from services.profile.core.judgement import Judgement, judgement
from services.profile.core.state import Changes, Conclusion, Event, Part
from services.profile.core.tags import conclude
from services.profile.core.timers import next_due_ms
from tests.property.identity.graph_lab import naive_twin
from tests.property.identity.naive_graph import LogItem, Touch
from tests.property.simulator.rule_book import Moment, may_fire, moments
from tests.unit.profile.profile_builders import CONFIG, CUTS

NOTHING = Changes((), (), "", "")
Place = tuple[int, int]


@dataclass
class Person:
    """What is known of a customer. fires: (rule, anchor, moment)."""

    n: int = 0
    parts: dict[str, Part] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    conclusion: Conclusion | None = None
    fires: set[tuple[str, str, int]] = field(default_factory=set)


@dataclass(frozen=True)
class Line:
    """A line of profile.changes, as far as it is compared."""

    kind: str
    cause: str
    is_first: bool
    changes: Changes


class Reference:
    """`people` are those who exist; `lines` of everybody; `triggers` (rule, anchor) that must have been sent."""

    def __init__(self, policy: Policy, now_ms: int) -> None:
        self.graph = naive_twin(policy)
        self.graph.checks_links = False
        self.names: dict[str, str] = {}
        name_customer = self.graph.name_customer

        def remember(first: str, birth: int) -> str:
            found = name_customer(first, birth)
            self.names[found] = f"{first}#{birth}"
            return found

        self.graph.name_customer = remember
        self.now_ms = now_ms
        self.people: dict[str, Person] = {}
        self.handed: dict[tuple[str, str], Person] = {}
        self.lines: dict[str, list[Line]] = {}
        self.triggers: Counter[tuple[str, str]] = Counter()
        self.dead: Counter[str] = Counter()

    def step(self, touch: Touch, touchpoint: dict[str, Any] | None) -> None:
        """One touchpoint; None when nobody can read it."""
        before = len(self.graph.log)
        self.graph.step(touch)
        for item in self.graph.log[before:]:
            assert touchpoint is not None
            person = self.people.setdefault(item.customer, Person())
            person.n += 1
            assert item.n == person.n
            getattr(self, f"_{item.kind}")(item, person, touchpoint)

    def pass_time(self, now_ms: int) -> None:
        """The wall clock moves, everybody whose timer is due is looked at."""
        due = {}
        for name, person in self.people.items():
            if person.conclusion is not None:
                due[name] = next_due_ms(self._look(person).facts, CONFIG)
        self.now_ms = now_ms
        for name, due_ms in due.items():
            if due_ms is not None and due_ms <= now_ms:
                self._tick(name, self.people[name])

    # -- a customer's log
    def _event(self, item: LogItem, person: Person, touchpoint: dict[str, Any]) -> None:
        place = place_of(item)
        try:
            event = contribution(touchpoint, place)
        except ContributionError:
            self.dead[f"profile {place}"] += 1
            return
        is_first = all(event.name != other.name for events in person.events.values() for other in events)
        node = item.node
        person.events.setdefault(node, []).append(event)
        person.parts[node] = fold(person.parts.get(node), event, CONFIG)
        before = [person.conclusion] if person.conclusion is not None else []
        self._conclude(item.customer, person, "event", place, before, event, is_first, touchpoint["received_at"])

    def _give(self, item: LogItem, person: Person, touchpoint: dict[str, Any]) -> None:
        place, before = place_of(item), [person.conclusion] if person.conclusion is not None else []
        for k, to, nodes in item.pieces:
            moved = [node for node in person.parts if node in nodes or not nodes]
            self.handed[f"{place}.{k}", to] = Person(
                0, {node: person.parts.pop(node) for node in moved}, {node: person.events.pop(node) for node in moved},
                person.conclusion, set(person.fires),
            )  # fmt: skip
        cause = f"{place}.{item.pieces[0][0]}"
        if item.pieces[0][2]:
            self._conclude(item.customer, person, "gave", cause, before, None, False, touchpoint["received_at"])
        else:
            self._end(item, "gave", cause)

    def _take(self, item: LogItem, person: Person, touchpoint: dict[str, Any]) -> None:
        cause = f"{place_of(item)}.{item.k}"
        given = self.handed.pop((cause, item.customer))
        assert not person.parts.keys() & given.parts.keys()
        person.parts |= given.parts
        person.events |= given.events
        person.fires |= given.fires
        before = [held for held in (person.conclusion, given.conclusion) if held is not None]
        self._conclude(item.customer, person, "took", cause, before, None, False, touchpoint["received_at"])

    def _erase(self, item: LogItem, person: Person, touchpoint: dict[str, Any]) -> None:
        self._end(item, "erased", place_of(item))

    def _end(self, item: LogItem, kind: str, cause: str) -> None:
        self.lines.setdefault(item.customer, []).append(Line(kind, cause, False, NOTHING))
        del self.people[item.customer]

    # -- what follows
    def _conclude(
        self, name: str, person: Person, kind: str, cause: str, before: list[Conclusion], event: Event | None,
        is_first: bool, accepted_ms: int,
    ) -> None:  # fmt: skip
        judged = self._look(person)
        at_ms = accepted_ms if event is None else event.occurred_at
        person.conclusion, changes = conclude(judged.facts, before, cause, at_ms, CONFIG)
        self.lines.setdefault(name, []).append(Line(kind, cause, is_first, changes))
        self._judge(
            person, Moment(kind, cause, event.name if event else "", is_first, changes, judged.rfm.m), accepted_ms
        )

    def _tick(self, name: str, person: Person) -> None:
        judged = self._look(person)
        assert person.conclusion is not None
        person.conclusion, changes = conclude(judged.facts, [person.conclusion], "", self.now_ms, CONFIG)
        if not changes.is_empty():
            place = judged.seen.activity_place
            self.lines[name].append(Line("tick", place, False, changes))
            self._judge(person, Moment("tick", place, "", False, changes, judged.rfm.m), self.now_ms)

    def _look(self, person: Person) -> Judgement:
        return judgement(tuple(person.parts.values()), self.now_ms, CUTS, CONFIG)

    def _judge(self, person: Person, moment: Moment, moment_ms: int) -> None:
        for rule, anchor in moments(moment):
            if may_fire(person.fires, rule, anchor, moment_ms):
                self.triggers[rule, anchor] += 1
                person.fires.add((rule, anchor, moment_ms))


def place_of(item: LogItem) -> str:
    """generation.partition.offset of the touchpoint that decided it."""
    return f"1.{item.touch.place[0]}.{item.touch.place[1]}"


def trigger_id(rule: str, anchor: str) -> str:
    """The id that a trigger must have."""
    return stable_id(rule, "1", anchor)
