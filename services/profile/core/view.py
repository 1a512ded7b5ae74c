"""The merge of a customer's parts as of now: days, counts and sums per window. Runs for every event.

The order of the parts does not matter, and splitting events over parts gives the same view as folding them into one,
for every moment not more than RING_DAYS - MAX_WINDOW_DAYS days before the newest event.
"""

from collections.abc import Iterable

from services.profile.core.config import ProfileConfig
from services.profile.core.purchases import purchases_of
from services.profile.core.state import Clock, Part, View


def view(parts: Iterable[Part], now_ms: int, config: ProfileConfig) -> View:
    """What all parts together say at `now_ms`.

    Reads only; the view refers to the parts and is stale after the next fold. No parts give an empty view: zero events,
    activity as of today.
    """
    held = tuple(parts)
    if len(held) == 1:
        one = held[0]
    elif held:
        one = _merge_clocks(held)
    else:
        one = Part((now_ms, ""), 0, now_ms)
    first, purchase, login, response = one.first, one.purchase, one.login, one.response
    first_purchase, registered = one.first_purchase, one.registered
    active = _later(one.interaction, purchase)
    lapse = _later(login, purchase)
    # "Without login or purchase" means little for someone who never did either: then any activity counts.
    churn = _later(active if lapse is None else lapse, response) or first
    shown = active or first
    today = config.calendar.day(now_ms)
    day = config.calendar.day
    orders = purchases_of(held, purchase, first_purchase, today, config)
    return View(
        held,
        now_ms,
        today,
        one.events,
        first[0],
        one.last_ms,
        first[1],
        active is not None,
        shown[0],
        day(shown[0]),
        shown[1],
        churn[0],
        day(churn[0]),
        churn[1],
        None if lapse is None else day(lapse[0]),
        "" if lapse is None else lapse[1],
        orders.purchase_day,
        orders.purchase_place,
        orders.first_purchase_day,
        None if registered is None else day(registered[0]),
        orders.has_repeated,
        orders.frequency,
        orders.oldest_order_day,
        orders.currency,
        orders.net_minor,
        orders.oldest_money_day,
        orders.purchase_ms,
        orders.first_purchase_ms,
        one,
    )


def _later(a: Clock | None, b: Clock | None) -> Clock | None:
    if a is None or b is None:
        return a or b
    return a if a > b else b


def _merge_clocks(parts: tuple[Part, ...]) -> Part:
    """A part with the merged clocks and counts; its rings stay empty."""
    first, last_ms, events = parts[0].first, parts[0].last_ms, 0
    interaction = purchase = first_purchase = login = registered = response = None
    for part in parts:
        events += part.events
        if part.first < first:
            first = part.first
        if part.last_ms > last_ms:
            last_ms = part.last_ms
        clock = part.interaction
        if clock is not None and (interaction is None or clock > interaction):
            interaction = clock
        clock = part.login
        if clock is not None and (login is None or clock > login):
            login = clock
        clock = part.response
        if clock is not None and (response is None or clock > response):
            response = clock
        clock = part.registered
        if clock is not None and (registered is None or clock < registered):
            registered = clock
        clock = part.purchase
        if clock is not None:
            if purchase is None or clock > purchase:
                purchase = clock
            clock = part.first_purchase
            if clock is not None and (first_purchase is None or clock < first_purchase):
                first_purchase = clock
    return Part(first, 0, last_ms, events, interaction, purchase, first_purchase, login, registered, response)
