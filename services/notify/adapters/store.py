"""Deliveries in Redis: intents, queues with leases and fences, outcomes and the outbox, each change one script.

A delivery is queued → sending (leased) → ended, or back to queued. A lease that runs out shows the next claimer that a
send was begun and never marked. Every script can be repeated: a lost answer changes nothing twice.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol

import msgspec

from services.chassis.failpoints import fp_async
from services.chassis.redis.client import RedisError
from services.notify.core.model import Delivery, Status

TAG = "{notify}"
DAY_MS = 86_400_000

Script = Callable[..., Awaitable[Any]]


class Client(Protocol):
    """The part of redis.asyncio.Redis that is used."""

    def register_script(self, script: str) -> Script: ...
    def smembers(self, name: str) -> Awaitable[Any]: ...


@dataclass(frozen=True, slots=True)
class Accepted:
    """A delivery to be recorded: `record` (encoded) is given when it ended at once."""

    delivery: Delivery
    partition: int
    record: bytes = b""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a trigger stood: partition of `triggers`, and its header `seq` as source and number."""

    partition: int
    source: str
    number: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery leased to this process. `attempts` are sends begun earlier; `is_doubtful`: one may have succeeded."""

    delivery: Delivery
    fence: int
    attempts: int
    is_doubtful: bool
    since_first_ms: int
    now_ms: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How a claimed delivery ended, and its record for the topic."""

    claimed: Claimed
    status: Status
    partition: int
    record: bytes


@dataclass(frozen=True, slots=True)
class PutOff:
    """A claimed delivery is looked at again later; `is_doubtful`: this send may have been accepted, never forgotten."""

    claimed: Claimed
    delay_ms: int
    is_doubtful: bool


Mark = Ended | PutOff


@dataclass(frozen=True, slots=True)
class Waiting:
    """One outbox record: number within its partition, customer (key) and encoded value."""

    number: int
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Depth:
    """A queue: deliveries in it, and by how much the most overdue one is overdue."""

    deliveries: int
    overdue_ms: int


class Store:
    """All methods raise the driver's errors when Redis does not answer; the caller repeats."""

    def __init__(self, client: Client, remember_ms: int, now: Callable[[], int] | None = None) -> None:
        """now: an injected clock (tests); by default the server's own clock counts."""
        self._client = client
        self._ttl_ms = remember_ms
        self._now = now
        common = _text("common.lua")
        self._accept, self._claim, self._settle, self._outbox, self._depths = (
            client.register_script(common + _text(f"{name}.lua"))
            for name in ("accept", "claim", "settle", "outbox", "depths")
        )
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Delivery)

    def _clock(self) -> str | int:
        return self._now() if self._now else ""

    async def accept(self, places: Sequence[Place], deliveries: Sequence[Accepted]) -> tuple[int, list[bool]]:
        """Record intents. Returns how many sequence numbers were missing, and per delivery whether it was new."""
        args: list[Any] = [self._clock(), self._ttl_ms, len(places)]
        for place in places:
            args += [place.partition, place.source, place.number]
        for item in deliveries:
            delivery = item.delivery
            ended = str(delivery.status) if delivery.status is not None else ""
            intent = b"" if ended else self._encoder.encode(delivery)
            args += [
                delivery.delivery_id, delivery.destination, item.partition, delivery.customer_id, intent, ended,
                item.record,
            ]  # fmt: skip
        await fp_async("before_accept", RedisError)
        missing, *flags = await self._accept(keys=[TAG], args=args)
        await fp_async("after_accept", RedisError)
        return int(missing), [flag == 1 for flag in flags]

    async def claim(
        self, destination: str, wanted: int, lease_ms: int, rate: tuple[int, int]
    ) -> tuple[list[Claimed], int]:
        """Lease up to `wanted` due deliveries within rate (count, period_ms; count 0 = unlimited).

        Also returns in how many ms the next may be due, -1 when nothing waits.
        """
        args = [self._clock(), destination, wanted, lease_ms, *rate]
        await fp_async("before_lease", RedisError)
        now_ms, due_in_ms, *rows = await self._claim(keys=[TAG], args=args)
        await fp_async("after_lease", RedisError)
        claimed = [
            Claimed(self._decoder.decode(blob), int(fence), int(begun), doubtful == 1, int(since), int(now_ms))
            for _, fence, begun, doubtful, since, blob in zip(*[iter(rows)] * 6, strict=True)
        ]
        return claimed, int(due_in_ms)

    async def settle(self, marks: Sequence[Mark]) -> list[bool]:
        """Mark what sends came to. False per mark: fenced (another holder has it), or ended before."""
        args: list[Any] = [self._clock(), self._ttl_ms]
        for mark in marks:
            delivery = mark.claimed.delivery
            args += [delivery.delivery_id, mark.claimed.fence, delivery.destination]
            if isinstance(mark, Ended):
                args += [str(mark.status), mark.partition, delivery.customer_id, mark.record]
            else:
                args += ["", mark.delay_ms, int(mark.is_doubtful), ""]
        await fp_async("before_settle", RedisError)
        flags = await self._settle(keys=[TAG], args=args)
        await fp_async("after_settle", RedisError)
        return [flag == 1 for flag in flags]

    async def outbox(self, limit: int, acknowledged: Sequence[tuple[int, int]]) -> list[list[Waiting]]:
        """Per (partition, last acknowledged number): trim up to that number, then the first `limit` records left."""
        await fp_async("before_outbox", RedisError)
        lists = await self._outbox(keys=[TAG], args=[limit, *(part for pair in acknowledged for part in pair)])
        await fp_async("after_outbox", RedisError)
        return [[_waiting(raw) for raw in entries] for entries in lists]

    async def depths(self, partitions: int) -> tuple[int, dict[str, Depth]]:
        """(records in all outboxes, destination → Depth)."""
        await fp_async("before_depths", RedisError)
        outbox, *rows = await self._depths(keys=[TAG], args=[self._clock(), partitions])
        await fp_async("after_depths", RedisError)
        triples = zip(*[iter(rows)] * 3, strict=True)
        return int(outbox), {name.decode(): Depth(int(count), int(overdue)) for name, count, overdue in triples}


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _waiting(raw: bytes) -> Waiting:
    number, key, value = raw.split(b"\0", 2)
    return Waiting(int(number), key, value)
