"""Touchpoints that retention has taken, from ClickHouse: events as they were, requests by what they brought about.

events_raw has every field of a touchpoint. An erasure, a split, a link by a person is told by identity_changes_raw:
which identifiers, who asked (see requests.py); the graph as it is then says whose links were taken back.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from services.chassis.clickhouse import Clickhouse
from services.chassis.errors import Fatal
from services.identity.core.decisions import Batch
from services.identity.rebuild.eras import Era, era_of
from services.identity.rebuild.requests import Renewed, Told, told_by

_FIELDS = (
    "event_id", "type", "name", "source", "order_id", "amount_minor", "currency", "identifiers", "properties", "traits",
    "context", "originals", "flags",
)  # fmt: skip
_BYTES = ("properties", "traits", "context", "originals")
_EVENTS = f"""
SELECT batch, place_partition, place_offset, customer_id, n, toUnixTimestamp64Milli(log_at),
    toUnixTimestamp64Milli(occurred_at), toUnixTimestamp64Milli(received_at), {", ".join(_FIELDS)}
FROM events_raw FINAL WHERE place_offset < arrayElement({{firsts:Array(UInt64)}}, place_partition + 1)
ORDER BY batch, place_offset
"""
_PLACE = "toUInt32(splitByChar('.', cause)[2]) AS p, toUInt64(splitByChar('.', cause)[3]) AS o"
_OF_REQUESTS = """
FROM identity_changes_raw FINAL
WHERE o < arrayElement({firsts:Array(UInt64)}, p + 1)
    AND (kind IN ('split', 'unlinked', 'declined', 'erased', 'refused', 'released')
    OR kind IN ('linked', 'conflict', 'blocked') AND length(nodes) = 2 AND match(reason, '(^|: )(linked by|link of) '))
"""
_REQUESTS = f"""
SELECT batch, {_PLACE}, kind, customer_id, from_id, nodes, source, event_id, toUnixTimestamp64Milli(log_at),
    toUnixTimestamp64Milli(occurred_at), toUnixTimestamp64Milli(accepted_at), reason, g
{_OF_REQUESTS} ORDER BY g
"""
# The new node, the former one, the identifier; of the nodes that requests are told with.
_RENEWED = f"""
WITH concerned AS (SELECT DISTINCT arrayJoin(nodes) FROM (SELECT nodes, {_PLACE} {_OF_REQUESTS}))
SELECT g, nodes FROM identity_changes_raw FINAL
WHERE kind IN ('moved', 'expired') AND (nodes[1] IN concerned OR nodes[2] IN concerned)
"""
_LINKED = f"""
SELECT batch, {_PLACE}, kind, nodes FROM identity_changes_raw FINAL
WHERE o < arrayElement({{firsts:Array(UInt64)}}, p + 1) AND kind IN ('linked', 'blocked') ORDER BY batch, o
"""
_ERAS = """
SELECT batch, nodes, reason, toUnixTimestamp64Milli(occurred_at) AS occurred_at, cause FROM identity_changes_raw FINAL
WHERE kind = 'policy' ORDER BY g
"""
_BATCHES = f"""
SELECT batch, p, min(o), max(o) + 1 FROM (
    SELECT batch, place_partition AS p, place_offset AS o FROM events_raw
    UNION ALL SELECT batch, {_PLACE} FROM identity_changes_raw
) GROUP BY batch, p
"""


@dataclass(frozen=True, slots=True)
class Older:
    """What lies before `firsts`, the oldest offsets of `touchpoints` by partition."""

    clickhouse: Clickhouse
    another: Clickhouse  # a second connection: two answers are read side by side
    firsts: list[int]

    def batches(self) -> dict[int, tuple[int, Batch]]:
        """Number → (partition, batch). Raises Fatal when rows do not say in which order they were decided."""
        found = {}
        for number, partition, first, upto in self._ask(_BATCHES):
            if number:
                found[number] = partition, Batch(first, upto, number)
            elif first < self.firsts[partition]:
                raise Fatal(
                    f"events_raw holds touchpoints of partition {partition} from offset {first} on that retention has"
                    " taken and whose order was not recorded (column batch is 0): written by an older release"
                )
        return found

    def eras(self) -> dict[int, Era]:
        """Number of the first batch under a policy → that policy."""
        return {int(row["batch"]): era_of(row) for row in self.clickhouse.query_rows(_ERAS)}

    def touchpoints(self) -> Iterator[Told]:
        """In the order of batches and offsets."""
        requests = self._requests()
        for batch, partition, offset, customer, n, log_ms, occurred, received, *rest in self._ask(_EVENTS):
            while requests and (requests[0].batch, requests[0].offset) < (batch, offset):
                yield requests.pop(0)
            fields = dict(zip(_FIELDS, rest, strict=True))
            fields |= {name: fields[name].encode() for name in _BYTES}
            fields |= {"occurred_at": occurred, "received_at": received}
            yield Told(batch, partition, offset, fields, log_ms, customer, n)
        yield from requests

    def linked(self) -> Iterator[tuple[int, int, str, tuple[str, ...]]]:
        """(batch, offset, kind, nodes) of identifiers that were new and joined a customer, or refused, in order."""
        for batch, _, offset, kind, nodes in self.another.stream_rows(_LINKED, {"firsts": self.firsts}):
            yield batch, offset, kind, tuple(nodes)

    def _requests(self) -> list[Told]:
        by_place: dict[tuple[int, int, int], list[Any]] = defaultdict(list)
        for row in self._ask(_REQUESTS):
            by_place[row[:3]].append(row)
        if not by_place:
            return []
        rows = list(self._ask(_RENEWED))
        renewed = Renewed({nodes[0]: nodes[2] for _, nodes in rows}, {nodes[1]: int(g) for g, nodes in rows})
        return [
            told_by(place, rows, renewed)
            for place, rows in sorted(by_place.items(), key=lambda item: (item[0][0], item[0][2]))
        ]

    def _ask(self, sql: str) -> Iterator[tuple[Any, ...]]:
        return self.clickhouse.stream_rows(sql, {"firsts": self.firsts})
