"""An operator's word on a ledger that cannot go on by itself: go on at a later offset of the same log.

What that gives up is planned from the log before anything is changed, so that it can be shown, confirmed and logged.
Automatic repair has no place here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import msgspec
import redis

from services.chassis.errors import Fatal
from services.chassis.records import Record
from services.chassis.redis.claim import Channels, Poisoned, number_of
from services.chassis.redis.inspect import registered
from services.chassis.redis.ledger import script_text
from services.chassis.redis.slots import Slot

_channels = msgspec.msgpack.Decoder(Channels)


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a ledger stood when it was looked at."""

    slot: Slot
    topic: str
    position: int
    blob: bytes

    @property
    def channels(self) -> Channels:
        """The numbers that belong to the position."""
        return _channels.decode(self.blob) if self.blob else Channels()


@dataclass(frozen=True, slots=True)
class Skip:
    """What going on at another offset means. lost: (source partition, first number, last number) given up."""

    seen: dict[str, int]
    lost: list[tuple[str, int, int]]


def find_slot(client: "redis.Redis", service: str, topic: str, partition: int) -> Slot:
    """The slot of a service's input partition. Raises Fatal when there is no such ledger."""
    # archive keeps one ledger per topic and names them archive.<topic>.
    names = (service, f"{service}.{topic}")
    slots = {(slot.service, name, slot.partition): slot for slot, name in registered(client)}
    for name in names:
        if (name, topic, partition) in slots:
            return slots[name, topic, partition]
    known = sorted({f"{name} of {of}" for name, of, _ in slots})
    raise Fatal(f"no ledger of {service} for {topic} partition {partition}; there are those of {', '.join(known)}")


def look(client: "redis.Redis", slot: Slot, topic: str) -> Stand:
    """Where the ledger stands now."""
    position, blob = cast("list[bytes | None]", client.hmget(slot.ledger, ["position", "blob"]))
    if position is None or blob is None:
        raise Fatal(f"{slot.ledger} does not exist: nothing has ever claimed it")
    return Stand(slot, topic, int(position), blob)


def plan_skip(seen: dict[str, int], to: int, partitions: int, records: Iterable[Record]) -> Skip:
    """What the numbers must be so that the log from `to` on is accepted, and which numbers that gives up.

    `records`: the log from the ledger's position, or what is left of it, to its end; read no further than is needed.
    A source with no record from `to` on counts as seen as far as the skipped records go: should more of it be missing,
    its next record stops the partition, and that loss is named by itself.
    """
    passed: dict[str, int] = {}
    following: dict[str, int] = {}
    for record in records:
        found = number_of(record)
        if found is None:
            continue
        source, number = found
        if record.offset < to:
            passed[source] = max(number, passed.get(source, 0))
        else:
            following.setdefault(source, number)
            if len(following) >= partitions:
                break
    now, lost = dict(seen), []
    for source in sorted(passed.keys() | following.keys(), key=int):
        last = seen.get(source, 0)
        upto = following[source] - 1 if source in following else passed[source]
        if upto > last:
            now[source] = upto
            lost.append((source, last + 1, upto))
    return Skip(now, lost)


def amend(
    client: "redis.Redis", stand: Stand, cluster_id: str, topic_id: str, position: int, channels: Channels
) -> None:
    """Put the ledger at `position` with `channels`; whoever owns the partition is fenced from then on.

    Raises Fatal, having changed nothing, when the ledger is another log's or no longer where `stand` saw it.
    """
    script = client.register_script(script_text("services.chassis.redis", "amend.lua"))
    blob = msgspec.msgpack.encode(channels)
    answer = script(
        keys=[stand.slot.ledger], args=[cluster_id, topic_id, stand.position, stand.blob, position, blob]
    )  # fmt: skip
    if answer == b"FOREIGN":
        raise Fatal(
            f"{stand.slot.ledger} belongs to another Kafka or another life of {stand.topic}: `touchstream rebase`"
            " without --to moves drained ledgers to a new log"
        )
    if answer == b"MOVED":
        raise Fatal(f"{stand.slot.ledger} moved meanwhile: its service is working. Nothing was changed")


def allow(client: "redis.Redis", stand: Stand, cluster_id: str, topic_id: str, to: int) -> None:
    """Let records below offset `to` become dead letters however many they are (see kafka/poison.py); as amend."""
    channels = stand.channels
    channels.poisoned = Poisoned(allowed=to)
    amend(client, stand, cluster_id, topic_id, stand.position, channels)
