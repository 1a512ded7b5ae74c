"""The merge of a customer's parts as of now: days, counts and sums per window. Runs for every event.

The order of the parts does not matter, and splitting events over parts gives the same view as folding them into one,
for every moment not more than RING_DAYS - MAX_WINDOW_DAYS days before the newest event.
"""

from collections.abc import Iterable

from services.profile.core.config import INTERACTION, ProfileConfig
from services.profile.core.fold import kind_of
from services.profile.core.purchases import purchases_of
from services.profile.core.state import Clock, Event, Part, View
from services.profile.core.windows import engaged_in


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
    engaged, engaged_until_day = engaged_in(held, today, config)
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
        orders.loyal_until_day,
        orders.currency,
        orders.net_minor,
        orders.oldest_money_day,
        engaged,
        engaged_until_day,
    )


def go_on(seen: View, part: Part, event: Event, config: ProfileConfig) -> bool:
    """True when `event`, about to be folded into `part` of this view, leaves all tags, the stage and the scores.

    `seen` is then corrected to what `view` would say after the fold; else it is as it was. The event must be one of
    plain activity, of a name the part knows (another one may push a counted name out), on a day that lets no ring
    forget, later than the first; and the day of the last activity must neither change nor be one that began a tag.
    """
    name, at = event.name, event.occurred_at
    kind = kind_of(event, config)
    if kind > INTERACTION or kind & (INTERACTION - 1) or name in config.engaged or name not in part.counters:
        return False
    day = config.calendar.day(at)
    if day > part.newest_day or at <= seen.first_ms:
        return False
    if kind:
        clock = at, event.place
        if not seen.is_active or day > seen.activity_day or seen.today - seen.activity_day > config.limits.at_risk_days:
            return False
        if clock > (seen.activity_ms, seen.activity_place):
            seen.activity_ms, seen.activity_place = clock
        # Never earlier than the last activity then, so that its day stays too.
        if seen.lapse_day is None and clock > (seen.churn_ms, seen.churn_place):
            seen.churn_ms, seen.churn_place = clock
    seen.events += 1
    if at > seen.last_ms:
        seen.last_ms = at
    return True


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
