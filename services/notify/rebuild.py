"""notify's Redis from its topics: what has ended is remembered, what has not is looked at again as in doubt.

`deliveries` says what ended and how. Of a trigger that notify had taken in and of which no delivery ended, nobody can
say whether it was sent: its deliveries wait again, marked as sent once with an unknown answer, so that each channel
does what it does after a lost answer (again under the same id, or `unknown`, never twice where that reaches people).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol

import msgspec

from services.chassis.avro import Codec
from services.chassis.clickhouse import Clickhouse
from services.chassis.clock import now_ms
from services.chassis.errors import Poison
from services.chassis.ids import stable_id
from services.chassis.kafka.streams import Streams
from services.chassis.records import Record
from services.chassis.redis.claim import number_of
from services.chassis.registry import Registry
from services.notify.adapters import __name__ as adapters
from services.notify.adapters.store import TAG, Accepted
from services.notify.core.plan import Malformed
from services.notify.handler.intake import Planner

TRIGGERS, DELIVERIES = "triggers", "deliveries"
BATCH = 1_000
# Taken in and not yet committed when Redis was lost: what lies this far behind the committed offset, and was there
# before this long after notify's last sign of life. Higher: triggers that nobody had taken in are treated as in doubt.
UNCOMMITTED, ALIVE_MS = 1_000, 60_000
_encode = msgspec.msgpack.Encoder().encode


class Client(Protocol):
    """The part of a synchronous Redis client that is used."""

    def register_script(self, script: str) -> Callable[..., Any]: ...
    def pipeline(self, transaction: bool) -> Any: ...
    def hset(self, name: str, *, mapping: Any) -> Any: ...
    def set(self, name: str, value: int) -> Any: ...


@dataclass(slots=True)
class Rebuilt:
    """ended: deliveries remembered; doubtful: waiting again; lost_records: ended at once, to be told again."""

    ended: int = 0
    triggers: int = 0
    doubtful: int = 0
    lost_records: int = 0


@dataclass(frozen=True, slots=True)
class Older:
    """What retention has taken of `deliveries` (`firsts`: oldest offsets by partition), from ClickHouse.

    `number(partition)`: the number of the last trigger of that partition that is gone.
    """

    clickhouse: Clickhouse
    firsts: Sequence[int]
    number: Callable[[int], int]

    def deliveries(self, partition: int) -> list[tuple[str, str, int]]:
        """(id, status, when) of those that ended."""
        sql = (
            "SELECT delivery_id, status, toUnixTimestamp64Milli(finished_at) FROM deliveries_raw FINAL"
            " WHERE log_partition = {p:UInt32} AND log_offset < {first:UInt64}"
        )
        params = {"p": partition, "first": self.firsts[partition]}
        return [(row[0], row[1], int(row[2])) for row in self.clickhouse.stream_rows(sql, params)]

    def delivered(self, partition: int) -> int:
        """How many deliveries ended there before the oldest record: the number of the last of them."""
        return len(self.deliveries(partition))


class Rebuild:
    """One run. `planner(now)` opens what is needed to plan a trigger anew; asked for only when one is in doubt."""

    def __init__(
        self, client: Client, partitions: int, registry: Registry, inputs: Streams, worked: Mapping[int, int],
        remember_ms: int, planner: Callable[[Callable[[], int]], Planner], advance: Callable[[int], object],
        older: "Older | None" = None,
    ) -> None:  # fmt: skip
        """`worked`: partition of `triggers` → offset up to which notify had taken everything in; `older`: what
        retention has taken.
        """
        self._older = older
        self._client, self._partitions, self._inputs = client, partitions, inputs
        self._worked, self._remember_ms, self._advance = worked, remember_ms, advance
        self._planner: Planner | None = None
        self._open, self._moment_ms, self._alive_ms = planner, 0, 0
        self._trigger, self._delivery = Codec("trigger", registry), Codec("delivery", registry)
        script = "".join(files(adapters).joinpath(name).read_text("utf-8") for name in ("common.lua", "accept.lua"))
        self._accept = client.register_script(script)
        self.done = Rebuilt()

    def run(self) -> Rebuilt:
        """Remember what ended, then look at the triggers."""
        for p in range(self._partitions):
            self._remember(p)
        for p in range(self._partitions):
            self._take_in(p)
        return self.done

    def remember(self, ended: list[tuple[str, str, int]]) -> None:
        """Deliveries that have ended: (id, status, when)."""
        pipe = self._client.pipeline(transaction=False)
        for delivery_id, status, finished_ms in ended:
            key = f"{TAG}:d:{delivery_id}"
            pipe.hset(key, "s", status)
            pipe.pexpireat(key, finished_ms + self._remember_ms)
        pipe.execute()
        self.done.ended += len(ended)

    def _remember(self, partition: int) -> None:
        last, seen, ended = 0, 0, []
        if self._older is not None:
            since_ms = now_ms() - self._remember_ms
            self.remember([one for one in self._older.deliveries(partition) if one[2] > since_ms])
            last = self._older.delivered(partition)
        for record in self._inputs.all_of((DELIVERIES, partition)):
            found = number_of(record)
            if found is None or found[1] <= seen:
                continue
            last = seen = found[1]
            value = self._delivery.decode(record.value)
            self._alive_ms = max(self._alive_ms, record.log_ms)
            ended.append((value["delivery_id"], value["status"], value["finished_at"]))
            if len(ended) == BATCH:
                self._flush(ended)
        self._flush(ended)
        if last:
            self._client.set(f"{TAG}:outn:{partition}", last)

    def _flush(self, ended: list[tuple[str, str, int]]) -> None:
        if ended:
            self.remember(ended)
            self._advance(len(ended))
            ended.clear()

    def _take_in(self, partition: int) -> None:
        worked, batch = self._worked.get(partition, 0), []
        if self._older is not None and (number := self._older.number(partition)):
            self._client.hset(f"{TAG}:seen:{partition}", mapping={str(partition): number})
        for record in self._inputs.all_of((TRIGGERS, partition)):
            is_possible = record.offset < worked + UNCOMMITTED and record.log_ms < self._alive_ms + ALIVE_MS
            if record.offset >= worked and not is_possible:
                break
            batch.append(record)
            if len(batch) == BATCH:
                self._accept_batch(partition, batch, worked)
                batch = []
        self._accept_batch(partition, batch, worked)

    def _accept_batch(self, partition: int, batch: list[Record], worked: int) -> None:
        if not batch:
            return
        # Of those behind the committed offset it is not known that they were seen: they come once more.
        seen: dict[str, int] = {}
        for record in batch:
            found = number_of(record)
            if found is not None and record.offset < worked:
                seen[found[0]] = max(found[1], seen.get(found[0], 0))
        accepted = [(record, item) for record in self._open_ones(batch) for item in self._plan(record)]
        args: list[bytes | str | int] = ["", self._remember_ms, len(seen)]
        for source, number in seen.items():
            args += [partition, source, number]
        for _, item in accepted:
            delivery = item.delivery
            ended = str(delivery.status) if delivery.status is not None else ""
            args += [
                delivery.delivery_id, delivery.destination, item.partition, delivery.customer_id,
                b"" if ended else _encode(delivery), ended, item.record,
            ]  # fmt: skip
        _, *flags = self._accept(keys=[TAG], args=args)
        for (record, item), is_new in zip(accepted, flags, strict=True):
            if is_new and item.delivery.status is None:
                doubt = {"a": 1, "u": 1, "t": record.log_ms}
                self._client.hset(f"{TAG}:d:{item.delivery.delivery_id}", mapping=doubt)
                self.done.doubtful += 1
            elif is_new:
                self.done.lost_records += 1
        self.done.triggers += len(batch)
        self._advance(len(batch))

    def _open_ones(self, batch: list[Record]) -> list[Record]:
        """Those with an action of which no delivery has ended."""
        ids: list[list[str]] = []
        for record in batch:
            try:
                value = self._trigger.decode(record.value)
                actions = len(json.loads(value["actions"]))
            except (Poison, ValueError, TypeError):
                actions = 0  # a dead letter long since
            ids.append([stable_id(value["trigger_id"], str(index)) for index in range(actions)])
        pipe = self._client.pipeline(transaction=False)
        for one in ids:
            if one:
                pipe.exists(*(f"{TAG}:d:{delivery_id}" for delivery_id in one))
        counts = iter(pipe.execute())
        return [record for record, one in zip(batch, ids, strict=True) if one and next(counts) < len(one)]

    def _plan(self, record: Record) -> list[Accepted]:
        if self._planner is None:
            self._planner = self._open(lambda: self._moment_ms)
        self._moment_ms = record.log_ms
        try:
            return self._planner.plan(record)
        except (Poison, Malformed):
            return []
