"""The merge of a customer's parts as of now: days, counts and sums per window. Runs for every event, copies nothing.

The order of the parts does not matter, and splitting events over parts gives the same view as folding them into one,
for every moment not more than RING_DAYS - MAX_WINDOW_DAYS days before the newest event.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable

from services.profile.core.config import ProfileConfig
from services.profile.core.state import Clock, Part, Ring, View

_NONE: Clock = (-(1 << 62), "")
_LAST: Clock = (1 << 62, "\U0010ffff")


def view(parts: Iterable[Part], now_ms: int, config: ProfileConfig) -> View:
    """What all parts together say at `now_ms`.

    Reads only; the view refers to the parts and is stale after the next fold. No parts give an empty view: zero events,
    activity as of today.
    """
    held = tuple(parts)
    first = _LAST
    interaction = purchase = login = response = _NONE
    first_purchase = registered = _LAST
    events = 0
    last_ms = _NONE[0]
    low, high = "", ""
    for part in held:
        events += part.events
        if part.first < first:
            first = part.first
        if part.last_ms > last_ms:
            last_ms = part.last_ms
        if part.interaction is not None and part.interaction > interaction:
            interaction = part.interaction
        if part.login is not None and part.login > login:
            login = part.login
        if part.response is not None and part.response > response:
            response = part.response
        if part.registered is not None and part.registered < registered:
            registered = part.registered
        if part.purchase is not None:
            if part.purchase > purchase:
                purchase = part.purchase
            if part.first_purchase is not None and part.first_purchase < first_purchase:
                first_purchase = part.first_purchase
            low = min(low, part.order_low) if low else part.order_low
            high = max(high, part.order_high)
    if not held:
        first = (now_ms, "")
        last_ms = now_ms
    day = config.calendar.day
    today = day(now_ms)
    active = max(interaction, purchase)
    lapse = max(login, purchase)
    # "Without login or purchase" means little for someone who never did either: then any activity counts.
    churn = max(lapse, response) if lapse is not _NONE else max(active, response)
    if churn is _NONE:
        churn = first
    is_active = active is not _NONE
    if not is_active:
        active = first
    has_bought = purchase is not _NONE
    purchase_day = day(purchase[0]) if has_bought else None
    window_start = today - config.windows.rfm
    frequency, oldest_order_day, loyal_until_day = 0, None, 0
    if purchase_day is not None:
        order_days = _order_days(held, window_start)
        frequency = len(order_days)
        if frequency:
            oldest_order_day = order_days[0]
            loyal_until_day = _loyal_until(order_days, purchase_day, today, config)
    currency, net_minor, oldest_money_day = _money(held, window_start, config.currency)
    engaged, engaged_until_day = _engaged(held, today, config)
    return View(
        held,
        now_ms,
        today,
        events,
        first[0],
        last_ms,
        first[1],
        is_active,
        day(active[0]),
        active[1],
        day(churn[0]),
        churn[1],
        day(lapse[0]) if lapse is not _NONE else None,
        lapse[1],
        purchase_day,
        purchase[1],
        day(first_purchase[0]) if has_bought else None,
        day(registered[0]) if registered is not _LAST else None,
        low != high,
        frequency,
        oldest_order_day,
        loyal_until_day,
        currency,
        net_minor,
        oldest_money_day,
        engaged,
        engaged_until_day,
    )


def window_count(parts: Iterable[Part], names: Collection[str], first_day: int) -> int:
    """Events of these names on `first_day` and later (at most RING_DAYS back)."""
    return sum(_since(ring, first_day) for part in parts for name, ring in part.counters.items() if name in names)


def _since(ring: Ring, first_day: int) -> int:
    days = ring.days
    if not days or days[-1] < first_day:
        return 0
    if days[0] >= first_day:
        return sum(ring.values)
    return sum(ring.values[bisect_right(days, first_day - 1) :])


def _order_days(parts: tuple[Part, ...], after: int) -> list[int]:
    """Ascending: for each distinct order its latest day, if later than `after`."""
    if len(parts) == 1:
        orders = parts[0].orders
    else:
        orders = {}
        for part in parts:
            if not orders:
                orders = part.orders
            elif part.orders:
                orders = dict(orders)
                for key, day in part.orders.items():
                    if day > orders.get(key, after):
                        orders[key] = day
    return sorted([day for day in orders.values() if day > after])


def _loyal_until(order_days: list[int], purchase_day: int, today: int, config: ProfileConfig) -> int:
    """The first day on which the customer is no longer loyal as far as purchases go; 0 when not loyal today."""
    needed = config.limits.loyal_purchases
    if len(order_days) < needed:
        return 0
    until = min(purchase_day + config.limits.loyal_days + 1, order_days[-needed] + config.windows.rfm)
    return until if until > today else 0


def _money(parts: tuple[Part, ...], after: int, main: str) -> tuple[str, int, int | None]:
    """(currency, net spend after a day, first day of it).

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
                oldest = day if oldest is None else min(oldest, day)
    sums = sums or past
    if not sums:
        return "", 0, None
    currency = main if main in sums else min(sums, key=lambda name: (-sums[name], name))
    return currency, sums[currency], oldest


def _net(ring: Ring, after: int) -> tuple[int, int | None]:
    days = ring.days
    if not days or days[-1] <= after:
        return 0, None
    if days[0] > after:
        return sum(ring.values), days[0]
    cut = bisect_right(days, after)
    return sum(ring.values[cut:]), days[cut]


def _engaged(parts: tuple[Part, ...], today: int, config: ProfileConfig) -> tuple[int, int]:
    """(service and social interactions in their window, first day with too few of them or 0)."""
    window = config.windows.interactive
    first_day = today - window + 1
    names = config.engaged
    rings = [ring for part in parts for name, ring in part.counters.items() if name in names]
    count = 0
    for ring in rings:
        count += _since(ring, first_day)
    enough = config.limits.interactive_count + 1
    if count < enough:
        return count, 0
    entries = [(day, n) for ring in rings for day, n in zip(ring.days, ring.values, strict=True)]
    entries.sort(reverse=True)
    got = 0
    for day, n in entries:
        got += n
        if got >= enough:
            return count, day + window
    return count, 0
