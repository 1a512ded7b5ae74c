"""Becoming the owner of a partition, in a Redis that holds all that was ever shown to others.

A Redis may come back without what it had acknowledged: empty, from a backup, as a replica that was behind. To go on
then would number customers and outputs anew beside those that are in the topics already, so that readers drop or
repeat them. Before anything of a batch leaves a process, its mark is published to the consumer group; whoever claims
holds the ledger against it, and those of all partitions whose state lies in the same slot against theirs.
"""

from collections.abc import Mapping

from services.chassis.errors import Fatal
from services.chassis.kafka.reader import Place
from services.chassis.marks import Mark
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import LedgerPort, NoLedger
from services.chassis.redis.slots import Slot


def refuse_older(ledger: LedgerPort, slots: Mapping[Place, Slot], published: Mapping[Place, Mark]) -> None:
    """Hold ledgers against what the group had been told before they are read here. Raises Retriable, Fatal."""
    for place, reached in published.items():
        stored = ledger.mark(slots[place])
        if stored is None or stored.is_behind(reached):
            raise _older(slots[place], place[0], stored, reached)


def take_over(
    ledger: LedgerPort, published: Mark | None, slot: Slot, topic: str, cluster_id: str, topic_id: str, first: int
) -> Claim:
    """Claim a partition's ledger; where there is none it begins at `first`. `published`: what the group had been told.

    Raises Retriable, and Fatal when Redis has become older since the look at it.
    """
    if published is None:
        claim = ledger.claim(slot, topic, cluster_id, topic_id, first)
    else:
        try:
            claim = ledger.claim(slot, topic, cluster_id, topic_id, None)
        except NoLedger:
            raise _older(slot, topic, None, published) from None
        if claim.mark.is_behind(published):
            raise _older(slot, topic, claim.mark, published)
    return claim


def _older(slot: Slot, topic: str, stored: Mark | None, reached: Mark) -> Fatal:
    service = slot.service.split(".", 1)[0]
    worked = (
        f"group touchstream-{service} had worked {topic} partition {slot.partition} up to offset {reached.position}"
    )
    if stored is None:
        what = f"{slot.ledger} does not exist, and {worked}: Redis has lost its state"
    else:
        what = (
            f"{slot.ledger} stands at offset {stored.position} after batch {stored.batch or '-'}, and {worked}, batch"
            f" {reached.batch or '-'}: Redis has come back older than it was"
        )
    return Fatal(
        f"{what}. Nothing was changed. Bring back the Redis that had it (its append-only file, a snapshot that is not"
        " older); if it is gone for good, stop all services and run `touchstream rebuild` on an"
        " empty one. Is this deployment meant to"
        " begin anew, empty its topics and delete the consumer groups."
    )
