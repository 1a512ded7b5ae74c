"""One customer computed anew from its events in ClickHouse, with profile's own folds: parts, values, scores, tags.

Events and customers are streamed in the order of customers; no more than one customer's parts are held at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from cli.folding import event_of
from services.chassis.clickhouse import Clickhouse
from services.profile.core.config import ProfileConfig
from services.profile.core.fold import fold
from services.profile.core.state import Part

# The view `events` without its columns for people and with the identifiers, which only parts show. ClickHouse sorts on
# disk what does not fit: a verification must not take the memory that inserts need.
EVENTS = """
SELECT
    if(ifNull(m.node, '') = '', e.customer_id, ifNull(m.customer_id, '')) AS customer,
    place_generation, place_partition, place_offset, e.customer_id, n, node, identifiers, event_id, type, name,
    source, toUnixTimestamp64Milli(occurred_at), toUnixTimestamp64Milli(received_at), order_id, amount_minor, currency,
    traits, flags, properties
FROM events_raw AS e
LEFT ANY JOIN
(
    SELECT node, argMax(customer_id, g) AS customer_id FROM identifier_map WHERE moved = 1 GROUP BY node
) AS m ON m.node = e.node
WHERE customer != '' AND {which}
ORDER BY customer, place_generation, place_partition, place_offset
SETTINGS max_bytes_before_external_sort = 1000000000
"""
ALL, SOME = "1", "customer IN {ids:Array(String)}"


@dataclass(slots=True)
class Batch:
    """Of one customer, up to number n of its log. last_n: the highest number of an event of its own, also beyond n."""

    customer_id: str
    parts: dict[str, Part] = field(default_factory=dict)
    last_n: int = 0


class Events:
    """Events of all customers, or of some, by customer. Asked for ascending ids, each once."""

    def __init__(self, house: Clickhouse, config: ProfileConfig, ids: Sequence[str] | None = None) -> None:
        which, bound = (ALL, {}) if ids is None else (SOME, {"ids": list(ids)})
        rows = house.stream_rows(EVENTS.replace("{which}", which), bound)
        self._groups = groupby(rows, key=itemgetter(0))
        self._config = config
        self._next: tuple[str, Iterator[tuple[Any, ...]]] | None = next(self._groups, None)
        self.count = 0

    def below(self, customer_id: str | None) -> Iterator[Batch]:
        """Those before this customer (None: all that are left): nobody asked for them."""
        while self._next is not None and (customer_id is None or self._next[0] < customer_id):
            yield self._fold(1 << 62)

    def of(self, customer_id: str, n: int) -> Batch:
        """This customer's, without the events that its log has given numbers beyond n."""
        if self._next is None or self._next[0] != customer_id:
            return Batch(customer_id)
        return self._fold(n)

    def _fold(self, n: int) -> Batch:
        assert self._next is not None
        batch, rows = Batch(self._next[0]), self._next[1]
        for _, same in groupby(rows, key=itemgetter(1, 2, 3)):
            self.count += 1
            row = next(same)  # a row that was inserted twice and has not yet collapsed counts once
            _add(batch, row, n, self._config)
        self._next = next(self._groups, None)
        return batch


def _add(batch: Batch, row: tuple[Any, ...], n: int, config: ProfileConfig) -> None:
    customer_id, generation, partition, offset, arrived, number, node, identifiers, *values = row
    event = event_of(values, f"{generation}.{partition}.{offset}", identifiers)
    if event is None:
        return
    if arrived == customer_id:
        batch.last_n = max(batch.last_n, number)
        if number > n:
            return
    batch.parts[node] = fold(batch.parts.get(node), event, config)


# What the live system says in ClickHouse; `tags` as JSON.
ROWS = """
SELECT customer_id, rev, n, events, toUnixTimestamp64Milli(first_seen) AS first_seen,
    toUnixTimestamp64Milli(last_seen) AS last_seen, stage, tags_json, traits, identifiers, nodes, recency_days,
    frequency, monetary_minor, currency, r, f, m, thresholds_version, toUnixTimestamp64Milli(updated_at) AS updated_at
FROM customers_raw FINAL WHERE deleted = 0 AND {which} ORDER BY customer_id
"""
_COLUMNS = (
    "customer_id", "rev", "n", "events", "first_seen", "last_seen", "stage", "tags_json", "traits", "identifiers",
    "nodes", "recency_days", "frequency", "monetary_minor", "currency", "r", "f", "m", "thresholds_version",
    "updated_at",
)  # fmt: skip
Row = Mapping[str, Any]


def rows(house: Clickhouse, ids: Sequence[str] | None = None) -> Iterator[Row]:
    """Current profiles in ClickHouse, by customer id."""
    which, bound = (ALL, {}) if ids is None else ("customer_id IN {ids:Array(String)}", {"ids": list(ids)})
    for row in house.stream_rows(ROWS.replace("{which}", which), bound):
        yield dict(zip(_COLUMNS, row, strict=True))
