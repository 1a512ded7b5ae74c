"""`touchstream tags backfill`: what a changed file counts and says, for everybody, from their history.

Looks at the states in Redis: who was concluded by another file, or has parts that a measure has not seen from their
beginning. Those parts are folded anew from ClickHouse and laid before the running profile, which takes them over in its
own step. A customer whose events ClickHouse does not have whole yet, or who waits in profile for a record or for parts,
stays on the list.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import cast

from cli.folding import parts_of
from services.chassis.clickhouse import Clickhouse
from services.chassis.errors import Retriable
from services.chassis.ids import partition_of
from services.chassis.redis.client import RedisClient, RedisError
from services.chassis.redis.inspect import scan_keys
from services.chassis.redis.slots import Slot
from services.profile.backfill import Asked, encode_asked, key_of
from services.profile.core.config import ProfileConfig
from services.profile.core.customer_log import CustomerState
from services.profile.states import Packer

# Customers laid before a partition at once: a batch of profile, a second of its time.
CHUNK = 200
POLL_S = 0.1
# So long nothing may get on before the command says who is left.
PATIENCE_S = 60.0
_EVENTS = """
SELECT node, event_id, type, name, source, toUnixTimestamp64Milli(occurred_at) AS at,
    toUnixTimestamp64Milli(received_at), order_id, amount_minor, currency, traits, flags, properties,
    concat(toString(place_generation), '.', toString(place_partition), '.', toString(place_offset))
FROM events_raw FINAL
WHERE node IN {nodes:Array(String)}
ORDER BY node
"""


@dataclass(frozen=True, slots=True)
class Owed:
    """A customer to be looked at. nodes: parts that a measure has not seen whole; waits: nothing is concluded yet."""

    customer_id: str
    nodes: tuple[str, ...]
    waits: bool = False


class Backfill:
    """`left()` says who is owed something, `run` until nobody is or nothing gets on."""

    def __init__(self, redis: RedisClient, store: Clickhouse, config: ProfileConfig, partitions: int) -> None:
        self._redis, self._store, self._config, self._partitions = redis, store, config, partitions
        self._packer = Packer()

    def left(self) -> list[Owed]:
        """Everybody who is owed something, by walking through all states."""
        found: list[Owed] = []
        for keys in scan_keys(self._redis, "{profile:*}:c:*"):
            found += self._owed([key.rpartition(b":c:")[2].decode() for key in keys])
        return found

    def _owed(self, customers: list[str]) -> list[Owed]:
        catalogue = self._config.catalogue
        found = []
        for customer_id, raw in zip(customers, self._read([self._key(name) for name in customers]), strict=True):
            state = self._packer.read(raw, customer_id) if raw is not None else CustomerState()
            waits = not state.is_complete()
            if state.conclusion is None and not waits:
                continue
            nodes = tuple(node for node, part in state.parts.items() if part.measured != catalogue.measures_version)
            if nodes or (state.conclusion is not None and state.conclusion.defined != catalogue.version):
                found.append(Owed(customer_id, nodes, waits))
        return found

    def run(self, owed: list[Owed], advance: Callable[[int], None]) -> list[Owed]:
        """Who is still owed something when nothing gets on for PATIENCE_S; `advance` is told how many are done."""
        changed_s = time.monotonic()
        while owed:
            by_partition: dict[int, list[Owed]] = {}
            for one in owed:
                by_partition.setdefault(partition_of(one.customer_id.encode(), self._partitions), []).append(one)
            for partition, those in by_partition.items():
                self._lay(Slot("profile", partition), [one for one in those[:CHUNK] if not one.waits])
            time.sleep(POLL_S)
            asked = [one for those in by_partition.values() for one in those[:CHUNK]]
            still = {one.customer_id: one for chunk in _chunks(asked) for one in self._owed(chunk)}
            done = {one.customer_id for one in asked} - still.keys()
            # Who does not get on does not hold up the others.
            looked_at = done | still.keys()
            owed = [one for one in owed if one.customer_id not in looked_at] + list(still.values())
            if done:
                changed_s = time.monotonic()
                advance(len(done))
            elif time.monotonic() - changed_s > PATIENCE_S:
                return owed
        return []

    def _lay(self, slot: Slot, owed: list[Owed]) -> None:
        """Ask this of a partition, unless it has not taken the last yet."""
        if not owed:
            return
        (waiting,) = self._read([key_of(slot)])
        if waiting is None:
            asked: Asked = {one.customer_id: {} for one in owed}
            where = {node: one.customer_id for one in owed for node in one.nodes}
            rows = self._store.stream_rows(_EVENTS, {"nodes": list(where)}) if where else iter(())
            for node, events in groupby(rows, key=itemgetter(0)):
                asked[where[node]].update(parts_of(iter(events), self._config).parts)
            self._write(key_of(slot), encode_asked(asked))

    def _key(self, customer_id: str) -> str:
        return Slot("profile", partition_of(customer_id.encode(), self._partitions)).key("c", customer_id)

    def _read(self, keys: list[str]) -> list[bytes | None]:
        try:
            return cast(list[bytes | None], self._redis.mget(keys)) if keys else []
        except RedisError as error:
            raise Retriable(f"profile's states: {error}") from error

    def _write(self, key: str, value: bytes) -> None:
        try:
            self._redis.set(key, value, nx=True)
        except RedisError as error:
            raise Retriable(f"{key}: {error}") from error


def _chunks(owed: list[Owed]) -> Iterator[list[str]]:
    for start in range(0, len(owed), 1_000):
        yield [one.customer_id for one in owed[start : start + 1_000]]
