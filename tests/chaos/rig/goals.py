"""What has to be shown of failpoints: every point of the catalogue, at a hit, with an action. Pure.

A goal is reached when the process itself has said so in its log before it acted. Points that come again and again are
armed with their hit; those that come once in a life (a start, a stop, a restored outbox) act at the first hit of as
many lives as the hit says, one after the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from services.chassis.failpoints import Point, catalogue

KILL, STOP, RAISE, SLEEP = "kill", "stop", "raise", "sleep:2500"
OTHERS = (STOP, RAISE, SLEEP)
RANDOM = 0  # as a hit: the seed chooses one beyond the second
LATEST = {"claim": 4, "work": 6, "timer": 4}


class Kind(Enum):
    """What has to happen for a step to be reached; a process is armed with goals of one kind at a time."""

    PLAIN = "nothing but work"
    AGAIN = "an answer of Redis is lost"
    DISCARD = "a produce fails"
    RESTORE = "a former life has left an outbox"
    SUSPECT = "a partition was claimed again and again without getting on"
    POISON = "a record that nobody can read"
    REGISTRY = "a Schema Registry is configured"
    STOP = "SIGTERM"
    COMMAND = "a command is run"


_KIND_OF_STEP = {
    "before_apply_again": Kind.AGAIN,
    "after_apply_again": Kind.AGAIN,
    "before_discard": Kind.DISCARD,
    "after_discard": Kind.DISCARD,
    "before_restore": Kind.RESTORE,
    "after_restore": Kind.RESTORE,
    "before_read_back": Kind.RESTORE,
    "after_read_back": Kind.RESTORE,
    "before_suspect": Kind.SUSPECT,
    "after_suspect": Kind.SUSPECT,
    "before_acquit": Kind.SUSPECT,
    "after_acquit": Kind.SUSPECT,
    "before_registry": Kind.REGISTRY,
    "after_registry": Kind.REGISTRY,
}
# Steps that nothing here provokes, and why.
NOT_LED = {
    "before_ask_broker": "the group would have to give nothing for 15 s although the broker answers",
    "after_ask_broker": "the same",
    "before_ask_coordinator": "the same",
    "after_ask_coordinator": "the same",
}
# Profile keeps a new version of its thresholds in ClickHouse once in a life.
_ONCE = {("profile", "before_clickhouse_insert"), ("profile", "after_clickhouse_insert")}
# The group is asked once when it assigns, and a life that nobody disturbs sees one assignment; identity says by which
# policy it decides before the first of them.
_ONCE_ASSIGNED = {"before_committed", "after_committed", "before_policy", "after_policy"}


@dataclass(slots=True)
class Goal:
    """One point, to be hit at `hit` with `action`. `lives` are still to act; `misses`: lives in which it never came."""

    service: str
    step: str
    kind: Kind
    action: str
    hit: int
    at_hit: int
    lives: int
    misses: int = 0
    said: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """For people, and to ask for it alone."""
        return f"{self.service}.{self.step}={self.action}@{self.hit}"

    @property
    def armed(self) -> str:
        """As in TOUCHSTREAM_FAILPOINTS."""
        return f"{self.service}.{self.step}={self.action}@{self.at_hit}"


def kind_of(service: str, point: Point) -> Kind:
    """What reaching a step takes."""
    if point.moment == "stop":
        return Kind.STOP
    if point.moment == "command":
        return Kind.COMMAND
    kind = _KIND_OF_STEP.get(point.step)
    if kind is None:
        kind = Kind.POISON if point.moment == "trouble" else Kind.PLAIN
    return kind


def goals_of(hits: Iterable[int], actions: Iterable[str], seed: int, only: str = "") -> list[Goal]:
    """Every point × hits × actions; `only`: those whose name contains it. An action "other" rotates with the seed."""
    found = []
    for hit in hits:
        for action in actions:
            random = Random(f"{seed}/{hit}/{action}")
            number = seed
            for point in (point for point in catalogue() if point.step not in NOT_LED):
                for service in point.services:
                    number += 1
                    chosen = OTHERS[number % len(OTHERS)] if action == "other" else action
                    goal = _goal(service, point, hit, chosen, random)
                    if only in goal.name:
                        found.append(goal)
    return found


def _goal(service: str, point: Point, hit: int, action: str, random: Random) -> Goal:
    kind = kind_of(service, point)
    counted = hit or random.randint(3, LATEST.get(point.moment, 3))
    is_once = kind not in (Kind.PLAIN, Kind.COMMAND) or point.moment == "start"
    is_once = is_once or point.step in _ONCE_ASSIGNED or (service, point.step) in _ONCE
    return Goal(service, point.step, kind, action, counted, 1 if is_once else counted, counted if is_once else 1)
