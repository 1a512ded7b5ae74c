"""Hand-overs between customers: immutable keys, each in the slot of its giver, whose apply writes it."""

from collections.abc import Iterable

import msgspec

from services.chassis.ids import partition_of
from services.chassis.records import Record
from services.chassis.redis.ledger import LedgerPort
from services.chassis.redis.slots import Slot
from services.profile.codec import Reader
from services.profile.core.customer_log import Handover, Held

_decode = msgspec.msgpack.Decoder(Handover).decode


class Handovers:
    """Reads them from the slots of all partitions; it writes none."""

    def __init__(self, store: LedgerPort, reader: Reader, partitions: int) -> None:
        self._store, self._reader, self._partitions = store, reader, partitions

    def key(self, giver: str, handoff_id: str, to_id: str) -> str:
        """Where a hand-over lies: in the giver's slot."""
        return Slot("profile", partition_of(giver.encode(), self._partitions)).key("give", f"{handoff_id}:{to_id}")

    def load(self, takes: Iterable[Record], awaited: Iterable[str]) -> dict[str, Handover]:
        """Those that are there, of what these records take and of these keys; a round trip per giver's slot.

        Raises Poison when a take cannot be read.
        """
        wanted: dict[str, None] = {}
        for record in takes:
            raw = self._reader.read(record.key.decode(), 0, Held("take", "", "", record.value or b""))
            wanted[self.key(raw.from_id, raw.handoff_id, raw.customer_id)] = None
        wanted.update(dict.fromkeys(awaited))
        found = {}
        for keys in _by_slot(wanted):
            for key, value in zip(keys, self._store.get_many(keys), strict=True):
                if value is not None:
                    found[key] = _decode(value)
        return found


def _by_slot(keys: Iterable[str]) -> Iterable[list[str]]:
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(key[: key.index("}")], []).append(key)
    return groups.values()
