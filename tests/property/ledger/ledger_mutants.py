"""Ledgers with one safeguard missing. Each must be found out by the machine: a check that cannot fail is none."""

from services.chassis.kafka.relay import Relay
from services.chassis.records import Decision, Entry
from services.chassis.redis.claim import Claim
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_ledger import FakeLedger, FakeServer


class NoEpochCheck(FakeServer):
    """Whoever stands at the ledger's position may apply."""

    def refused(self, meta_key: str, epoch: bytes, batch: bytes, position: bytes) -> bytes:
        meta = self.hashes[meta_key]
        if meta["batch"] == batch:
            return b"ALREADY"
        return b"" if meta["position"] == position else b"MISMATCH"


class NoBatchId(FakeServer):
    """A repeated request is a new one."""

    def refused(self, meta_key: str, epoch: bytes, batch: bytes, position: bytes) -> bytes:
        answer = super().refused(meta_key, epoch, batch, position)
        return b"" if answer == b"ALREADY" else answer


class LateCopiesCount(FakeServer):
    """Only the last batch id is known: an earlier request of this epoch is applied when the position fits."""

    def refused(self, meta_key: str, epoch: bytes, batch: bytes, position: bytes) -> bytes:
        answer = super().refused(meta_key, epoch, batch, position)
        return b"" if answer == b"MISMATCH" and self.hashes[meta_key]["position"] == position else answer


class NoOutbox(FakeServer):
    """Outputs live in memory only, but are counted as trimmed."""

    def commit(self, meta_key: str, outbox_key: str, args: list[bytes]) -> None:
        super().commit(meta_key, outbox_key, args)
        self.lists[outbox_key].clear()


class TrimsAtOnce(FakeLedger):
    """An entry is trimmed as soon as it is stored, before anybody has acknowledged it."""

    def apply(self, claim: Claim, decision: Decision, seen: dict[str, int], position: int, log_ms: int) -> Entry:
        entry = super().apply(claim, decision, seen, position, log_ms)
        if entry.outputs:
            claim.acknowledge()
            super().apply(claim, Decision(), seen, position, log_ms)
        return entry


class MovesThePositionApart(FakeLedger):
    """State and outputs first, the position in a second step."""

    def apply(self, claim: Claim, decision: Decision, seen: dict[str, int], position: int, log_ms: int) -> Entry:
        entry = super().apply(claim, decision, claim.seen, claim.position, log_ms)
        super().apply(claim, Decision(), seen, position, log_ms)
        return entry


class ReusesNumbers(FakeLedger):
    """The numbers of what was trimmed are forgotten."""

    def claim(self, slot: Slot, topic: str, cluster_id: str, topic_id: str, start: int) -> Claim:
        claim = super().claim(slot, topic, cluster_id, topic_id, start)
        claim.base = {}
        return claim


class ForgetsSeen(FakeLedger):
    """What was taken from whom is not stored with the position."""

    def claim(self, slot: Slot, topic: str, cluster_id: str, topic_id: str, start: int) -> Claim:
        claim = super().claim(slot, topic, cluster_id, topic_id, start)
        claim.seen = {}
        return claim


class RelaysNothingOfOthers(FakeLedger):
    """What a former owner left unsent is taken for sent."""

    def claim(self, slot: Slot, topic: str, cluster_id: str, topic_id: str, start: int) -> Claim:
        claim = super().claim(slot, topic, cluster_id, topic_id, start)
        claim.unsent = []
        return claim


class ForgetsWaits(FakeLedger):
    """Who waits is kept in memory only."""

    def claim(self, slot: Slot, topic: str, cluster_id: str, topic_id: str, start: int) -> Claim:
        claim = super().claim(slot, topic, cluster_id, topic_id, start)
        claim.waits = {}
        return claim


class DeletesEarly(FakeLedger):
    """A hand-over is deleted before the state that adopts it is durable."""

    def apply(self, claim: Claim, decision: Decision, seen: dict[str, int], position: int, log_ms: int) -> Entry:
        self.delete(decision.late_deletes)
        return super().apply(claim, decision, seen, position, log_ms)


class GoesOnAfterAFailure(Relay):
    """A failed delivery is overlooked: what follows is sent, with the next numbers."""

    def _check(self) -> None:
        self._error = None


SERVERS = [NoEpochCheck, NoBatchId, LateCopiesCount, NoOutbox]
LEDGERS = [
    TrimsAtOnce,
    MovesThePositionApart,
    ReusesNumbers,
    ForgetsSeen,
    RelaysNothingOfOthers,
    ForgetsWaits,
    DeletesEarly,
]
