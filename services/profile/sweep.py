"""New thresholds, or a backfill: which customers of a partition are to be looked at again, some at a time."""

from collections.abc import Callable

from services.chassis.redis.ledger import LedgerPort
from services.chassis.redis.slots import Slot
from services.profile.backfill import Asked, Backfill
from services.profile.core.state import Thresholds

SWEEP_COUNT = 100


class Sweep:
    """Of one claimed partition. A new claim sweeps anew: nobody knows how far the former owner was."""

    def __init__(
        self, slot: Slot, store: LedgerPort, thresholds: Callable[[], Thresholds | None], refolds: Asked
    ) -> None:
        """refolds: where the handler looks for what a backfill brings."""
        self._backfill = Backfill(slot, store, refolds)
        self._slot, self._store, self._thresholds = slot, store, thresholds
        self._swept_version = self._sweeping_version = -1
        self._cursor = 0

    def some(self, most: int = SWEEP_COUNT) -> list[str]:
        """Some customers to look at again because somebody asks or the thresholds are new; empty when all have been.

        most: about so many; whoever is asked for comes whatever their number.

        Newer thresholds while sweeping: the circle is finished first, then begun again. Starting over at once, cuts
        that change more often than a sweep takes would leave the customers at the end with scores of long ago.
        """
        if asked := self._backfill.some():
            return asked
        thresholds = self._thresholds()
        if thresholds is None or thresholds.version == self._swept_version:
            return []
        if self._cursor == 0:
            self._sweeping_version = thresholds.version
        self._cursor, names = self._store.scan_due(self._slot, self._cursor, min(most, SWEEP_COUNT))
        if self._cursor == 0:
            self._swept_version = self._sweeping_version
        return names
