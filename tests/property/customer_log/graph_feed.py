"""identity as profile sees it: the naive graph's decisions as records of touchpoints.resolved, from several partitions.

What one identity partition sends to one profile partition arrives in order; everything else in any order.
"""

import uuid
from collections import defaultdict
from typing import Any

from services.chassis.avro import Codec
from services.chassis.ids import partition_of
from services.chassis.records import Record
from tests.property.identity.naive_graph import Limits, LogItem, NaiveGraph, Touch

SOURCES, PARTITIONS = 2, 3
TOPIC = "touchpoints.resolved"
TOUCHPOINT, LOG = Codec("touchpoint"), Codec("customer_log")


def place_of(item: LogItem) -> str:
    """generation.partition.offset of the touchpoint that decided it."""
    return f"1.{item.touch.place[0]}.{item.touch.place[1]}"


class Feed:
    """Touchpoints in, numbered records out; `queues` holds what is decided and not yet in a log."""

    def __init__(self) -> None:
        self.graph = NaiveGraph(Limits(), lambda first, birth: str(uuid.uuid5(uuid.NAMESPACE_URL, f"{first}:{birth}")))
        self.offsets = [0] * SOURCES
        self.numbers: defaultdict[tuple[int, int], int] = defaultdict(int)
        self.queues: defaultdict[tuple[int, int], list[Record]] = defaultdict(list)
        self.touchpoints: dict[tuple[int, int], dict[str, Any] | None] = {}

    def decide(self, kind: str, ids: tuple[str, ...], touchpoint: dict[str, Any] | None) -> list[LogItem]:
        """One touchpoint in the order of the graph; None stands for bytes that cannot be read. Returns its records."""
        source = partition_of(ids[0].encode(), SOURCES)
        place = source, self.offsets[source]
        self.offsets[source] += 1
        self.touchpoints[place] = touchpoint
        before = len(self.graph.log)
        self.graph.step(Touch(kind, ids, f"{place}", place))
        items = self.graph.log[before:]
        for item in items:
            key = item.customer.encode()
            target = partition_of(key, PARTITIONS)
            self.numbers[source, target] += 1
            headers = {
                "kind": item.kind.encode(), "n": b"%d" % item.n, "src": place_of(item).encode(),
                "seq": b"%d:%d" % (source, self.numbers[source, target]),
            }  # fmt: skip
            if item.kind == "event":
                headers["node"] = ids[0].encode()
            value = self._value(item, touchpoint)
            self.queues[source, target].append(Record(TOPIC, target, -1, key, value, headers, 0))
        return items

    def _value(self, item: LogItem, touchpoint: dict[str, Any] | None) -> bytes:
        if item.kind == "event":
            return b"\0garbage" if touchpoint is None else TOUCHPOINT.encode(touchpoint)
        place = place_of(item)
        k = item.pieces[0][0] if item.pieces else item.k
        return LOG.encode(
            {
                "kind": item.kind,
                "customer_id": item.customer,
                "n": item.n,
                "cause": place if item.kind == "erase" else f"{place}.{k}",
                "accepted_at": touchpoint["received_at"] if touchpoint else 0,
                "handoff_id": f"{place}.{item.k}" if item.kind == "take" else "",
                "from_id": item.giver,
                "pieces": [
                    {"handoff_id": f"{place}.{k}", "to_id": to, "nodes": list(nodes)} for k, to, nodes in item.pieces
                ],
                "nodes": list(item.nodes),
            }
        )
