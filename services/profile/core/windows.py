"""Counts and sums over the last days of all parts. One part is the common case and is read in place."""

from bisect import bisect_right

from services.profile.core.config import ProfileConfig
from services.profile.core.state import Part, Ring


def orders_in(parts: tuple[Part, ...], after: int, enough: int) -> tuple[int, int | None, int]:
    """(distinct orders later than day `after`, the first day of them, the day of the `enough`-th newest or 0)."""
    if len(parts) == 1:
        ring = parts[0].order_days
        count, first_day = _net(ring, after)
        return count, first_day, 0 if count < enough else _day_of(ring, enough)
    bought = [part for part in parts if part.orders]
    rings = [part.order_days for part in bought]
    if _share_orders(bought):
        rings = [_distinct_orders(bought)]
    count, first_day = 0, None
    for ring in rings:
        net, day = _net(ring, after)
        if day is not None:
            count += net
            first_day = day if first_day is None or day < first_day else first_day
    return count, first_day, 0 if count < enough else _day_of_many(rings, enough)


def money_in(parts: tuple[Part, ...], after: int, main: str) -> tuple[str, int, int | None]:
    """(currency, net spend later than day `after`, first day of it in any currency).

    Several currencies: the main one if it is among them, else the one with the largest net spend; nothing is converted.
    """
    if len(parts) == 1 and len(parts[0].money) == 1:
        for currency, ring in parts[0].money.items():
            return (currency, *_net(ring, after))
    sums: dict[str, int] = {}
    past: dict[str, int] = {}
    oldest: int | None = None
    for part in parts:
        for currency, ring in part.money.items():
            net, day = _net(ring, after)
            if day is None:
                past[currency] = 0
            else:
                sums[currency] = sums.get(currency, 0) + net
                oldest = day if oldest is None or day < oldest else oldest
    sums = sums or past
    if not sums:
        return "", 0, None
    currency = main if main in sums else min(sums, key=lambda name: (-sums[name], name))
    return currency, sums[currency], oldest


def engaged_in(parts: tuple[Part, ...], today: int, config: ProfileConfig) -> tuple[int, int]:
    """(service and social interactions in their window, first day with too few of them or 0)."""
    window = config.windows.interactive
    after = today - window
    names = config.engaged
    rings = []
    count = 0
    for part in parts:
        for name, ring in part.counters.items():
            if name in names:
                days = ring.days
                if days and days[-1] > after:
                    count += sum(ring.values) if days[0] > after else _net(ring, after)[0]
                    rings.append(ring)
    enough = config.limits.interactive_count + 1
    if count < enough:
        return count, 0
    return count, (_day_of(rings[0], enough) if len(rings) == 1 else _day_of_many(rings, enough)) + window


def _net(ring: Ring, after: int) -> tuple[int, int | None]:
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


def _day_of_many(rings: list[Ring], place: int) -> int:
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


def _share_orders(parts: list[Part]) -> bool:
    """True when some order is known to two parts."""
    for i in range(1, len(parts)):
        keys = parts[i].orders.keys()
        for other in parts[:i]:
            if not keys.isdisjoint(other.orders.keys()):
                return True
    return False


def _distinct_orders(parts: list[Part]) -> Ring:
    """Distinct orders per day over several parts; an order that two parts know counts on its latest day."""
    orders: dict[str, int] = {}
    for part in parts:
        for key, day in part.orders.items():
            if day > orders.get(key, day - 1):
                orders[key] = day
    sums: dict[int, int] = {}
    for day in orders.values():
        sums[day] = sums.get(day, 0) + 1
    days = sorted(sums)
    return Ring(len(orders), days, [sums[day] for day in days])
