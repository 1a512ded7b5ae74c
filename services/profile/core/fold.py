"""One event into the part of its node. The same events in any order give the same bytes; duplicates never get here.

Why the bounds keep that promise: a ring forgets by the newest day alone, so what an early event leaves behind and a
late one never enters is the same; the limits below keep the k smallest names, and what was once pushed out by k better
ones stays out. Orders have bounds of their own, see `orders`.
"""

from bisect import bisect_left, insort

import msgspec

from services.profile.core.config import (
    INTERACTION,
    LINE,
    LOGIN,
    ORDERS,
    PURCHASE,
    REFUND,
    REGISTRATION,
    RESPONSE,
    RING_DAYS,
    ProfileConfig,
)
from services.profile.core.orders import write_order
from services.profile.core.state import MAX_MINOR, UNREADABLE, Event, Part, Ring
from services.profile.core.tagging.months import MONTHS, month_of
from services.profile.core.tally import forget, tally_order
from services.profile.core.traits import write_traits

# A person has a few dozen of each; a robot or a shared till must not grow its state without end. Lower: real
# customers lose counters. Higher: one such state slows the batch it is in (decoding costs about 20 ns an entry).
MAX_NAMES = 200
MAX_IDENTIFIERS = 50
# Shares the counts of the names beyond MAX_NAMES.
OTHER_NAMES = ""

_PROPERTIES = msgspec.json.Decoder()
_ACTIVE_TYPES = frozenset(("track", "page", "screen"))


def fold(part: Part | None, event: Event, config: ProfileConfig, is_plain: bool = False) -> Part:
    """The part with the event in it; None begins a new part.

    Changes `part` in place and returns it: state is decoded once per batch and belongs to the caller. `event` is not
    kept. Counts an event each time it is called; the caller drops duplicates. is_plain: the caller knows that it means
    no more than activity and that no measure counts it (judgement.go_on).
    """
    at = event.occurred_at
    clock = (at, event.place)
    day = config.calendar.day(at)
    catalogue = config.catalogue
    if part is None:
        part = Part(clock, day, at, measured=catalogue.measures_version)
    elif day > part.newest_day:
        part.newest_day = day
        _prune(part, day - RING_DAYS)
    if part.measured != catalogue.measures_version:
        part.measured = ""  # neither these measures nor those it had hold all of its events from here on
    part.events += 1
    if at > part.last_ms:
        part.last_ms = at
    if clock < part.first:
        part.first = clock
    in_ring = day > part.newest_day - RING_DAYS
    name = event.name
    _add(_counter(part, name), day, 1, in_ring)
    kind = kind_of(event, config)
    if name not in config.passive:
        _count_month(part, day)
    if kind & INTERACTION and (part.interaction is None or clock > part.interaction):
        part.interaction = clock
    if kind > INTERACTION or kind & (INTERACTION - 1):
        _fold_meaning(part, event, kind, clock, day if in_ring else None, config)
    if event.traits:
        write_traits(part, event)
    if not is_plain and name in catalogue.measures and part.measured == catalogue.measures_version:
        _fold_measures(part, event, kind, day, in_ring, config)
    for text in event.identifiers:
        if text not in part.identifiers:
            insort(part.identifiers, text)
            del part.identifiers[MAX_IDENTIFIERS:]
    return part


def kind_of(event: Event, config: ProfileConfig) -> int:
    """What the event means, as bits of `ProfileConfig.kinds`; 0: it happened, no more."""
    return config.kinds.get(event.name, INTERACTION) if event.type in _ACTIVE_TYPES else 0


def has_seen(part: Part, name: str) -> bool:
    """True when an event of this name was folded, and when that can no longer be told (names beyond MAX_NAMES)."""
    return name in part.counters or OTHER_NAMES in part.counters


def _fold_meaning(
    part: Part, event: Event, kind: int, clock: tuple[int, str], ring_day: int | None, config: ProfileConfig
) -> None:
    """Clocks, orders and money of an event that means more than activity; `ring_day` None: too old for the ring."""
    if kind & LOGIN and (part.login is None or clock > part.login):
        part.login = clock
    if kind & REGISTRATION and (part.registered is None or clock < part.registered):
        part.registered = clock
    if kind & RESPONSE and (part.response is None or clock > part.response):
        part.response = clock
    if not kind & ORDERS:
        return
    if kind & PURCHASE:
        if part.purchase is None or clock > part.purchase:
            part.purchase = clock
        if part.first_purchase is None or clock < part.first_purchase:
            part.first_purchase = clock
    if event.order_id or kind & PURCHASE:
        horizon = None if part.book is None else part.book.horizon
        part.book = write_order(part.book, event, kind, config)
        if part.tally is not None and part.book.horizon is not None and part.book.horizon != horizon:
            part.tally = forget(part.tally, part.book.horizon)
    elif kind & REFUND and event.amount_minor:
        currency = event.currency or config.currency
        ring = part.money.get(currency)
        if ring is None:
            ring = part.money[currency] = Ring()
        _add(ring, ring_day or 0, -event.amount_minor, ring_day is not None)
        if ring.total < -MAX_MINOR:  # no day's sum is below that of all
            ring.total = -MAX_MINOR
            ring.values = [max(value, -MAX_MINOR) for value in ring.values]


def _count_month(part: Part, day: int) -> None:
    """One more interaction in its month, unless that is forgotten already."""
    month, months = month_of(day), part.months
    if months.days and months.days[-1] == month:
        months.total += 1
        months.values[-1] += 1
        return
    _add(months, month, 1, month > month_of(part.newest_day) - MONTHS)


def _fold_measures(part: Part, event: Event, kind: int, day: int, in_ring: bool, config: ProfileConfig) -> None:
    """What operators count of an event's properties. Unreadable properties count nothing, as in ClickHouse's JSON."""
    # An event without properties is one without a coupon, too.
    raw = event.properties or b"{}"
    is_line = bool(kind & LINE)
    measures = [measure for measure in config.catalogue.measures[event.name] if measure.may_add(raw, is_line)]
    if not measures:
        return
    try:
        properties = _PROPERTIES.decode(raw)
    except UNREADABLE:
        return
    of_order: dict[int, int] | None = {} if kind & PURCHASE and event.order_id else None
    for measure in measures:
        amount = measure.of(properties, day, is_line)
        if amount and of_order is not None:
            of_order[measure.place] = amount
        elif amount:
            ring = part.measures.get(measure.name)
            if ring is None:
                ring = part.measures[measure.name] = Ring()
            _add(ring, day, amount, in_ring)
    if of_order:
        tally_order(part, event, of_order, is_line)


def _counter(part: Part, name: str) -> Ring:
    """The counter of a name, made when missing; keeps the MAX_NAMES smallest names and sums up the others."""
    counters = part.counters
    ring = counters.get(name)
    if ring is not None:
        return ring
    ring = counters[name] = Ring()
    has_other = OTHER_NAMES in counters
    if len(counters) - has_other <= MAX_NAMES:
        return ring
    last = max(counters)
    out = counters.pop(last)
    if not has_other:
        counters[OTHER_NAMES] = out
        return out if last == name else ring
    other = counters[OTHER_NAMES]
    other.total += out.total - sum(out.values)
    for day, count in zip(out.days, out.values, strict=True):
        _add(other, day, count, True)
    return other if last == name else ring


def _add(ring: Ring, day: int, amount: int, in_ring: bool) -> None:
    """Add to the lifetime sum and, within the ring, to the day. A day whose sum is 0 stays: it had events."""
    ring.total += amount
    if not in_ring:
        return
    days = ring.days
    if not days or day > days[-1]:
        days.append(day)
        ring.values.append(amount)
        return
    if day == days[-1]:
        ring.values[-1] += amount
        return
    index = bisect_left(days, day)
    if days[index] == day:
        ring.values[index] += amount
    else:
        days.insert(index, day)
        ring.values.insert(index, amount)


def _prune(part: Part, before: int) -> None:
    """Forget the days up to and including `before`, and months that are too long ago."""
    for rings in (part.counters, part.money, part.measures):
        for ring in rings.values():
            if ring.days and ring.days[0] <= before:
                _cut(ring, before)
    _cut(part.months, month_of(part.newest_day) - MONTHS)


def _cut(ring: Ring, before: int) -> None:
    """Drop the days up to and including `before`."""
    index = bisect_left(ring.days, before + 1)
    del ring.days[:index], ring.values[:index]
