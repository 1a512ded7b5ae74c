"""Brute force: every value of a view computed from the raw events, one scan per value, no incremental state."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from services.profile.core.config import ProfileConfig, parse_config
from services.profile.core.state import Event

ZONES = {name: parse_config({"time_zone": name}) for name in ("Asia/Shanghai", "Europe/Berlin", "America/St_Johns")}
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
QUIET = {"Message Sent", "Order Cancelled"}
# Purchases, service and social interactions often enough that the rarer tags and stages come up.
NAMES = (
    *("Order Completed",) * 4,
    *("Page Viewed",) * 2,
    *("Service Ticket Opened", "Content Shared") * 3,
    *("Order Refunded", "Logged In", "Registered", "Message Opened", "Message Sent", "Identified"),
)
MONEY = [
    (order_id, amount_minor, currency)
    for order_id in ("", "", "", "A", "B", "an order id that is long")
    for amount_minor in (0, 700, 4_321)
    for currency in ("CNY", "CNY", "USD", "EUR")
]
TRAITS = [{}, {}, {"a": 1}, {"a": 2, "b": 1}, {"b": None}, {"c": 3, "d": "x"}, {"a": 3, "c": None, "d": "y"}]
IDENTIFIERS = [(), (), ("user_id:a",), ("phone:b",), ("email:c", "user_id:a")]
# No deadline: on a busy machine the first example of a run is slow, which says nothing about the code.
CALM = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def event_lists(draw, max_size=25, max_days=500, min_size=1, is_edgy=True):
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
        name = draw(st.sampled_from(NAMES))
        order_id, amount_minor, currency = draw(st.sampled_from(MONEY)) if name.startswith("Order") else ("", 0, "")
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
    buys = [e for e in tracked if e.name == "Order Completed"]
    money = [e for e in tracked if e.name in ("Order Completed", "Order Refunded") and e.amount_minor]
    active = latest([e for e in tracked if e.name not in QUIET])
    lapse = latest([e for e in tracked if e.name in ("Logged In", "Registered", "Order Completed")])
    response = latest([e for e in tracked if e.name in RESPONSES])
    first = min((e.occurred_at, e.place) for e in events)
    churn = max([c for c in (lapse or active, response) if c] or [first])
    registered = [e.occurred_at for e in tracked if e.name == "Registered"]
    in_window = [e for e in buys if day(e.occurred_at) > today - 365]
    order_days: dict[str, int] = {}
    for e in in_window:
        key = e.order_id or "event " + e.event_id
        order_days[key] = max(order_days.get(key, -(10**9)), day(e.occurred_at))
    in_money = [e for e in money if day(e.occurred_at) > today - 365]
    sums: dict[str, int] = {}
    for e in in_money or money:
        sign = 1 if e.name == "Order Completed" else -1
        sums[e.currency] = sums.get(e.currency, 0) + (sign * e.amount_minor if in_money else 0)
    currency = "CNY" if "CNY" in sums else min(sums, key=lambda c: (-sums[c], c), default="")
    engaged = [e for e in tracked if e.name in config.engaged and day(e.occurred_at) > today - 90]
    shown = active or first
    buy_days, engaged_days = sorted(order_days.values()), sorted(day(e.occurred_at) for e in engaged)
    loyal_until = 0
    if len(buy_days) >= 4:
        loyal_until = min(max(day(e.occurred_at) for e in buys) + 91, buy_days[-4] + 365)
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
        "purchase_day": max((day(e.occurred_at) for e in buys), default=None),
        "first_purchase_day": min((day(e.occurred_at) for e in buys), default=None),
        "registered_day": day(min(registered)) if registered else None,
        "has_repeated": len({e.order_id or "event " + e.event_id for e in buys}) > 1,
        "frequency": len(order_days),
        "oldest_order_day": min(order_days.values(), default=None),
        "currency": currency,
        "net_minor": sums.get(currency, 0),
        "oldest_money_day": min((day(e.occurred_at) for e in in_money), default=None),
        "engaged": len(engaged),
        "engaged_until_day": engaged_days[-6] + 90 if len(engaged_days) > 5 else 0,
        "loyal_until_day": loyal_until if loyal_until > today else 0,
    }
