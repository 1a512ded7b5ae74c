"""profile behind identity: its handler on the ledger in memory, one partition, fed with what identity sent."""

from collections.abc import Sequence

from services.chassis.records import Decision, Output, Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_ledger import FakeLedger, FakeServer
from services.identity.handler import RESOLVED
from services.profile.core.customer_log import CustomerState
from services.profile.handler import ProfileHandler
from services.profile.states import Packer
from tests.unit.profile.profile_builders import CONFIG, CUTS

_state = Packer().decode


class ProfileBehind:
    """Works off outputs of identity at once; `decisions` is what it decided, for who wants to count."""

    def __init__(self) -> None:
        self.server, self.slot = FakeServer(), Slot("profile", 0)
        self._ledger, self._records = FakeLedger(self.server), 0
        self._claim: Claim = self._ledger.claim(self.slot, RESOLVED, "cluster", "topic", 0)
        self._handler = ProfileHandler(self.slot, self._ledger, self._claim.waits, CONFIG, 1, lambda: CUTS, 200_000)

    def take(self, outputs: Sequence[Output], now_ms: int) -> list[Decision]:
        """What came of those of touchpoints.resolved."""
        mine = [output for output in outputs if output.topic == RESOLVED]
        first, self._records = self._records, self._records + len(mine)
        records = [Record(RESOLVED, 0, first + i, o.key, o.value, dict(o.headers), now_ms) for i, o in enumerate(mine)]
        found: list[Decision] = []
        # A give and its take of one round meet in the next one, as between two partitions.
        while (decision := self._handler.decide(records, [], now_ms)) is not None:
            found.append(decision)
            self._apply(decision, now_ms)
            records = []
        return found

    def _apply(self, decision: Decision, now_ms: int) -> None:
        entry = self._ledger.apply(self._claim, decision, self._claim.seen, self._records, now_ms)
        self._claim.acknowledge()
        self._ledger.delete(entry.late_deletes)

    def states(self) -> dict[str, CustomerState]:
        """Customer id → what profile knows of it."""
        prefix = self.slot.key("c", "")
        return {
            key.removeprefix(prefix): _state(value)
            for key, value in self.server.strings.items()
            if key.startswith(prefix)
        }
