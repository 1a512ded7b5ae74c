"""Limits: may a rule fire once more for this customer? And how what has fired is kept, merged, split and bounded.

State is one mapping, rule → {anchor: moment}. Last-fired, once-per-customer and the count of a business day are all
read from it, so a merge is a union: fires of two customers add up, while a fire that both carry since a split counts
once. Union, then "keep the newest", is associative, commutative and idempotent: the order of merges does not matter.
"""

from collections.abc import Mapping
from datetime import datetime, tzinfo

from services.rules.core.model import Fires, Limits, Reason

# Anchors kept per rule and customer, the newest. Lower: a moment announced again after that many others would fire
# twice, and daily caps (at most MAX_PER_DAY) could not be counted. Higher: 20 bytes each in the state of a customer.
KEPT_FIRES = 32
MAX_PER_DAY = 20


def refusal(limits: Limits, fired: Mapping[str, int], anchor: str, moment_ms: int, zone: tzinfo) -> Reason | None:
    """The limit that forbids this fire, or None. `fired` is what the rule has fired for the customer so far."""
    if not fired:
        return None
    if anchor in fired:
        return Reason.REPEATED
    if limits.once_per_customer:
        return Reason.ONCE
    # A moment before the last fire (late record) is inside the cooldown too: the customer has just been spoken to.
    if limits.cooldown_ms and moment_ms - max(fired.values()) < limits.cooldown_ms:
        return Reason.COOLDOWN
    if limits.per_customer_per_day and _count_of_day(fired, moment_ms, zone) >= limits.per_customer_per_day:
        return Reason.DAILY_CAP
    return None


def _count_of_day(fired: Mapping[str, int], moment_ms: int, zone: tzinfo) -> int:
    if len(fired) >= KEPT_FIRES and moment_ms < min(fired.values()):
        return MAX_PER_DAY  # older than anything still known: it cannot be counted, so it must not be sent
    day = business_day(moment_ms, zone)
    return sum(1 for fired_ms in fired.values() if business_day(fired_ms, zone) == day)


def business_day(moment_ms: int, zone: tzinfo) -> int:
    """The calendar day of a moment in the business zone, as a proleptic ordinal."""
    return datetime.fromtimestamp(moment_ms / 1000, zone).toordinal()


def remember(fires: Fires, rule: str, anchor: str, moment_ms: int) -> Fires:
    """The state after a fire; the old state is left as it was."""
    return {**fires, rule: _newest({**fires.get(rule, {}), anchor: moment_ms})}


def merge(ours: Fires, theirs: Fires) -> Fires:
    """The state of a customer that takes over another's: everything either has fired."""
    merged = dict(ours)
    for rule, fired in theirs.items():
        union = dict(merged.get(rule, {}))
        for anchor, moment_ms in fired.items():
            union[anchor] = max(moment_ms, union.get(anchor, moment_ms))
        merged[rule] = _newest(union)
    return merged


def split(fires: Fires) -> tuple[Fires, Fires]:
    """(kept, given) when a customer is split: limits hold for both, neither may be spoken to sooner because of it."""
    return fires, fires


def _newest(fired: dict[str, int]) -> dict[str, int]:
    if len(fired) <= KEPT_FIRES:
        return fired
    ranked = sorted(fired.items(), key=lambda item: (item[1], item[0]), reverse=True)
    return dict(ranked[:KEPT_FIRES])
