"""A claimed partition in memory: its position, its sequence numbers in and out, and what a record's number says."""

from dataclasses import dataclass, field
from enum import Enum

import msgspec

from services.chassis.marks import Mark
from services.chassis.records import Entry, Output, Record
from services.chassis.redis.slots import Slot


class Verdict(Enum):
    """What accept says of a record."""

    TAKE = 1
    DUPLICATE = 2
    GAP = 3


class Poisoned(msgspec.Struct, array_like=True, frozen=True):
    """Dead letters among the recent records of a partition; below offset `allowed` an operator lets all be some."""

    recent: int = 0
    dead: int = 0
    allowed: int = 0


class Channels(msgspec.Struct, array_like=True):
    """What belongs to a position: last number taken per source, last trimmed per destination, dead letters."""

    seen: dict[str, int] = {}
    base: dict[str, int] = {}
    extra: bytes = b""
    poisoned: Poisoned = Poisoned()


@dataclass(slots=True)
class Claim:
    """A partition owned under one epoch. `unsent` are outbox entries to be relayed before anything new."""

    slot: Slot
    epoch: int
    generation: int
    position: int
    tries: int
    seen: dict[str, int]
    base: dict[str, int]
    unsent: list[bytes]
    waits: dict[str, str]  # live: apply keeps it up to date, workers read it
    extra: bytes = b""
    applied: int = 0
    is_uncertain: bool = False  # a script was asked for and not answered: only another claim can tell what it did
    sent: dict[str, int] = field(default_factory=dict)  # last number given out per destination
    stored: list[dict[str, int]] = field(default_factory=list)  # per outbox entry: records per destination
    topic: str = ""
    poisoned: Poisoned = field(default_factory=Poisoned)  # stored by the next apply
    acknowledged: int = 0  # leading entries of `stored` whose outputs the broker has
    batch: str = ""  # the name of the last batch, whoever applied it
    life: int = 0  # of the Redis that was claimed in; see Ledger
    sent_upto: int = -1  # position before the oldest batch whose outputs the broker may not have; -1: not known

    @property
    def mark(self) -> Mark:
        """How far the ledger has come."""
        is_sent = self.acknowledged == len(self.stored)
        return Mark(self.position, self.batch, self.position if is_sent else self.sent_upto)

    def number(self, output: Output) -> bytes:
        """The header `seq` of the next output to its destination: `<input partition>:<number>`."""
        destination = f"{output.topic}/{output.partition}"
        number = self.sent.get(destination, self.base.get(destination, 0)) + 1
        self.sent[destination] = number
        return b"%d:%d" % (self.slot.partition, number)

    def restored(self, entries: "list[Entry]") -> None:
        """The former owner's unsent entries, about to be relayed again with the numbers they had."""
        self.stored = [counts_of(entry) for entry in entries]

    def append(self, entry: "Entry") -> None:
        """An entry has just been stored in the outbox."""
        self.stored.append(counts_of(entry))

    def acknowledge(self) -> None:
        """Everything handed to the producer so far has been acknowledged; the next apply trims it."""
        self.acknowledged = len(self.stored)

    def take_trim(self) -> tuple[int, dict[str, int]]:
        """How many entries the next apply trims, and the base that then holds."""
        base = dict(self.base)
        for counts in self.stored[: self.acknowledged]:
            for destination, count in counts.items():
                base[destination] = base.get(destination, 0) + count
        return self.acknowledged, base


def counts_of(entry: Entry) -> dict[str, int]:
    """Records per destination `topic/partition` of one outbox entry."""
    counts: dict[str, int] = {}
    for output in entry.outputs:
        destination = f"{output.topic}/{output.partition}"
        counts[destination] = counts.get(destination, 0) + 1
    return counts


def accept(seen: dict[str, int], record: Record) -> Verdict:
    """Judge a record by its header `seq` and, on TAKE, advance `seen`.

    A record without the header, or with one that no relay wrote, is taken: what it is worth, the handler says.
    """
    found = number_of(record)
    if found is None:
        return Verdict.TAKE
    source, number = found
    last = seen.get(source, 0)
    if number <= last:
        return Verdict.DUPLICATE
    if number > last + 1:
        return Verdict.GAP
    seen[source] = number
    return Verdict.TAKE


def number_of(record: Record) -> tuple[str, int] | None:
    """(source partition, number) of a record's header `seq`; None without one, or with one that no relay wrote."""
    origin, _, number_text = record.headers.get("seq", b"").partition(b":")
    if not (origin.isdigit() and number_text.isdigit()):
        return None
    return origin.decode(), int(number_text)
