"""Whether the pipeline has worked off everything, and if not, what is left where.

The truth is in the ledgers: position against the end of the topic, outboxes, customers that wait for a hand-over.
Archive's positions move after ClickHouse has acknowledged, so they stand for ClickHouse. notify has no ledger: its
group's commits and its own gauges speak for it.

Two doubts are met by looking twice. One look sees moving things one after the other, and may find each at rest. And the
local broker names as a topic's end the place after the *first* record of its last batch, so a reader inside that batch
looks done; only what readers report from their own fetches, and a position that stands still, tells it apart.
"""

import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from deploy.local.figures import sums
from deploy.local.probe import get
from services.chassis.errors import Fatal, Retriable
from services.chassis.kafka.offsets import end_offsets, group_offsets
from services.chassis.redis.client import sync_client
from services.chassis.redis.inspect import LedgerStatus, ledgers
from services.chassis.settings import SharedSettings
from services.chassis.topics import load_topics

# Services whose positions are in ledgers; each must have at least one before the pipeline can be called idle.
LEDGERED = ("identity", "profile", "archive", "rules")
NOTIFY_GROUP, NOTIFY_TOPIC = "touchstream-notify", "triggers"
# Gauges that must be 0, and what it means when they are not. The queue is durable: it may be left for the next start.
GAUGES = {
    "lag_records": "records fetched but not worked off",
    "gap_stopped": "partitions stopped at a missing sequence number",
    "unacknowledged_events": "events not yet acknowledged by the broker",
    "outbox_records": "finished deliveries not yet in their topic",
}
QUEUE = {"queue_deliveries": "deliveries waiting or under way"}
# Between two looks: longer than notify takes to commit. The services renew their gauges every second, hence the looks.
LOOK_EVERY_S = 0.6
CLEAN_LOOKS = 3

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Facts:
    """What one look saw. Offsets name the next record; `said` is what the services report of themselves."""

    ends: Mapping[Place, int]
    ledgers: Sequence[LedgerStatus]
    notify_offsets: Mapping[Place, int]
    said: Sequence[str] = ()

    def places(self) -> object:
        """Everything that moves while events do; equal in two looks: nothing moved."""
        return dict(self.ends), [(one.service, one.topic, one.partition, one.position) for one in self.ledgers]


def unfinished(facts: Facts) -> list[str]:
    """What is left, one readable line each; empty when this look saw nothing."""
    lines = list(facts.said)
    known: dict[tuple[str, str], dict[int, int]] = {}
    for one in facts.ledgers:
        # Archive keeps one ledger per topic and names them archive.<topic>.
        service = one.service.split(".", 1)[0]
        known.setdefault((service, one.topic), {})[one.partition] = one.position
        where = f"{service}: {one.topic}/{one.partition}"
        if one.outbox:
            lines.append(f"{where}: {one.outbox} outbox entries not sent or not yet trimmed")
        if one.waits:
            lines.append(f"{where}: {one.waits} customers wait for a hand-over")
    missing = [service for service in LEDGERED if service not in {name for name, _ in known}]
    lines += [f"{service}: has not taken over any partition yet" for service in missing]
    known["notify", NOTIFY_TOPIC] = {partition: offset for (_, partition), offset in facts.notify_offsets.items()}
    for (service, topic), positions in sorted(known.items()):
        lines += _behind(service, topic, positions, facts.ends)
    return lines


def _behind(service: str, topic: str, positions: Mapping[int, int], ends: Mapping[Place, int]) -> Iterable[str]:
    for (name, partition), end in sorted(ends.items()):
        left = end - positions.get(partition, 0) if name == topic else 0
        if left > 0:
            yield f"{service}: {topic}/{partition} is at least {left} records behind"


class Look:
    """Call it again and again: what is left; empty only when several calls in a row saw nothing left or moving."""

    def __init__(self, settings: SharedSettings, metrics_urls: Mapping[str, str], with_queue: bool = True) -> None:
        """`metrics_urls` by service; a service that does not answer counts as unfinished, one left out is not asked.

        `with_queue`: deliveries that notify still has to make count too.
        """
        self._settings, self._urls = settings, metrics_urls
        self._gauges = {**GAUGES, **(QUEUE if with_queue else {})}
        self._redis = sync_client(settings.redis_url)
        self._topics = [topic.name for topic in load_topics().values()]
        self._before: object = None
        self._clean = 0

    def __call__(self) -> list[str]:
        """One look; blocks about 0.1 s, up to 10 s when a backend does not answer."""
        try:
            # First a bare connection: the Kafka client would fill the terminal with its disappointment.
            host, _, port = self._settings.kafka_bootstrap.split(",")[0].rpartition(":")
            socket.create_connection((host, int(port)), timeout=2.0).close()
        except OSError as error:
            self._clean = 0
            return [f"Kafka at {self._settings.kafka_bootstrap} does not answer: {error}"]
        try:
            facts = Facts(
                end_offsets(self._settings.kafka_bootstrap, self._topics),
                ledgers(self._redis),
                group_offsets(self._settings.kafka_bootstrap, NOTIFY_GROUP, [NOTIFY_TOPIC]),
                [line for service in self._urls for line in self._said(service)],
            )
        except (Retriable, Fatal) as error:
            self._clean = 0
            return [str(error)]
        except Exception as error:  # noqa: BLE001 - the Redis driver's own errors; its module is the chassis' alone
            self._clean = 0
            return [f"Redis at {self._settings.redis_url} does not answer: {error}"]
        left = unfinished(facts)
        places, before = facts.places(), self._before
        self._before = places
        self._clean = 0 if left else self._clean + 1 if places == before else 1
        if left or self._clean >= CLEAN_LOOKS:
            return left
        return ["nothing seen; looking again"]

    def _said(self, service: str) -> list[str]:
        try:
            text = get(self._urls[service])
        except OSError as error:
            return [f"{service}: {self._urls[service]} does not answer: {error}"]
        found = sums(text)
        counts = {what: found.get(f"touchstream_{service}_{name}", 0.0) for name, what in self._gauges.items()}
        return [f"{service}: {count:.0f} {what}" for what, count in counts.items() if count]

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()


def wait_idle(look: Callable[[], list[str]], timeout_s: float, every_s: float = LOOK_EVERY_S) -> list[str]:
    """Look until nothing is left or timeout_s has passed; returns what is left then (empty: idle)."""
    deadline = time.monotonic() + timeout_s
    while True:
        left = look()
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(min(every_s, max(0.0, deadline - time.monotonic())))
