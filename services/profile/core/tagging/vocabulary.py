"""The words of conditions: sums, moments, scores, and the counters that operators define.

A counter without `where`, `each` and `sum` is a name for some event counts that every profile keeps anyway; one with
them is a measure: it has a ring of its own in every part, filled as events are folded (measures.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# What a sum over days can be of, besides counters.
ORDERS, SPEND, INTERACTIONS = "orders", "spend", "interactions"
BUILT_IN = {
    ORDERS: "purchases (distinct orders that were not cancelled)",
    SPEND: "net spend in major units of the main currency",
    INTERACTIONS: "interactions of any kind",
}
MOMENTS = {
    "activity": "the last interaction or purchase",
    "contact": "the last login, purchase or response to marketing",
    "interaction": "the last interaction",
    "purchase": "the last purchase",
    "first_purchase": "the first purchase",
    "login": "the last login or registration",
    "registration": "the registration",
    "response": "the last response to marketing",
    "first_seen": "the first touchpoint",
}
SCORES = {"r": "R", "f": "F", "m": "M", "composite": "R+F+M"}
PERCENTILES = {"spend": "net spend", "composite": "R+F+M", "order_value": "the value of the only order"}
STAGES = ("prospect", "first_purchase", "repeat", "loyal", "dormant", "churned")
# 400 days are kept (config.RING_DAYS); a window that reached so far would lose days while it waits to be looked at.
MAX_DAYS = 365


@dataclass(frozen=True, slots=True)
class Counter:
    """Something that operators count.

    events   names of the events that count
    where    condition over the event's properties (measures.py), None: every one
    each     the list among the properties whose items are looked at one by one, "" : the event itself
    sum      the number that is added up, "": 1 for each event of which something matches
    """

    name: str
    events: tuple[str, ...]
    where: str = ""
    each: str = ""
    sum: str = ""

    @property
    def is_measure(self) -> bool:
        """Whether it looks into properties, so that it needs a ring of its own."""
        return bool(self.where or self.each or self.sum)


@dataclass(frozen=True, slots=True)
class Words:
    """What a condition may name besides the built-in words."""

    counters: Mapping[str, Counter] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    has_stage: bool = True
