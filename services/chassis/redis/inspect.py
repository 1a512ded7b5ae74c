"""What operators' tools ask of the ledgers: every claimed partition, its position and what is still unsent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import msgspec
import redis

from services.chassis.redis.claim import Channels
from services.chassis.redis.ledger import REGISTRY_KEY
from services.chassis.redis.slots import Slot

_channels = msgspec.msgpack.Decoder(Channels)
# Keys that one step of a scan looks at. Higher holds the server up for longer: 1,000 take it 0.3 ms.
SCAN_STEP = 1_000


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """One ledger. outbox: applied batches whose outputs are not known to be sent; waits: customers that wait."""

    service: str
    topic: str
    partition: int
    position: int
    epoch: int
    generation: int
    outbox: int
    waits: int


def registered(client: "redis.Redis") -> list[tuple[Slot, str]]:
    """(slot, topic) of every ledger that was ever claimed, in a stable order."""
    members = sorted(member.decode() for member in cast(set[bytes], client.smembers(REGISTRY_KEY)))
    found = []
    for member in members:
        service, topic, partition, shared = member.split("|")
        found.append((Slot(service, int(partition), shared == "1"), topic))
    return found


def foreign(client: "redis.Redis", cluster_id: str, topic_ids: Mapping[str, str]) -> list[tuple[Slot, str]]:
    """Those whose topic is in topic_ids (name → id) but that stand on another cluster's or an earlier topic's log."""
    return [
        (slot, topic)
        for slot, topic in registered(client)
        if topic in topic_ids
        and client.hmget(slot.ledger, ["cluster", "topic"]) != [cluster_id.encode(), topic_ids[topic].encode()]
    ]


def ledgers(client: "redis.Redis") -> list[LedgerStatus]:
    """The state of every ledger; one round trip after the list. Raises redis.RedisError."""
    slots = registered(client)
    pipe = client.pipeline(transaction=False)
    for slot, _ in slots:
        pipe.hmget(slot.ledger, "position", "epoch", "generation")
        pipe.llen(slot.outbox)
        pipe.hlen(slot.waits)
    answers = pipe.execute()
    found = []
    for i, (slot, topic) in enumerate(slots):
        (position, epoch, generation), outbox, waits = answers[3 * i : 3 * i + 3]
        if position is not None:
            found.append(
                LedgerStatus(
                    slot.service, topic, slot.partition, int(position), int(epoch), int(generation), outbox, waits
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class Standing:
    """One ledger in full, as of the moment of the cut. last_entry: the newest outbox entry, empty without one."""

    slot: Slot
    topic: str
    generation: int
    position: int
    channels: Channels
    outbox: int
    last_entry: bytes
    waits: dict[str, str]


def standings(client: "redis.Redis", counters_key: str, counter: str) -> tuple[list[Standing], int]:
    """All ledgers and one counter (a field of a hash; 0 without it), all of one moment. Raises redis.RedisError.

    A transaction, so that whatever was decided before that moment is below the positions, and nothing else.
    """
    slots = registered(client)
    pipe = client.pipeline(transaction=True)
    pipe.hget(counters_key, counter)
    for slot, _ in slots:
        pipe.hmget(slot.ledger, "position", "generation", "blob")
        pipe.llen(slot.outbox)
        pipe.lindex(slot.outbox, -1)
        pipe.hgetall(slot.waits)
    count, *answers = pipe.execute()
    found = []
    for i, (slot, topic) in enumerate(slots):
        (position, generation, blob), outbox, last, waits = answers[4 * i : 4 * i + 4]
        if position is None:
            continue
        channels = _channels.decode(blob) if blob else Channels()
        waiting = {member.decode(): key.decode() for member, key in waits.items()}
        found.append(
            Standing(slot, topic, int(generation), int(position), channels, int(outbox), last or b"", waiting)
        )  # fmt: skip
    return found, int(count or 0)


def is_unsent(client: "redis.Redis", standing: Standing) -> bool:
    """Whether the newest outbox entry of that moment is still there."""
    return bool(standing.last_entry) and client.lpos(standing.slot.outbox, standing.last_entry) is not None  # type: ignore[arg-type]


def scan_keys(client: "redis.Redis", pattern: str) -> Iterator[list[bytes]]:
    """Keys that match a pattern, some at a time; none twice in one step. What is written meanwhile may be missed."""
    cursor = 0
    while True:
        cursor, keys = cast("tuple[int, Sequence[bytes]]", client.scan(cursor, match=pattern, count=SCAN_STEP))
        if keys:
            yield list(dict.fromkeys(keys))
        if not cursor:
            return
