"""Which partitions this process owns: the group assigns, the ledger claims, one Line per claimed partition.

Whatever goes wrong with a partition ends here: its line is dropped, with everything it had read, and claimed again.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from services.chassis.errors import Retriable
from services.chassis.failpoints import fp
from services.chassis.kafka import offsets
from services.chassis.kafka.debts import Cause
from services.chassis.kafka.reader import Place, Reader
from services.chassis.kafka.relay import Relay
from services.chassis.kafka.retention import assert_retained
from services.chassis.kafka.take_over import refuse_older, take_over
from services.chassis.marks import Mark
from services.chassis.records import unpack_entry
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.slots import Slot
from services.chassis.settings import SharedSettings
from services.chassis.topics import assert_partitions, load_topics
from services.profile.archive.core.rows import FEEDS
from services.profile.archive.line import Line
from services.profile.archive.metrics import SERVICE, ArchiveMetrics

# Before a partition whose ledger did not answer is claimed again.
BACK_OFF_S = 0.5


@dataclass(frozen=True, slots=True)
class Log:
    """The topics as they are: identity of this life of the log, oldest offsets, and which topics are compacted."""

    cluster_id: str
    topic_ids: Mapping[str, str]
    firsts: Mapping[Place, int]
    compacted: frozenset[str]


def read_log(settings: SharedSettings) -> Log:
    """What the broker says of the archived topics.

    Raises Retriable when it is away, Fatal when a topic is missing, cut up differently or kept too short.
    """
    bootstrap = settings.kafka_bootstrap
    topics = load_topics()
    cluster_id, topic_ids = offsets.log_identity(bootstrap, FEEDS)
    firsts = offsets.first_offsets(bootstrap, FEEDS)
    assert_partitions(firsts, settings.partitions)
    assert_retained(offsets.topic_configs(bootstrap, FEEDS), settings)
    compacted = frozenset(name for name in FEEDS if topics[name].cleanup == "compact")
    return Log(cluster_id, topic_ids, firsts, compacted)


class Ownership:
    """The claimed lines, kept in step with what the group assigns."""

    def __init__(self, reader: Reader, relay: Relay, ledger: Ledger, log: Log, metrics: ArchiveMetrics) -> None:
        self._reader, self._relay, self._ledger, self._log, self._metrics = reader, relay, ledger, log, metrics
        self.lines: dict[Place, Line] = {}
        self._wanted: set[Place] = set()
        self._not_before_s: dict[Place, float] = {}

    def join(self) -> None:
        """Join the group; assignments arrive while the reader reads."""
        self._reader.subscribe(sorted(self._log.topic_ids), self._assigned, self._revoked)

    def publish(self, claims: Mapping[Place, Claim]) -> None:
        """Tell the group how far these lines are: for take_over, before anything of a batch leaves the process."""
        problem = self._reader.publish({place: claim.mark for place, claim in claims.items()})
        if problem:
            self._metrics.limited.warning("kafka.commit_failed", text=problem)

    def is_first(self) -> bool:
        """Whether this process does what one of all processes has to do."""
        return ("touchpoints.resolved", 0) in self.lines

    def leave(self) -> None:
        """Trim what is acknowledged and leave the group."""
        for line in self.lines.values():
            self.trim(line)
        self._reader.close()
        self._relay.discard()

    def claim_missing(self, reason: str = "again") -> None:
        """Claim every assigned partition that has no line and whose back-off is over, then read from all positions."""
        now_s = time.monotonic()
        due = [place for place in self._wanted - self.lines.keys() if self._not_before_s.get(place, 0.0) <= now_s]
        missing = sorted(due)
        if not missing:
            return
        slots = {(topic, number): Slot(f"{SERVICE}.{topic}", number) for topic, number in missing}
        try:
            published = self._reader.committed(missing)
        except Retriable as error:
            self._not_now(missing, "kafka", error)
            return
        try:
            refuse_older(self._ledger, slots, published)
        except Retriable as error:
            self._not_now(missing, "redis", error)
            return
        for place in missing:
            try:
                self.lines[place] = self._claim(place, slots[place], published.get(place))
                self._metrics.claims.labels(reason).inc()
                self._metrics.health.set("redis", True)
            except Retriable as error:
                self._not_now([place], "redis", error)
        self._reader.start({place: line.next_offset for place, line in self.lines.items() if not line.is_stopped})
        for line in self.lines.values():
            line.is_paused = False

    def _not_now(self, places: list[Place], backend: str, error: Retriable) -> None:
        for place in places:
            self._not_before_s[place] = time.monotonic() + BACK_OFF_S
        self._metrics.health.set(backend, False, str(error))
        self._metrics.limited.error("partition.claim_failed", places=places, text=str(error))

    def drop(self, place: Place, wait_s: float = BACK_OFF_S, cause: Cause = Cause.FAULT) -> None:
        """Forget a line; it is claimed again after wait_s if it is still assigned."""
        self._forget(place)
        self._metrics.recoveries.lost(place, cause)
        self._not_before_s[place] = time.monotonic() + wait_s

    def trim(self, line: Line) -> None:
        """Trim acknowledged dead letters from the outbox; what could not be trimmed is relayed once more."""
        try:
            self._ledger.touch(line.claim)
        except Retriable as error:
            self._metrics.limited.warning("partition.untrimmed", topic=line.topic, text=str(error))

    def _assigned(self, places: list[Place]) -> None:
        self._wanted = set(places)
        for place in list(self.lines):
            self._forget(place)
        self._not_before_s.clear()
        for place in places:
            self._metrics.recoveries.assigned(place)
        self.claim_missing("assigned")
        if not self.lines:
            self._reader.start({})

    def _revoked(self, places: list[Place]) -> None:
        for place in places:
            self._wanted.discard(place)
            line = self._forget(place)
            if line is not None:
                self.trim(line)
            self._metrics.outboxes.forget(place)
            self._metrics.recoveries.given_away(place)

    def _forget(self, place: Place) -> Line | None:
        """The line, out of our hands; what the gauges said of it is its next owner's to say."""
        line = self.lines.pop(place, None)
        if line is not None:
            self._metrics.forget(*place)
        return line

    def _claim(self, place: Place, slot: Slot, published: Mark | None) -> Line:
        topic, partition = place
        cluster_id, topic_id = self._log.cluster_id, self._log.topic_ids[topic]
        first = self._log.firsts.get(place, 0)
        claim = take_over(self._ledger, published, slot, topic, cluster_id, topic_id, first)
        if claim.unsent:
            fp("before_restore", Retriable)
            entries = [unpack_entry(blob) for blob in claim.unsent]
            claim.restored(entries)
            self._metrics.outboxes.owe(place, len(entries))
            self.publish({place: claim})
            self._relay.send([(claim, entry) for entry in entries])
            fp("after_restore", Retriable)
            self._metrics.outboxes.paid(place)
        line = Line(topic, claim, f"{cluster_id}/{topic_id}", topic in self._log.compacted)
        self._metrics.log.info(
            "partition.claimed", topic=topic, partition=partition, epoch=claim.epoch, position=claim.position,
            unsent=len(claim.unsent), tries=claim.tries, begun=line.intent.upto if line.intent else None,
        )  # fmt: skip
        return line
