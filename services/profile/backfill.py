"""What `touchstream tags backfill` asks of a running profile: look at these customers again, with what they had missed.

The command lays a few hundred customers under one key of a partition and waits until it is gone. Taken is not done: who
was lost with a process is asked for again, because the command looks at the states themselves. Nothing here can count
twice: what is brought replaces a measure, and only of a part that holds just the events it was made of.
"""

import msgspec

from services.chassis.redis.ledger import LedgerPort
from services.chassis.redis.slots import Slot
from services.profile.core.state import Part

# Customer → node → a part folded anew; without nodes: only to be looked at.
Asked = dict[str, dict[str, Part]]
encode_asked = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Asked)


def key_of(slot: Slot) -> str:
    """Where the command lays what it asks of a partition."""
    return slot.key("asked", "now")


class Backfill:
    """Of one claimed partition."""

    def __init__(self, slot: Slot, store: LedgerPort, refolds: Asked) -> None:
        """refolds: where the handler looks for what customers had missed."""
        self._key, self._store, self._refolds = key_of(slot), store, refolds

    def some(self) -> list[str]:
        """Customers to look at now."""
        (raw,) = self._store.get_many([self._key])
        if raw is None:
            return []
        asked = _decoder.decode(raw)
        self._store.delete([self._key])
        self._refolds.update(asked)
        return list(asked)
