"""What SQL says of every customer (sql.py), read beside the folds, and what differs from what the system says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from cli.verify.profiles.batch import ALL, Row
from cli.verify.profiles.compare import Difference
from cli.verify.profiles.sql import COUNTS, ORDERS
from services.chassis.clickhouse import Clickhouse
from services.profile.core.config import CANCELLATION, LINE, PURCHASE, REFUND, UPDATE, ProfileConfig
from services.profile.core.fold import OTHER_NAMES
from services.profile.core.state import MAX_MINOR, Part
from services.profile.core.view import view
from services.profile.core.windows import sum_after

BY_SQL = "sql"
ALL_DAYS = 1_000_000
# Of one event name: ever, in 365 days, in 90 days, today included.
Times = tuple[int, int, int]


@dataclass(slots=True)
class Opinion:
    """Of one customer, as of the profile of revision `rev`. Days are 0 without a purchase."""

    rev: int = 0
    events: int = 0
    first_ms: int = 0
    last_ms: int = 0
    counts: dict[str, Times] = field(default_factory=dict)
    today: int = 0
    purchase_day: int = 0
    first_purchase_day: int = 0
    frequency: int = 0
    money: Sequence[tuple[str, str, bool]] = ()

    def spend(self, main: str) -> tuple[str, int]:
        """(currency, minor units): the main one if it is in the window, else the one with the most."""
        sums = {name: int(minor) for name, minor, is_in in self.money if is_in}
        sums = sums or {name: 0 for name, _, _ in self.money}
        if not sums:
            return "", 0
        name = main if main in sums else min(sums, key=lambda one: (-sums[one], one))
        return name, max(-MAX_MINOR, min(sums[name], MAX_MINOR))


class Opinions:
    """Of all customers, or of some. Asked for ascending ids, each once."""

    def __init__(
        self, houses: tuple[Clickhouse, Clickhouse], config: ProfileConfig, ids: Sequence[str] | None = None
    ) -> None:
        """houses: a connection for each of the two queries."""
        which, bound = (ALL, {}) if ids is None else ("customer_id IN {ids:Array(String)}", {"ids": list(ids)})
        told = bound | _vocabulary(config) | {"zone": config.calendar.zone, "main": config.currency}
        told["window"] = config.windows.rfm or ALL_DAYS
        self._counts, self._orders = (
            _Stream(house.stream_rows(sql.replace("{which}", which), told))
            for house, sql in zip(houses, (COUNTS, ORDERS), strict=True)
        )

    def of(self, customer_id: str) -> Opinion:
        """This customer's; of somebody without events that of nobody."""
        one = Opinion()
        for _, rev, name, *times, first_ms, last_ms in self._counts.of(customer_id):
            one.rev, one.events = rev, one.events + times[0]
            one.first_ms = min(first_ms, one.first_ms or first_ms)
            one.last_ms = max(last_ms, one.last_ms)
            one.counts[name] = times[0], times[1], times[2]
        for _, rev, one.today, one.purchase_day, one.first_purchase_day, one.frequency, _, one.money in self._orders.of(
            customer_id
        ):
            # Written anew between the two queries: of neither revision.
            one.rev = one.rev if one.rev == rev else -1
        return one


class _Stream:
    """Rows by customer."""

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self._groups = groupby(rows, key=itemgetter(0))
        self._next = next(self._groups, None)

    def of(self, customer_id: str) -> list[tuple[Any, ...]]:
        while self._next is not None and self._next[0] < customer_id:
            self._next = next(self._groups, None)
        if self._next is None or self._next[0] != customer_id:
            return []
        found = list(self._next[1])
        self._next = next(self._groups, None)
        return found


def _vocabulary(config: ProfileConfig) -> dict[str, object]:
    """Names of the SQL's parameters → event names. A line is a purchase, too, and told apart here."""
    bits = {"purchase": PURCHASE, "line": LINE, "refund": REFUND, "update": UPDATE, "cancellation": CANCELLATION}
    names: dict[str, object] = {
        word: [name for name, kind in config.kinds.items() if kind & bit and (word == "line" or not kind & LINE)]
        for word, bit in bits.items()
    }
    return names


def opinion_differences(
    row: Row, opinion: Opinion, parts: Mapping[str, Part], where: str, config: ProfileConfig
) -> list[Difference]:
    """The profile in ClickHouse, and what `parts` (of Redis, or folded: where) know beyond it, beside what SQL says."""
    name, told = row["customer_id"], [("events", opinion.events)]
    if opinion.events:
        told += [("first_seen", opinion.first_ms), ("last_seen", opinion.last_ms)]
    seen = view(tuple(parts.values()), row["updated_at"], config)
    known: list[tuple[str, object, object]] = []
    # Of who has more orders than are kept, SQL knows more than the system does.
    if all(part.book is None or part.book.horizon is None for part in parts.values()):
        has_bought = opinion.purchase_day > 0
        told += [
            ("recency_days", max(0, opinion.today - opinion.purchase_day) if has_bought else -1),
            ("frequency", opinion.frequency),
        ]
        known.append(("first purchase (day)", seen.first_purchase_day or 0, opinion.first_purchase_day))
        if not config.rates:
            currency, minor = opinion.spend(config.currency)
            told += [("monetary_minor", minor), ("currency", currency)]  # type: ignore[list-item]
    known += _counts(parts, opinion, seen.today)
    found = [Difference(name, field, "clickhouse", row[field], sql, BY_SQL) for field, sql in told if row[field] != sql]
    return found + [Difference(name, field, where, live, sql, BY_SQL) for field, live, sql in known if live != sql]


def _counts(parts: Mapping[str, Part], opinion: Opinion, today: int) -> Iterator[tuple[str, object, object]]:
    """(field, ours, SQL's) of every event name."""
    counters = [part.counters for part in parts.values()]
    if any(OTHER_NAMES in one for one in counters):
        return  # more names than are kept apart
    for name in sorted(set(opinion.counts).union(*counters)):
        rings = [one[name] for one in counters if name in one]
        ours = sum(ring.total for ring in rings), sum_after(rings, today - 365), sum_after(rings, today - 90)
        yield f"counter {name} (ever, 365, 90 days)", list(ours), list(opinion.counts.get(name, (0, 0, 0)))
