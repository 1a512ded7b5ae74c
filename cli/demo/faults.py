"""Events that ingest must refuse, each with the code of its reason as ingest documents it. They identify nobody."""

from collections.abc import Callable
from random import Random

from cli.demo.acts import HISTORY, SHOP, WEB, Json, Planned

# Over ingest's 32 KB an event.
TOO_LARGE_CHARS = 33_000


def _placeholder(user_id: str) -> Json:
    return {"type": "track", "event": "Product Viewed", "userId": "null", "anonymousId": "00000000-0000-0000"}


def _nameless(user_id: str) -> Json:
    return {"type": "track", "userId": user_id, "properties": {"product_id": "p-101"}}


def _comma(user_id: str) -> Json:
    return _order(user_id, {"total": "12,50", "currency": "CNY"})


def _currency(user_id: str) -> Json:
    return _order(user_id, {"total": 99, "currency": "shells"})


def _time(user_id: str) -> Json:
    return {"type": "track", "event": "Logged In", "userId": user_id, "timestamp": "yesterday, about noon"}


def _type(user_id: str) -> Json:
    return {"type": "trakc", "event": "Logged In", "userId": user_id}


def _shape(user_id: str) -> Json:
    return {"type": "track", "event": "Product Viewed", "userId": user_id, "properties": "p-101"}


def _large(user_id: str) -> Json:
    return {"type": "page", "name": "Reviews", "userId": user_id, "properties": {"html": "x" * TOO_LARGE_CHARS}}


def _incomplete(user_id: str) -> Json:
    return _order(user_id, {"revenue": 59, "currency": "CNY"}, order_id=False)


def _order(user_id: str, properties: Json, order_id: bool = True) -> Json:
    more: Json = {"order_id": f"o-{user_id}"} if order_id else {}
    return {"type": "track", "event": "Order Completed", "userId": user_id, "properties": more | properties}


# (code, channel, message, weight)
FAULTS: tuple[tuple[str, str, Callable[[str], Json], int], ...] = (
    ("identifier_missing", WEB, _placeholder, 8),
    ("event_missing", SHOP, _nameless, 4),
    ("amount_invalid", SHOP, _comma, 4),
    ("currency_unknown", SHOP, _currency, 2),
    ("time_invalid", SHOP, _time, 3),
    ("type_unknown", WEB, _type, 3),
    ("not_an_object", WEB, _shape, 2),
    ("field_missing", WEB, _incomplete, 3),
    ("event_too_large", WEB, _large, 1),
)


def faulty(token: str, random: Random, count: int) -> list[Planned]:
    """`count` events with faults, some of them lines of the import that are cut off."""
    found = []
    for n in range(count):
        user_id = f"x-{token}{n:04d}"
        if random.random() < 0.12:
            line = b'{"type": "track", "event": "Order Completed", "userId": "' + user_id.encode()
            found.append(Planned(HISTORY, -1.0, {}, fault="json_malformed", raw=line))
            continue
        code, channel, make, _ = random.choices(FAULTS, [weight for *_, weight in FAULTS])[0]
        found.append(Planned(channel, random.random(), make(user_id), fault=code))
    return found
