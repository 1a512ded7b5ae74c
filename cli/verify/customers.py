"""Hop 5: every customer in the graph, in profile's state and in ClickHouse: the same numbers, the same money.

Walks through Redis some keys at a time. On a running system the three are never read at one moment: who differs is
looked at again, after everything below has arrived, and only then named.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from struct import Struct
from typing import Any, cast

from cli.verify.model import Check, Names, differences
from services.chassis.clickhouse import Clickhouse
from services.chassis.ids import partition_of, uuid_text
from services.chassis.redis.client import RedisClient
from services.chassis.redis.inspect import scan_keys
from services.chassis.redis.slots import Slot
from services.identity.adapters import TAG as GRAPH_TAG
from services.profile.core.config import ProfileConfig
from services.profile.core.customer_log import CustomerState
from services.profile.core.view import view
from services.profile.states import Packer

CHUNK = 1_000
# Who differs is kept to be looked at again; more than this on a running system means that something is down.
MOST_DOUBTED = 20_000
REBUILD = (
    "profile's state in Redis is not what the topics say: `touchstream rebuild` makes it anew. Find out first who"
    " changed it (a restored backup, a hand)"
)
ARCHIVED = (
    "ClickHouse has another snapshot than Redis: the next event of the customer writes a new one; for many of them see"
    " the rows of the topics above"
)
GONE = (
    "in ClickHouse and not in Redis: Redis lost it, or the row was written by hand; `touchstream rebuild` puts it back"
)
_graph = Struct(">I")  # the beginning of a customer in the graph: its last number
_SNAPSHOTS = """
SELECT customer_id, rev, n, events, frequency, monetary_minor, currency, stage,
    toUnixTimestamp64Milli(updated_at) AS updated_ms
FROM customers_raw FINAL WHERE deleted = 0 AND customer_id IN {ids:Array(String)}
"""
_CURRENT = "SELECT customer_id FROM customers_raw FINAL WHERE deleted = 0 ORDER BY customer_id"


@dataclass(frozen=True, slots=True)
class Seen:
    """A customer in the three places; None where there is nothing."""

    customer_id: str
    graph_n: int | None
    state: CustomerState | None
    snapshot: Mapping[str, Any] | None


def waits(seen: Seen) -> bool:
    """Whether the customer waits for a hand-over: what is behind it is not worked yet, by right."""
    return seen.state is not None and not seen.state.is_complete()


def graph_problem(seen: Seen) -> str:
    """What is wrong between the graph and profile; empty when nothing is."""
    if seen.state is None:
        return "" if seen.graph_n is None else f"the graph has given out {seen.graph_n} numbers, profile has no state"
    if seen.graph_n is None:
        return f"profile has worked {seen.state.n} records of a customer that is not in the graph"
    if seen.state.n > seen.graph_n or (seen.state.n < seen.graph_n and not waits(seen)):
        return f"the graph has given out {seen.graph_n} numbers, profile has worked {seen.state.n}"
    return ""


def snapshot_problem(seen: Seen, config: ProfileConfig) -> str:
    """What is wrong between profile and ClickHouse; empty when nothing is."""
    state, row = seen.state, seen.snapshot
    if state is None or state.conclusion is None:
        return "" if row is None else "ClickHouse has a profile of a customer that Redis does not have"
    if row is None:
        return "not in ClickHouse" if state.rev else ""
    if state.rev != row["rev"]:
        return f"revision {state.rev} in Redis, {row['rev']} in ClickHouse"
    if state.is_history:
        return ""  # its values are of the time it lives in
    if waits(seen):
        return ""  # it has taken in records since its last snapshot, and says nothing before the hand-over
    at = view(state.parts.values(), int(row["updated_ms"]), config)
    ours = {
        "n": state.n, "events": at.events, "frequency": at.frequency, "monetary_minor": at.net_minor,
        "currency": at.currency, "stage": state.conclusion.stage,
    }  # fmt: skip
    wrong = [
        f"{name} {value} in Redis, {row[name]} in ClickHouse" for name, value in ours.items() if value != row[name]
    ]
    return "; ".join(wrong)


class CustomersHop:
    """Looks at all customers; `check` after the second look at those in doubt."""

    def __init__(self, client: RedisClient, house: Clickhouse, config: ProfileConfig, partitions: int) -> None:
        self._client, self._house, self._config, self._partitions = client, house, config, partitions
        self._packer = Packer()
        self.customers = self.snapshots = self.waiting = 0
        self.graph = Names("customers whose records profile has not all worked", REBUILD)
        self.rows = Names("customers whose snapshot in ClickHouse differs from Redis", ARCHIVED)
        self.gone = Names("customers in ClickHouse that Redis does not have", GONE)
        self._doubted: dict[str, None] = {}
        self.too_many = 0

    def walk(self, advance: Callable[[int], None]) -> None:
        """The first look: graph → profile → ClickHouse, profile → graph, ClickHouse → profile."""
        prefix = f"{GRAPH_TAG}:c:".encode()
        for keys in scan_keys(self._client, f"{GRAPH_TAG}:c:*"):
            ids = [uuid_text(key[len(prefix) :]) for key in keys]
            for seen in self.look(ids):
                if seen.graph_n is None:
                    continue  # merged or erased since the scan
                self.customers += 1
                self.snapshots += seen.snapshot is not None
                self.waiting += waits(seen)
                self._doubt(seen)
            advance(len(ids))
        for keys in scan_keys(self._client, "{profile:*}:c:*"):
            ids = [key.decode().rpartition(":")[2] for key in keys]
            for customer_id, n in zip(ids, self._graph(ids), strict=True):
                if n is None:
                    self._keep(customer_id)
        current = (str(row[0]) for row in self._house.stream_rows(_CURRENT))
        while ids := list(islice(current, CHUNK)):
            for customer_id, state in zip(ids, self._states(ids), strict=True):
                if state is None:
                    self._keep(customer_id)

    def look(self, ids: Sequence[str]) -> Iterator[Seen]:
        """The three places of these customers, ClickHouse last: it can only be ahead of what was read before it."""
        for at in range(0, len(ids), CHUNK):
            part = ids[at : at + CHUNK]
            # profile before the graph: what it has worked has been numbered.
            states = self._states(part)
            graph = self._graph(part)
            rows = {row["customer_id"]: row for row in self._house.query_rows(_SNAPSHOTS, {"ids": list(part)})}
            for customer_id, n, state in zip(part, graph, states, strict=True):
                yield Seen(customer_id, n, state, rows.get(customer_id))

    def _graph(self, ids: Sequence[str]) -> list[int | None]:
        keys = [f"{GRAPH_TAG}:c:".encode() + bytes.fromhex(one.replace("-", "")) for one in ids]
        found = cast("list[bytes | None]", self._client.mget(keys))
        return [_graph.unpack_from(raw)[0] if raw else None for raw in found]

    def _states(self, ids: Sequence[str]) -> list[CustomerState | None]:
        pipe = self._client.pipeline(transaction=False)
        for one in ids:
            pipe.get(Slot("profile", partition_of(one.encode(), self._partitions)).key("c", one))
        return [self._packer.read(raw, one) if raw else None for one, raw in zip(ids, pipe.execute(), strict=True)]

    def numbers(self, ids: Sequence[str]) -> dict[str, tuple[int, frozenset[int]]]:
        """What profile has worked of these customers, and which numbers it holds back."""
        states = zip(ids, self._states(ids), strict=True)
        return {name: (state.n, frozenset(state.held)) if state else (0, frozenset()) for name, state in states}

    def _problems(self, seen: Seen) -> tuple[str, str]:
        return graph_problem(seen), snapshot_problem(seen, self._config)

    def _doubt(self, seen: Seen) -> None:
        if any(self._problems(seen)):
            self._keep(seen.customer_id)

    def _keep(self, customer_id: str) -> None:
        if len(self._doubted) < MOST_DOUBTED:
            self._doubted[customer_id] = None
        else:
            self.too_many += 1

    def settle(self, arrive: Callable[[], bool]) -> None:
        """The second look at those in doubt: `arrive` waits until what is decided by now is in ClickHouse (False: it is
        not, and they stay unjudged). Who is touched again meanwhile gets another look.
        """
        for _ in range(5):
            if not self._doubted:
                return
            before = {seen.customer_id: seen for seen in self.look(list(self._doubted))}
            if not arrive():
                break
            after = {seen.customer_id: seen for seen in self.look(list(self._doubted))}
            still = {name: seen for name, seen in after.items() if any(self._problems(seen))}
            moved = {name for name, seen in still.items() if _stand(seen) != _stand(before[name])}
            for name in still.keys() - moved:
                self._name(still[name])
            self._doubted = dict.fromkeys(sorted(moved))

    def _name(self, seen: Seen) -> None:
        graph, snapshot = self._problems(seen)
        if seen.state is None and seen.snapshot is not None:
            self.gone.add(f"{seen.customer_id}")
        elif graph:
            self.graph.add(f"{seen.customer_id}: {graph}")
        elif snapshot:
            self.rows.add(f"{seen.customer_id}: {snapshot}")

    def check(self) -> list[Check]:
        """The lines of this hop."""
        unjudged = len(self._doubted) + self.too_many
        note = f"{self.waiting:,} wait for a hand-over" if self.waiting else ""
        return [
            Check(
                "graph → profile", "customers, all their numbers worked", self.customers,
                self.customers - self.graph.count, unjudged, note, differences([self.graph]),
            ),
            Check(
                "profile → ClickHouse", "customers: n, events, purchases, money, stage", self.customers,
                self.customers - self.rows.count, unjudged, "", differences([self.rows, self.gone]),
            ),
        ]  # fmt: skip


def _stand(seen: Seen) -> tuple[int | None, int | None]:
    """Moves whenever the customer does."""
    return seen.graph_n, seen.state.rev if seen.state else None
