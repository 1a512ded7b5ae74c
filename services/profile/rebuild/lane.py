"""One partition on its way: its handler, which counts looks as the last snapshots say, and what was read ahead."""

import msgspec

from services.chassis.records import Decision, Output, Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import LedgerPort
from services.chassis.registry import Registry
from services.profile.core.config import ProfileConfig
from services.profile.core.customer_log import Context, CustomerState
from services.profile.core.state import Thresholds
from services.profile.handler import ProfileHandler
from services.profile.rebuild.known import UNKNOWN, Known

CACHE = 50_000


class Change(msgspec.Struct, gc=False):
    """A record of profile.changes, as far as the replay needs it."""

    number: int
    customer_id: str
    kind: str
    cause: str
    changed_at: int
    version: int
    takes: str  # key of the hand-over it took
    gives: list[str]
    value: bytes


class Replaying(ProfileHandler):
    """The handler, with the count of looks that the last snapshot of a customer names."""

    def __init__(
        self, claim: Claim, ledger: LedgerPort, config: ProfileConfig, partitions: int, registry: Registry, known: Known
    ) -> None:
        super().__init__(
            claim.slot, ledger, claim.waits, config, partitions, lambda: self.in_force, CACHE, registry
        )  # fmt: skip
        self.known = known
        self.in_force: Thresholds | None = None

    def give_key(self, giver: str, handoff_id: str, to_id: str) -> str:
        """Where a hand-over lies."""
        return self._handovers.key(giver, handoff_id, to_id)

    def _is_import_over(self, now_ms: int) -> bool:
        """What time has brought about is in the changes; whoever is looked at was."""
        return True

    def _save(self, decision: Decision, context: Context, name: str, state: CustomerState, now_ms: int) -> None:
        last = self.known.last.get(name)
        if last is not None and last.n == state.n and last.updated_at == now_ms:
            state.rev = last.rev - 1
        super()._save(decision, context, name, state, now_ms)


class Lane:
    """One partition on its way."""

    def __init__(self, claim: Claim, handler: Replaying) -> None:
        self.partition, self.claim, self.handler, self.known = claim.slot.partition, claim, handler, handler.known
        self.pending: dict[str, dict[int, Record]] = {}
        self.strays: list[Record] = []
        self.seen: dict[str, int] = {}
        self.position, self.log_ms = claim.position, 0
        self.ahead: Change | None = None
        self.first: Change | None = None  # the oldest one that is left, where retention has taken some
        self.run: list[Change] = []
        self.run_version = UNKNOWN  # of the thresholds under which it was decided
        self.looked: dict[str, int] = {}  # customers looked at after their last snapshot → when
        self.unsent: list[Output] = []
        self.latest: dict[str, Output] = {}  # snapshots that are newer than the last one that was sent
        self.is_past_seam = False  # no record is left to be read whose change retention has taken
        self.is_over = False  # the input is read to its end
        self.gone = 0  # changes that retention has taken
