"""What is defined: counters, lifecycle stages, tags and segments, ready to be asked. definitions.py makes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.profile.core.tagging.measures import Measure
from services.profile.core.tagging.tree import Condition
from services.profile.core.tagging.vocabulary import Counter

if TYPE_CHECKING:
    from services.profile.core.tagging.facts import Facts

# Segments stand among a customer's tags under this prefix: one map, one way into rules and ClickHouse.
SEGMENT = "segment:"


@dataclass(frozen=True, slots=True)
class Definition:
    """One stage, tag or segment.

    holds      whether it holds on a day
    ends       whether it ends although it held (hysteresis); None: when `holds` says no
    reason     English text, asked when it begins
    clock      see clocks.py; None: a record begins it
    next_day   the first later day on which time may change `holds` or `ends`
    needs      measures that must be complete for a customer before it is judged
    version    changes with what it says; a tag that a new version adds is no news of the customer's
    """

    name: str
    group: str
    source: str
    condition: Condition | None
    holds: "Callable[[Facts, int], bool]"
    ends: "Callable[[Facts, int], bool] | None"
    reason: "Callable[[Facts, int], str]"
    clock: "Callable[[Facts], tuple[int, str]] | None"
    next_day: "Callable[[Facts, int], int]"
    needs: frozenset[str]
    version: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All of it, in the order of evaluation: stages first, tags after those they name, segments last.

    judge            (facts, day, held before, whether measures are missing) → stage, and places of the tags that hold
    next_day         over all of them; both as <name>_visitor for people without purchases and refunds
    watched          names of events that a counter without properties or a condition names
    measures         by event name, what to add up when such an event is folded
    tallied          all measures; what parts keep of an order names them by their place here
    quiet_days       fewest days without activity that a condition looks at; below, the last activity decides nothing
    interactions     (days, number) limits that conditions set to interactions
    looks_at_months  whether one looks at calendar months
    traits           names of traits that conditions look at
    afters           (later, earlier) moments that conditions compare
    stage_clocks     stages that time begins: name → see Definition.clock
    stage_waits      whether a stage looks at measures: it then stays until they are complete for a customer
    version          of everything; measures_version: of the measures alone, "" without any
    """

    counters: Mapping[str, Counter]
    stages: tuple[Definition, ...]
    tags: tuple[Definition, ...]
    judge: "Callable[[Facts, int, Mapping[str, object], bool], tuple[str, list[int]]]"
    judge_visitor: "Callable[[Facts, int, Mapping[str, object], bool], tuple[str, list[int]]]"
    next_day: "Callable[[Facts, int], int]"
    next_day_visitor: "Callable[[Facts, int], int]"
    watched: frozenset[str]
    measures: Mapping[str, tuple[Measure, ...]]
    tallied: tuple[Measure, ...]
    quiet_days: int
    interactions: tuple[tuple[int, int], ...]
    looks_at_months: bool
    traits: frozenset[str]
    afters: tuple[tuple[str, str], ...]
    stage_clocks: "Mapping[str, Callable[[Facts], tuple[int, str]]]"
    stage_waits: bool
    version: str
    measures_version: str
