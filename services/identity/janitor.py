"""The purge of old message ids, which no idle partition may hold back."""

import time
from collections.abc import Callable

from services.chassis.errors import Retriable
from services.chassis.logs import get_logger
from services.chassis.records import Decision
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.identity.adapters import Graph


class Janitor:
    """Moves idle partitions' log time forward and purges old message ids, once in a while."""

    def __init__(
        self, graph: Graph, ledger: Ledger, end_offset: Callable[[], dict[tuple[str, int], int]], partitions: int,
        interval_s: float,
    ) -> None:  # fmt: skip
        self._graph, self._ledger, self._end_offset = graph, ledger, end_offset
        self._partitions, self._interval_s, self._next_s = partitions, interval_s, time.monotonic() + interval_s

    def sweep(self, claims: list[Claim]) -> None:
        """Called by the loop between rounds, on its own thread; does nothing until the interval has passed.

        An idle partition holds everybody's purge back. The order of the two reads is what makes moving it safe: the
        newest log time first, then the end of the log. A partition that stands at that end has nothing older left.
        """
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + self._interval_s
        try:
            newest_ms = self._graph.newest_log_ms(self._partitions)
            ends = self._end_offset()
            for claim in claims:
                if newest_ms and ends.get(("touchpoints", claim.slot.partition)) == claim.position:
                    self._ledger.apply(claim, Decision(), claim.seen, claim.position, newest_ms)
            self._graph.purge(self._partitions)
        except Retriable as error:
            get_logger().warning("purge.postponed", text=str(error))
