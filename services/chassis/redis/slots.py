"""Names of Redis keys: everything one script changes carries one hash tag, so it lives in one cluster slot."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slot:
    """The keys of one service's input partition; `shared` puts all partitions under one tag (identity's graph)."""

    service: str
    partition: int
    shared: bool = False

    @property
    def tag(self) -> str:
        """The hash tag with its braces."""
        return f"{{{self.service}}}" if self.shared else f"{{{self.service}:{self.partition}}}"

    def key(self, kind: str, name: str) -> str:
        """A state key of this slot, e.g. {rules:3}:c:<customer>."""
        return f"{self.tag}:{kind}:{name}"

    @property
    def ledger(self) -> str:
        """Hash: version, generation, cluster, topic, epoch, position, batch, blob, tries, tries_position, log_ms;
        suspect:<offset> while a record is worked by itself; has_entry (identity's).
        """
        return f"{self.tag}:ledger:{self.partition}"

    @property
    def outbox(self) -> str:
        """List: one entry per applied batch whose outputs are not known to be acknowledged."""
        return f"{self.tag}:outbox:{self.partition}"

    @property
    def waits(self) -> str:
        """Hash: member (customer id) → key it waits for."""
        return f"{self.tag}:waits:{self.partition}"

    @property
    def due(self) -> str:
        """Sorted set: member (customer id) by the moment (ms) it must be looked at."""
        return f"{self.tag}:due:{self.partition}"
