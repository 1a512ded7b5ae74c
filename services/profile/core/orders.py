"""One event into the book of orders of its part. Any order of arrival gives the same book.

Every entry is the greatest of its kind (purchases, updates, cancellations) or a sum per moment (lines, refunds), so it
is the same whatever came first. The bound keeps that: an event counts if (its time, its order) is above the horizon,
and the horizon is where MAX_ENTRIES entries are left above it. It only rises, and what it passes is dropped event by
event, so a late event finds what an early one would have left.
"""

from binascii import b2a_base64
from hashlib import blake2b
from typing import TypeVar

from services.profile.core.config import CANCELLATION, LINE, PURCHASE, UPDATE, ProfileConfig
from services.profile.core.state import MAX_MINOR, Book, Event, Last, Sums

# Entries of one node: an order has one, and one more per refund, update or cancellation. People have dozens in a
# lifetime; a shared till must not grow its state without end. Lower: wholesale buyers lose orders of the RFM window.
# Higher: one such state slows the batch it is in (decoding costs about 0.1 µs an entry).
MAX_ENTRIES = 1_000

# Longer order ids are kept as a digest of 48 bits, to keep state small. Only orders of one node can collide: among ten
# million with twenty orders each, a single such pair has a chance of 1 : 100,000.
_PLAIN_ORDER_ID_LENGTH = 8
_NO_AMOUNT = ""
_Entry = TypeVar("_Entry")


def write_order(book: Book | None, event: Event, kind: int, config: ProfileConfig) -> Book:
    """The book with a purchase, or with a refund, update or cancellation that names its order. Changes it in place."""
    if book is None:
        book = Book()
    memory = book.__dict__  # not part of the bytes
    memory.pop("settled", None)
    memory.pop("seen", None)
    key, at = order_key(event.order_id, event.event_id), event.occurred_at
    if kind & CANCELLATION and (book.cancel is None or (at, event.place) > book.cancel):
        book.cancel = at, event.place
    if book.horizon is not None and (at, key) <= book.horizon:
        return book
    minor = event.amount_minor
    # ingest gives no currency exactly when no amount was stated.
    currency = event.currency or (config.currency if minor else _NO_AMOUNT)
    if kind & CANCELLATION:
        is_new = key not in book.cancelled
        if is_new or at > book.cancelled[key]:
            book.cancelled[key] = at
    elif kind & LINE:
        is_new = _add(book.lines, currency, key, at, minor)
    elif kind & PURCHASE:
        is_new = _raise(book.bought, currency, key, at, minor)
    elif currency == _NO_AMOUNT:
        return book
    elif kind & UPDATE:
        is_new = _raise(book.updated, currency, key, at, minor)
    else:
        is_new = _add(book.refunds, currency, key, at, minor)
    if is_new:
        size = memory["size"] = memory["size"] + 1 if "size" in memory else _size(book)
        if size > MAX_ENTRIES:
            _shed(book)
            memory["size"] = _size(book)
    return book


def order_key(order_id: str, event_id: str) -> str:
    """What makes two purchases one: the order id, or without one the event itself; at most 9 characters."""
    if order_id and len(order_id) <= _PLAIN_ORDER_ID_LENGTH:
        return order_id
    sign, text = ("#", order_id) if order_id else ("@", event_id)
    return sign + b2a_base64(blake2b(text.encode(), digest_size=6).digest(), newline=False).decode()


def merge(books: list[Book]) -> Book:
    """One book with what all say; they may share orders. Its bound is that of each."""
    whole = Book()
    for book in books:
        for kept, last in ((whole.bought, book.bought), (whole.updated, book.updated)):
            for currency, orders in last.items():
                for key, (at, minor) in orders.items():
                    _raise(kept, currency, key, at, minor)
        for mine, sums in ((whole.refunds, book.refunds), (whole.lines, book.lines)):
            for currency, moments in sums.items():
                for key, pairs in moments.items():
                    for index in range(0, len(pairs), 2):
                        _add(mine, currency, key, pairs[index], pairs[index + 1])
        for key, at in book.cancelled.items():
            if at > whole.cancelled.get(key, at - 1):
                whole.cancelled[key] = at
    return whole


def _raise(amounts: Last, currency: str, key: str, at: int, minor: int) -> bool:
    """Keep the last of an order; of one moment the larger amount, which needs no event id. True: a new entry."""
    orders = amounts.get(currency)
    if orders is None:
        orders = amounts[currency] = {}
    known = orders.get(key)
    if known is None or (at, minor) > known:
        orders[key] = at, minor
    return known is None


def _add(amounts: Sums, currency: str, key: str, at: int, minor: int) -> bool:
    """Add to the sum of that moment. True: a new entry."""
    pairs = amounts.setdefault(currency, {}).setdefault(key, [])
    index = len(pairs)
    while index and pairs[index - 2] > at:
        index -= 2
    if index and pairs[index - 2] == at:
        pairs[index - 1] = min(pairs[index - 1] + minor, MAX_MINOR)
        return False
    pairs[index:index] = (at, minor)
    return True


def _size(book: Book) -> int:
    """Entries of the book."""
    size = len(book.cancelled)
    for amounts in (book.bought, book.updated):
        size += sum(map(len, amounts.values()))
    for sums in (book.refunds, book.lines):
        for moments in sums.values():
            size += sum(map(len, moments.values())) // 2
    return size


def _shed(book: Book) -> None:
    """Raise the horizon until MAX_ENTRIES entries are left, and forget what is not above it."""
    lasts, sums = (book.bought, book.updated), (book.refunds, book.lines)
    entries = [(at, key) for key, at in book.cancelled.items()]
    for amounts in lasts:
        entries += [(at, key) for orders in amounts.values() for key, (at, _) in orders.items()]
    for table in sums:
        entries += [(at, key) for orders in table.values() for key, pairs in orders.items() for at in pairs[::2]]
    horizon = book.horizon = min(entries) if len(entries) == MAX_ENTRIES + 1 else sorted(entries)[-MAX_ENTRIES - 1]
    book.cancelled = {key: at for key, at in book.cancelled.items() if (at, key) > horizon}
    for amounts in lasts:
        for currency in list(amounts):
            left = {key: pair for key, pair in amounts[currency].items() if (pair[0], key) > horizon}
            _replace(amounts, currency, left)
    for table in sums:
        for currency in list(table):
            cut = {key: _above(pairs, key, horizon) for key, pairs in table[currency].items()}
            _replace(table, currency, {key: pairs for key, pairs in cut.items() if pairs})


def _above(pairs: list[int], key: str, horizon: tuple[int, str]) -> list[int]:
    index = 0
    while index < len(pairs) and (pairs[index], key) <= horizon:
        index += 2
    return pairs[index:]


def _replace(amounts: dict[str, dict[str, _Entry]], currency: str, left: dict[str, _Entry]) -> None:
    if left:
        amounts[currency] = left
    else:
        del amounts[currency]
