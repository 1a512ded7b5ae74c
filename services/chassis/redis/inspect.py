"""What operators' tools ask of the ledgers: every claimed partition, its position and what is still unsent."""

from dataclasses import dataclass
from typing import cast

import redis

from services.chassis.redis.ledger import REGISTRY_KEY
from services.chassis.redis.slots import Slot


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
