"""Whether the pipeline is at rest: every process ready, every position at the end of its topic, nothing unsent."""

import time

import redis
from confluent_kafka import Consumer, KafkaException, TopicPartition

from deploy.local.figures import sums
from deploy.local.idle import GAUGES, NOTIFY_GROUP, NOTIFY_TOPIC, QUEUE, Facts, unfinished
from deploy.local.probe import get
from services.chassis.redis.client import sync_client
from services.chassis.redis.inspect import ledgers
from tests.chaos.rig.deployment import Deployment
from tests.chaos.rig.tail import Tail

LOOK_EVERY_S = 0.25
CLEAN_LOOKS = 2
# Without any movement for longer than a member waits for its group (chassis/kafka/reader.py) it never comes to rest.
STUCK_S = 180.0
QUIET_TIMEOUT_S = 500.0


class NotQuietError(AssertionError):
    """It did not come to rest in time; the text says what was left."""


class Quiet:
    """Looks at one deployment, past all proxies."""

    def __init__(self, deployment: Deployment, tail: Tail) -> None:
        self._deployment, self._tail = deployment, tail
        self._redis = sync_client(deployment.settings.redis_url)
        self._group = Consumer(
            {"bootstrap.servers": deployment.cluster.bootstrap, "group.id": NOTIFY_GROUP, "log_level": 2}
        )

    def left(self) -> tuple[list[str], object]:
        """(what is left, everything that moves); both may be wrong by what moved while it looked."""
        down = self._deployment.not_ready()
        if down:
            return [f"not ready: {', '.join(down)}"], None
        try:
            ends = self._tail.ends()
            places = [TopicPartition(NOTIFY_TOPIC, p) for p in range(self._deployment.partitions)]
            committed = {(p.topic, p.partition): max(0, p.offset) for p in self._group.committed(places, timeout=5.0)}
            facts = Facts(ends, ledgers(self._redis), committed, self._said())
        except (KafkaException, redis.RedisError, OSError) as error:
            return [f"a backend does not answer: {error}"], None
        left = unfinished(facts)
        if not left and self._tail.is_behind(ends):
            left = ["the rig has not read all topics yet"]
        return left, facts.places()

    def _said(self) -> list[str]:
        lines = []
        for place in self._deployment.places.values():
            found = sums(get(place.metrics_url, timeout_s=2.0))
            for name, what in {**GAUGES, **QUEUE}.items():
                if count := found.get(f"touchstream_{place.service}_{name}", 0.0):
                    lines.append(f"{place.name}: {count:.0f} {what}")
        return lines

    def wait(self, timeout_s: float = QUIET_TIMEOUT_S, stuck_s: float = STUCK_S) -> float:
        """Return the moment (monotonic) of the first of CLEAN_LOOKS clean looks. Raises NotQuietError."""
        begun_s = moved_s = time.monotonic()
        clean, first, before = 0, 0.0, None
        last: tuple[list[str], object] = ([], None)
        while True:
            self._deployment.tick()
            now = time.monotonic()
            left, places = self.left()
            if left or (clean and places != before):
                clean = 0
            if not left:
                first, clean, before = (now if not clean else first), clean + 1, places
                if clean >= CLEAN_LOOKS:
                    return first
            if last != (left, places):
                moved_s, last = now, (left, places)
            if now > begun_s + timeout_s or now > moved_s + stuck_s:
                raise NotQuietError(f"not at rest after {now - begun_s:.0f} s: " + "; ".join(left[:12]))
            time.sleep(LOOK_EVERY_S)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._group.close()
