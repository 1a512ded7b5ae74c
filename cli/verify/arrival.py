"""Waits until what is decided by now has been worked off by every service and is in ClickHouse."""

from collections.abc import Collection

from cli.verify.cut import (
    DELIVERIES,
    FACTS,
    IDENTITY_CHANGES,
    RESOLVED,
    TOUCHPOINTS,
    TRIGGERS,
    unsent_after,
    wait_until,
)
from services.chassis.kafka.offsets import end_offsets
from services.chassis.redis.client import RedisClient
from services.chassis.redis.inspect import Standing, standings
from services.identity.adapters import TAG as GRAPH_TAG

# In the order of the flow: a stage's outputs are in its topics before the next one's readers are asked.
STAGES = ((TOUCHPOINTS,), (RESOLVED, IDENTITY_CHANGES), (FACTS, "profiles"), (TRIGGERS,), (DELIVERIES,))


class Arrival:
    """Asks ledgers and topics; `stuck`: ledgers whose outbox does not move, which nobody waits for."""

    def __init__(self, bootstrap: str, client: RedisClient, patience_s: float, stuck: Collection[str]) -> None:
        self._bootstrap, self._client, self._patience_s, self._stuck = bootstrap, client, patience_s, stuck

    def now(self) -> list[Standing]:
        """All ledgers as they stand."""
        return standings(self._client, f"{GRAPH_TAG}:counters", "g")[0]

    def wait(self) -> bool:
        """False when it was not so in time: some service is behind, or stands still."""
        for topics in STAGES:
            unsent = [one for one in self.now() if one.slot.ledger not in self._stuck]
            if unsent_after(self._client, unsent, self._patience_s):
                return False
            ends = end_offsets(self._bootstrap, topics)

            def is_worked(ends: dict[tuple[str, int], int] = ends) -> bool:
                places = [(one.topic, one.slot.partition, one.position) for one in self.now()]
                return all(at >= ends.get((topic, partition), 0) for topic, partition, at in places)

            if not wait_until(is_worked, self._patience_s):
                return False
        return True
