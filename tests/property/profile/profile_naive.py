"""Brute force: every value of a view computed from the raw events, one scan per value, no incremental state."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from services.profile.core.config import ProfileConfig
from services.profile.core.configuration import parse_config
from services.profile.core.state import Event
from tests.unit.profile.profile_builders import SHIPPED

ZONES = {
    name: parse_config({"time_zone": name}, SHIPPED) for name in ("Asia/Shanghai", "Europe/Berlin", "America/St_Johns")
}
CONFIG = ZONES["Asia/Shanghai"]
DAY_MS = 86_400_000
NOW_MS = 1_790_000_000_000
EVENTS = CONFIG.kinds.keys() | {"Page Viewed", "Product Viewed"}
RESPONSES = {
    "Message Opened",
    "Message Clicked",
    "Message Replied",
    "Email Opened",
    "Email Link Clicked",
    "Push Notification Tapped",
    "Promotion Clicked",
    "Coupon Applied",
    "Campaign Attended",
}
QUIET = {"Message Sent", "Order Cancelled", "Order Updated"}
PURCHASES = {"Order Completed", "Order Line Completed"}
# Purchases, service and social interactions often enough that the rarer tags and stages come up.
NAMES = (
    *("Order Completed",) * 4,
    *("Page Viewed",) * 2,
    *("Service Ticket Opened", "Content Shared") * 3,
    *("Order Refunded", "Logged In", "Registered", "Message Opened", "Message Sent", "Identified"),
    *("Order Cancelled", "Order Updated", "Order Line Completed"),
)
# For the tests of orders alone.
ORDER_NAMES = ("Order Completed", "Order Refunded") * 3 + ("Order Cancelled", "Order Updated", "Order Line Completed")
MONEY = [
    (order_id, amount_minor, currency)
    for order_id in ("", "", "", "A", "B", "an order id that is long")
    for amount_minor in (0, 700, 4_321)
    for currency in ("CNY", "CNY", "USD", "EUR")
]
TRAITS = [
    {"$set_once": {"a": 9, "e": 1}},
    {"$set_once": {"e": 2, "b": 8}},
    {"$unset": ["a", "d"], "d": 1},
    {},
    {},
    {"a": 1},
    {"a": 2, "b": 1},
    {"b": None},
    {"c": 3, "d": "x"},
    {"a": 3, "c": None, "d": "y"},
]
IDENTIFIERS = [(), (), ("user_id:a",), ("phone:b",), ("email:c", "user_id:a")]
# No deadline: on a busy machine the first example of a run is slow, which says nothing about the code.
CALM = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def event_lists(draw, max_size=25, max_days=500, min_size=1, is_edgy=True, names=NAMES, money=MONEY):
    """Events of one customer over some 500 days, ids and places unique, moments often equal, orders often shared."""
    count = draw(st.integers(min_size, max_size))
    day = st.integers(0, max_days)
    if is_edgy:
        day = st.one_of(day, st.sampled_from([0, 29, 30, 31, 89, 90, 91, 180, 181, 364, 365, 366, 399, 400]))
    # Few days and fewer hours, so that events often share a day or a moment.
    days = st.sampled_from(draw(st.lists(day, min_size=1, max_size=10)))
    hours = st.sampled_from(draw(st.sampled_from([[0], [0, 1], [0, 20_000_000, 60_000_000]])))
    events = []
    for number in range(count):
        name = draw(st.sampled_from(names))
        order_id, amount_minor, currency = draw(st.sampled_from(money)) if name.startswith("Order") else ("", 0, "")
        events.append(
            Event(
                event_id=f"e{number}",
                type="identify" if name == "Identified" else "track",
                name=name,
                source=draw(st.sampled_from(["shop", "crm"])),
                place=f"1.0.{number}",
                occurred_at=NOW_MS - draw(days) * DAY_MS - draw(hours),
                order_id=order_id,
                amount_minor=amount_minor,
                currency=currency,
                traits=draw(st.sampled_from(TRAITS)),
                identifiers=draw(st.sampled_from(IDENTIFIERS)),
            )
        )
    return events


def local_day(ms: int, config: ProfileConfig = CONFIG) -> int:
    """The calendar date by the standard library."""
    moment = datetime.fromtimestamp(ms // 1000, UTC).astimezone(ZoneInfo(config.calendar.zone))
    return (moment.date() - date(1970, 1, 1)).days


def naive_view(events: list[Event], now_ms: int, config: ProfileConfig = CONFIG) -> dict[str, object]:
    """Every scalar of `View` by name, from the raw events."""

    def day(ms):
        return local_day(ms, config)

    def latest(found):
        return max(((e.occurred_at, e.place) for e in found), default=None)

    today = day(now_ms)
    tracked = [e for e in events if e.type == "track"]
    active = latest([e for e in tracked if e.name not in QUIET])
    lapse = latest([e for e in tracked if e.name in {"Logged In", "Registered"} | PURCHASES])
    response = latest([e for e in tracked if e.name in RESPONSES])
    first = min((e.occurred_at, e.place) for e in events)
    churn = max([c for c in (lapse or active, response) if c] or [first])
    registered = [e.occurred_at for e in tracked if e.name == "Registered"]
    orders = naive_orders(tracked)
    order_days = [day(at) for at, _ in orders.values()]
    in_window = [one for one in order_days if one > today - 365]
    movements = naive_money(tracked, orders)
    in_money = [one for one in movements if day(one[0]) > today - 365]
    sums: dict[str, int] = {}
    for _, currency, minor in in_money or movements:
        sums[currency] = sums.get(currency, 0) + (minor if in_money else 0)
    currency = "CNY" if "CNY" in sums else min(sums, key=lambda c: (-sums[c], c), default="")
    shown = active or first
    return {
        "events": len(events),
        "first_ms": first[0],
        "first_place": first[1],
        "last_ms": max(e.occurred_at for e in events),
        "today": today,
        "is_active": active is not None,
        "activity_day": day(shown[0]),
        "activity_place": shown[1],
        "churn_day": day(churn[0]),
        "churn_place": churn[1],
        "lapse_day": day(lapse[0]) if lapse else None,
        "lapse_place": lapse[1] if lapse else "",
        "purchase_day": max(order_days, default=None),
        "first_purchase_day": min(order_days, default=None),
        "registered_day": day(min(registered)) if registered else None,
        "has_repeated": len(orders) > 1,
        "frequency": len(in_window),
        "oldest_order_day": min(in_window, default=None),
        "currency": currency,
        "net_minor": sums.get(currency, 0),
        "oldest_money_day": min((day(at) for at, _, _ in in_money), default=None),
    }


def naive_orders(tracked: list[Event]) -> dict[str, tuple[int, list[tuple[str, int]]]]:
    """Orders that are purchases: moment of the last purchase event, and (currency, what is left of it)."""
    cancelled = {e.order_id for e in tracked if e.name == "Order Cancelled" and e.order_id}
    orders = {}
    for key in {order_name(e) for e in tracked if e.name in PURCHASES} - cancelled:
        mine = [e for e in tracked if order_name(e) == key]
        stated = [
            (e.occurred_at, e.amount_minor, e.currency)
            for e in mine
            if e.name in ("Order Completed", "Order Updated") and e.currency
        ]
        if stated:
            _, minor, currency = max(stated)
            costs = {currency: minor}
        else:
            costs = {}
            for e in mine:
                if e.name == "Order Line Completed" and e.currency:
                    costs[e.currency] = costs.get(e.currency, 0) + e.amount_minor
        for e in mine:
            if e.name == "Order Refunded" and e.currency in costs:
                costs[e.currency] -= e.amount_minor
        at = max(e.occurred_at for e in mine if e.name in PURCHASES)
        orders[key] = at, [(currency, max(0, minor)) for currency, minor in costs.items()]
    return orders


def naive_money(tracked: list[Event], orders: dict) -> list[tuple[int, str, int]]:
    """(ms, currency, minor units) of everything that counts as spent or given back."""
    cancelled = {e.order_id for e in tracked if e.name == "Order Cancelled" and e.order_id}
    movements = [(at, currency, minor) for at, costs in orders.values() for currency, minor in costs]
    settled = orders.keys() | cancelled
    alone = [e for e in tracked if e.name == "Order Refunded" and order_name(e) not in settled]
    stated = [e for e in alone if e.amount_minor or (e.order_id and e.currency)]
    return movements + [(e.occurred_at, e.currency, -e.amount_minor) for e in stated]


def order_name(e: Event) -> str:
    return e.order_id or "event " + e.event_id
