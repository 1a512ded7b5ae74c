"""Counts and sums over the last days of all parts. One part is the common case and is read in place."""

from bisect import bisect_right

from services.profile.core.config import ProfileConfig
from services.profile.core.settle import Settled, in_main
from services.profile.core.state import MAX_MINOR, Part, Ring

# The day after which everything is.
ALL_TIME = -(1 << 40)


def orders_in(found: list[Settled], after: int, enough: int) -> tuple[int, int | None, int]:
    """(purchases later than day `after`, the first day of them, the day of the `enough`-th newest or 0)."""
    if len(found) == 1:
        ring = found[0].orders
        count, first_day = net(ring, after)
        return count, first_day, 0 if count < enough else _day_of(ring, enough)
    count, first_day = 0, None
    for one in found:
        amount, day = net(one.orders, after)
        if day is not None:
            count += amount
            first_day = day if first_day is None or day < first_day else first_day
    return count, first_day, 0 if count < enough else day_of_many([one.orders for one in found], enough)


def money_in(
    parts: tuple[Part, ...], found: list[Settled], after: int, config: ProfileConfig
) -> tuple[str, int, int | None]:
    """(currency, net spend later than day `after`, first day of it in any currency).

    Several currencies that have no rate: the main one if it is among them, else the one with the largest net spend.
    """
    sums: dict[str, int] = {}
    past: dict[str, int] = {}
    oldest: int | None = None
    for rings in (*[one.money for one in found], *[part.money for part in parts]):
        for stated, ring in rings.items():
            # Of all time: a part's ring forgets days, not their sum.
            amount, day = (ring.total, after) if after == ALL_TIME else net(ring, after)
            currency, amount = in_main(stated, amount, config)
            if day is None:
                past[currency] = 0
            else:
                sums[currency] = sums.get(currency, 0) + amount
                oldest = day if oldest is None or day < oldest else oldest
    sums = sums or past
    if not sums:
        return "", 0, None
    main = config.currency
    currency = main if main in sums else min(sums, key=lambda name: (-sums[name], name))
    return currency, max(-MAX_MINOR, min(sums[currency], MAX_MINOR)), oldest


def sum_after(rings: list[Ring], after: int) -> int:
    """The sum of several rings later than day `after`."""
    total = 0
    for ring in rings:
        days = ring.days
        if days and days[-1] > after:
            values = ring.values
            if days[0] > after:
                total += values[0] if len(values) == 1 else sum(values)
            else:
                total += sum(values[bisect_right(days, after) :])
    return total


def net(ring: Ring, after: int) -> tuple[int, int | None]:
    """(sum later than day `after`, first day of it)."""
    days = ring.days
    if not days or days[-1] <= after:
        return 0, None
    if days[0] > after:
        return sum(ring.values), days[0]
    cut = bisect_right(days, after)
    return sum(ring.values[cut:]), days[cut]


def _day_of(ring: Ring, place: int) -> int:
    """The day of the `place`-th newest of the things that a ring of positive counts holds; it holds as many."""
    values = ring.values
    index = len(values) - 1
    while place > values[index]:
        place -= values[index]
        index -= 1
    return ring.days[index]


def day_of_many(rings: list[Ring], place: int) -> int:
    """The same for several rings together."""
    # A day holds at least one thing, so of the newest `place` none is outside its ring's last `place` days.
    entries: list[tuple[int, int]] = []
    for ring in rings:
        days, values = ring.days, ring.values
        for index in range(max(0, len(days) - place), len(days)):
            entries.append((days[index], values[index]))  # noqa: PERF401 - a generator costs more than the loop
    entries.sort()
    index = len(entries) - 1
    while place > entries[index][1]:
        place -= entries[index][1]
        index -= 1
    return entries[index][0]
