"""Orders: reference and amount of a purchase or refund, from the properties of Segment's ecommerce spec."""

from typing import NamedTuple

from services.ingest.core.identifiers import identifier_text
from services.ingest.core.money import currency_code, parse_amount, to_minor
from services.ingest.core.problems import Problem

# The events whose amount counts as money of the customer. All others may carry prices, but nobody paid them. An update
# states the new total of an order; lines are orders told in parts.
AMOUNT_NAMES = frozenset({"Order Completed", "Order Line Completed", "Order Updated", "Order Refunded"})
# `total` is what the customer paid (with tax and shipping) and what a refund gives back; `revenue` is without both.
# So total comes first: net spend of an order that is refunded in full must be 0.
AMOUNT_FIELDS = ("total", "revenue", "value", "amount")
_ORDER_FIELDS = ("order_id", "orderId")


class Money(NamedTuple):
    """Whole minor units and their currency."""

    minor: int
    currency: str


def order_reference(properties: dict[str, object]) -> str:
    """properties.order_id (or orderId) as text, empty when there is none."""
    for field in _ORDER_FIELDS:
        if field in properties:
            return identifier_text(properties[field]) or ""
    return ""


def order_money(
    name: str,
    properties: dict[str, object],
    default_currency: str,
    originals: dict[str, object],
    problems: list[Problem],
) -> Money:
    """Total of an order or refund. A refund with a minus sign is the same refund; a purchase with one is refused."""
    field = next((f for f in AMOUNT_FIELDS if properties.get(f) is not None and properties[f] != ""), None)
    if field is None:
        return Money(0, "")
    path = "properties." + field
    stated = properties.get("currency") or default_currency
    currency = currency_code(stated) if isinstance(stated, str) and len(stated) <= 16 else None
    if currency is None:
        problems.append(Problem("currency_unknown", "properties.currency", "an ISO 4217 code expected, e.g. CNY"))
    elif "currency" in properties and properties["currency"] != currency:
        originals["properties.currency"] = properties["currency"]
        properties["currency"] = currency
    amount = parse_amount(properties[field])
    minor = to_minor(amount, currency or "CNY") if amount is not None else None
    if minor is None:
        problems.append(Problem("amount_invalid", path, "a number or decimal text expected, e.g. 129.90"))
        return Money(0, "")
    if minor < 0 and name == "Order Refunded":
        problems.append(Problem("amount_negative_refund", path, "the amount of a refund is positive"))
        originals[path] = properties[field]
        minor = -minor
    elif minor < 0:
        problems.append(Problem("amount_invalid", path, "the total of an order is not negative; send Order Refunded"))
    return Money(minor, currency or "")
