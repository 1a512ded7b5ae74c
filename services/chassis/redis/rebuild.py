"""The frame of a Redis that is built anew: begun only on an empty one, of no use to any service until it is finished.

Until then every ledger belongs to a cluster of no Kafka, so that a service that is started too early is refused by its
claim; so do the `names`, keys under which a service without ledgers keeps the log it belongs to. Finishing gives all of
them their real one in a single transaction.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import redis

from services.chassis.errors import Fatal
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import REGISTRY_KEY, Ledger
from services.chassis.redis.slots import Slot

MARK = "touchstream:rebuild"
UNFINISHED = "none yet (touchstream rebuild has not finished)"
# What a service leaves in an empty Redis when it is started and refused.
_HARMLESS = frozenset((MARK, REGISTRY_KEY, "touchstream:rfm_thresholds"))


def begin(client: "redis.Redis", fresh: bool, names: Sequence[str] = ()) -> None:
    """Mark an empty Redis as being rebuilt. Raises Fatal when anything is in it; what an interrupted rebuild left is
    thrown away if `fresh`.
    """
    if client.exists(MARK):
        if not fresh:
            raise Fatal("an interrupted rebuild lies in this Redis: --fresh throws it away and begins from the start")
        client.flushdb()
    found = [key.decode(errors="replace") for key, _ in zip(client.scan_iter(count=100), range(20), strict=False)]
    foreign = [key for key in found if key not in _HARMLESS and key not in names]
    if foreign:
        raise Fatal(
            f"this Redis is not empty ({client.dbsize()} keys, {foreign[0]} among them): only a Redis that has lost"
            " everything is rebuilt. Give TOUCHSTREAM_REDIS_URL an empty one"
        )
    client.mset({MARK: int(time.time()), **dict.fromkeys(names, UNFINISHED)})


def open_ledger(ledger: Ledger, slot: Slot, topic: str, start: int, generation: int) -> Claim:
    """A ledger that begins at `start`, in the name of no Kafka."""
    ledger.client.hset(
        slot.ledger,
        mapping={
            "version": "1", "generation": str(generation), "cluster": UNFINISHED, "topic": UNFINISHED, "epoch": "0",
            "position": str(start), "batch": "", "blob": "", "tries": "-1", "tries_position": str(start),
        },
    )  # fmt: skip
    return ledger.claim(slot, topic, UNFINISHED, UNFINISHED, start)


def finish(
    client: "redis.Redis", opened: Iterable[tuple[Slot, str]], cluster_id: str, topic_ids: Mapping[str, str],
    names: Mapping[str, str] = MappingProxyType({}),
) -> None:  # fmt: skip
    """Give every ledger to its Kafka, all at once. Epochs begin above any that can have been before: by the clock."""
    pipe = client.pipeline(transaction=True)
    epoch = int(time.time())
    for slot, topic in opened:
        position = client.hget(slot.ledger, "position") or b"0"
        pipe.hset(
            slot.ledger,
            mapping={
                "cluster": cluster_id, "topic": topic_ids[topic], "epoch": epoch, "batch": f"{epoch}.0", "tries": -1,
                "tries_position": position,
            },
        )  # fmt: skip
    for name, log in names.items():
        pipe.set(name, log)
    pipe.delete(MARK)
    pipe.execute()
