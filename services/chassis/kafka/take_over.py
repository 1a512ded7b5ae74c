"""Becoming the owner of a partition, in a Redis that holds all that was ever shown to others.

A Redis may come back without what it had acknowledged: empty, from a backup, as a replica that was behind. To go on
then would number customers and outputs anew beside those that are in the topics already, so that readers drop or
repeat them. Before anything of a batch leaves a process, its mark is published to the consumer group; whoever claims
holds the ledger against it, and those of all partitions whose state lies in the same slot against theirs.
"""

from services.chassis.errors import Fatal
from services.chassis.kafka.reader import Reader
from services.chassis.marks import Mark
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import LedgerPort, NoLedger
from services.chassis.redis.slots import Slot


def take_over(
    ledger: LedgerPort, reader: Reader, slot: Slot, topic: str, cluster_id: str, topic_id: str, first: int,
    partitions: int,
) -> Claim:  # fmt: skip
    """Claim a partition's ledger; where there is none it begins at `first`. Raises Retriable, and Fatal when Redis is
    not what it was.
    """
    peers = range(partitions) if slot.shared else (slot.partition,)
    # Before any ledger is read: what is published meanwhile is of batches that these reads will see.
    published = reader.committed([(topic, number) for number in peers])
    try:
        claim = ledger.claim(slot, topic, cluster_id, topic_id, None)
    except NoLedger:
        claim = None
    for (_, number), reached in published.items():
        peer = Slot(slot.service, number, slot.shared)
        stored = ledger.mark(peer) if number != slot.partition else claim.mark if claim else None
        _refuse_older(peer, topic, stored, reached)
    return claim or ledger.claim(slot, topic, cluster_id, topic_id, first)


def _refuse_older(slot: Slot, topic: str, stored: Mark | None, reached: Mark) -> None:
    if stored is not None and not stored.is_behind(reached):
        return
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
    raise Fatal(
        f"{what}. Nothing was changed. Bring back the Redis that had it (its append-only file, a snapshot that is not"
        " older); if it is gone for good, stop all services and run `touchstream rebuild` on an"
        " empty one. Is this deployment meant to"
        " begin anew, empty its topics and delete the consumer groups."
    )
