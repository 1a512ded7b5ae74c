"""What had fired, from `triggers` or ClickHouse, standing in for the rules of those days."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from services.chassis.clickhouse import Clickhouse
from services.chassis.errors import Fatal
from services.chassis.records import Output, Record
from services.chassis.redis.claim import Claim
from services.rules.adapters import TRIGGERS
from services.rules.core.evaluate import RuleIndex, anchor_of
from services.rules.core.model import Change, Fire, Limits, On, Outcome, Rule, When
from services.rules.handler import RulesHandler

# Keeps a fire in the customer's state and never refuses one.
_KEPT = Limits(per_customer_per_day=1 << 40)


class Fired(msgspec.Struct, gc=False):
    """A trigger that was sent."""

    rule: str
    rule_version: str
    anchor: str
    fired_at: int
    actions: bytes
    value: bytes
    number: int


@dataclass(slots=True)
class Rebuilt:
    """What was done."""

    changes: int = 0
    triggers: int = 0
    unsent: int = 0


@dataclass(slots=True)
class Lane:
    """One partition: what fired by (customer, cause), and how far that reaches."""

    partition: int
    claim: Claim
    fired: dict[tuple[str, str], list[Fired]] = field(default_factory=lambda: defaultdict(list))
    last: tuple[str, str] = ("", "")  # customer and cause of the last trigger
    left: int = 0
    is_tail: bool = False  # what follows may have fired what was not sent
    seen: dict[str, int] = field(default_factory=dict)
    base: dict[str, int] = field(default_factory=dict)
    position: int = 0
    log_ms: int = 0
    unsent: list[Output] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Older:
    """What retention has taken: changes in the order in which they were decided; triggers are in ClickHouse.

    `number(partition)`: how many changes profile ever wrote there.
    """

    clickhouse: Clickhouse
    changes: Iterable[Record]
    number: Callable[[int], int]

    def triggers(self, partition: int, first: int) -> list[tuple[Any, ...]]:
        """(customer, cause, rule, version, anchor, fired at, actions) before offset `first` of `triggers`."""
        sql = (
            "SELECT customer_id, cause, rule, rule_version, anchor, toUnixTimestamp64Milli(fired_at), actions"
            " FROM triggers_raw FINAL WHERE log_partition = {p:UInt32} AND log_offset < {first:UInt64}"
            " ORDER BY log_offset"
        )
        rows = self.clickhouse.stream_rows(sql, {"p": partition, "first": first})
        return [(*row[:6], row[6].encode()) for row in rows]


class Recorded(RuleIndex):
    """Stands in for the rules: of a change those hold whose triggers were sent."""

    def __init__(self, now: RuleIndex, lane: Lane) -> None:
        super().__init__((), now.zone)
        self._now, self._lane = now, lane
        self._remember = {rule.name: rule.remembers for rule in now.rules}

    def cares(self, header: bytes | None) -> bool:
        """Everything that is handed to the handler was chosen before."""
        return True

    def candidates(self, change: Change) -> tuple[Rule, ...]:
        """See RuleIndex."""
        place = change.customer_id, change.cause
        whens = list(_whens(change))
        found = {}
        for fired in self._lane.fired.get(place, ()):
            when = next((when for when in whens if anchor_of(when, change) == fired.anchor), None)
            if when is not None:
                limits = _KEPT if self._remember.get(fired.rule, True) else Limits()
                found[fired.rule] = Rule(
                    fired.rule, fired.rule_version, (when,), None, limits, fired.actions, "triggers"
                )
        if self._lane.is_tail and place == self._lane.last:
            for rule in self._now.candidates(change):
                found.setdefault(rule.name, rule)
        return tuple(found[name] for name in sorted(found))


class Replaying(RulesHandler):
    """The handler; its triggers are compared and not sent."""

    lane: Lane
    done: Rebuilt

    def _triggers(self, change: Change, outcome: Outcome, now_ms: int) -> Iterable[Output]:
        return [output for fire in outcome.fired if (output := self._unsent(change, fire, now_ms)) is not None]

    def _unsent(self, change: Change, fire: Fire, now_ms: int) -> Output | None:
        sent = self.lane.fired.get((change.customer_id, change.cause), [])
        for fired in sent:
            if fired.rule == fire.rule.name and fired.anchor == fire.anchor:
                output = self._wire.trigger(fire, change, fired.fired_at)
                if fired.value and output.value != fired.value:
                    raise Fatal(
                        f"{TRIGGERS} partition {self.lane.partition} number {fired.number}: {fired.rule} of"
                        f" {change.customer_id} at {fired.anchor} is not what the change {change.cause} makes"
                    )
                sent.remove(fired)
                self.lane.left -= 1
                self.done.triggers += 1
                return None
        return self._wire.trigger(fire, change, now_ms)


def _whens(change: Change) -> Iterable[When]:
    """Everything a rule can have been waiting for in this change."""
    if change.kind == "event":
        yield When(On.EVENT, change.name)
    for tag in change.tags_added:
        yield When(On.TAG_ADDED, tag)
    for tag in change.tags_removed:
        yield When(On.TAG_REMOVED, tag)
    if change.stage_from != change.stage_to:
        yield When(On.STAGE, change.stage_to)
