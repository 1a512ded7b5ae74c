"""The fields of a view that come from orders and refunds."""

import msgspec

from services.profile.core.config import ProfileConfig
from services.profile.core.settle import settled
from services.profile.core.state import Book, Clock, Part
from services.profile.core.windows import ALL_TIME, money_in, orders_in


class Purchases(msgspec.Struct, gc=False):
    """Named as the fields of a view."""

    purchase_day: int | None = None
    purchase_place: str = ""
    first_purchase_day: int | None = None
    has_repeated: bool = False
    frequency: int = 0
    oldest_order_day: int | None = None
    currency: str = ""
    net_minor: int = 0
    oldest_money_day: int | None = None
    purchase_ms: int = 0
    first_purchase_ms: int = 0


# Of most people; nobody writes to it.
_NOTHING = Purchases()


def purchases_of(
    parts: tuple[Part, ...], purchase: Clock | None, first_purchase: Clock | None, today: int, config: ProfileConfig
) -> Purchases:
    """`purchase`, `first_purchase`: the last and the first purchase event, of a cancelled order perhaps.

    Made once a day and order event, not once an event, unless there are refunds without an order.
    """
    books = [part.book for part in parts if part.book is not None]
    money = [part.money for part in parts if part.money]
    if money or not books:
        return _look(parts, purchase, first_purchase, today, config) if money else _NOTHING
    memory = books[0].__dict__
    seen = memory.get("seen")
    # What `settled` remembers of a book is another object after its next order event.
    if seen is None or seen[0] is not config or seen[1] != today or seen[2] != _versions(books):
        orders = _look(parts, purchase, first_purchase, today, config)
        seen = memory["seen"] = (config, today, _versions(books), orders)
    known: Purchases = seen[3]
    return known


def _versions(books: list[Book]) -> list[object]:
    return [book.__dict__.get("settled") for book in books]


def _look(
    parts: tuple[Part, ...], purchase: Clock | None, first_purchase: Clock | None, today: int, config: ProfileConfig
) -> Purchases:
    found = settled(parts, config)
    window = config.windows.rfm
    after = today - window if window else ALL_TIME
    currency, net_minor, oldest_money_day = money_in(parts, found, after, config)
    one = Purchases(currency=currency, net_minor=net_minor, oldest_money_day=oldest_money_day if window else None)
    bought = [book for book in found if book.orders.total]
    if not bought or purchase is None or first_purchase is None:
        return one
    last_ms, first_ms = max([book.last_ms for book in bought]), min([book.first_ms for book in bought])
    cancels = [part.book.cancel for part in parts if part.book is not None and part.book.cancel is not None]
    # What made an earlier purchase the last one again is the record that cancelled a later one.
    one.purchase_place = purchase[1] if last_ms == purchase[0] or not cancels else max(cancels)[1]
    if any(part.book is not None and part.book.horizon is not None for part in parts):
        first_ms = min(first_ms, first_purchase[0])
    one.purchase_day, one.first_purchase_day = config.calendar.day(last_ms), config.calendar.day(first_ms)
    one.has_repeated = sum([book.orders.total for book in bought]) > 1
    one.purchase_ms, one.first_purchase_ms = last_ms, first_ms
    one.frequency, oldest_order_day, _ = orders_in(bought, after, 1)
    one.oldest_order_day = oldest_order_day if window else None
    return one
