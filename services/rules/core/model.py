"""The nouns of the rules service: a rule as checked, a profile change as read, and what one makes of the other.

Data only: no parsing (syntax.py, condition.py), no decisions (evaluate.py, limits.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from services.rules.core.condition import Condition

# rule → {anchor: moment it fired, ms}. Kept per customer; bounded by limits.KEPT_FIRES anchors a rule.
Fires = Mapping[str, Mapping[str, int]]


class On(Enum):
    """What a rule can be waiting for."""

    EVENT = "event"
    FIRST_EVENT = "first_event"
    TAG_ADDED = "tag_added"
    TAG_REMOVED = "tag_removed"
    STAGE = "stage"


@dataclass(frozen=True, slots=True)
class When:
    """One qualifying change. `name`: event name, tag or the stage that begins; `origin`: stage that ended, "" any."""

    on: On
    name: str
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """How often a rule may fire for one customer; 0 and False mean no limit."""

    cooldown_ms: int = 0
    once_per_customer: bool = False
    per_customer_per_day: int = 0

    @property
    def any_set(self) -> bool:
        """True when firing must be remembered to keep these limits."""
        return bool(self.cooldown_ms or self.once_per_customer or self.per_customer_per_day)


@dataclass(frozen=True, slots=True)
class Rule:
    """A checked rule. `actions` is the JSON list that travels in the trigger, `file` where it was written."""

    name: str
    version: str
    whens: tuple[When, ...]
    condition: "Condition | None"
    limits: Limits
    actions: bytes
    file: str
    description: str = ""

    @property
    def remembers(self) -> bool:
        """True when a fire leaves something in the customer's state: limits, or a moment that may be announced again.

        A tag that began is announced again with the same anchor when customers merge and split; an event is not.
        """
        return self.limits.any_set or any(when.on in (On.TAG_ADDED, On.STAGE) for when in self.whens)


class Piece(msgspec.Struct, frozen=True):
    """One part of a hand-over; no nodes means all of the customer (a merge: its log ends)."""

    handoff_id: str
    to_id: str
    nodes: list[str] = []


class Change(msgspec.Struct, frozen=True):
    """The fields of a profile_change record that rules read. Times in ms since 1970-01-01 UTC, `profile` and
    `properties` JSON objects in UTF-8."""

    customer_id: str
    kind: str
    cause: str
    occurred_at: int
    changed_at: int
    event_id: str = ""
    source: str = ""
    type: str = ""
    name: str = ""
    accepted_at: int = 0
    first: bool = False
    is_import: bool = False
    tags_added: list[str] = []
    tags_removed: list[str] = []
    tag_anchors: list[str] = []
    stage_from: str = ""
    stage_to: str = ""
    handoff_id: str = ""
    from_id: str = ""
    pieces: list[Piece] = []
    profile: bytes = b"{}"
    properties: bytes = b"{}"

    @property
    def moment_ms(self) -> int:
        """The moment that limits count by: when the touchpoint was accepted; when nothing but time passed, when profile
        noticed. Never this process's clock: a replay, or a customer that waited, must come to the same result.
        """
        return self.accepted_at or self.changed_at


def change_of(record: Mapping[str, object]) -> Change:
    """A decoded profile_change as a Change. Raises msgspec.ValidationError when a field is missing or mistyped."""
    return msgspec.convert(record, Change)


class Reason(Enum):
    """Why a rule whose moment came did not fire."""

    CONDITION = "condition"
    CONDITION_ERROR = "condition_error"
    REPEATED = "repeated"
    ONCE = "once_per_customer"
    COOLDOWN = "cooldown"
    DAILY_CAP = "daily_cap"


@dataclass(frozen=True, slots=True)
class Fire:
    """A rule fires at a moment: (rule, version, anchor) names it for ever, whoever the customer is by then."""

    rule: Rule
    anchor: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A rule whose moment came and that did not fire; `error` is the kind of a condition's failure."""

    rule: Rule
    anchor: str
    reason: Reason
    error: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one change does: the customer's new state, triggers to send, and what was held back and why."""

    fires_kept: Fires
    fired: tuple[Fire, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()
