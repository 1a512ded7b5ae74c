"""The synchronous loop: poll, decide and apply per partition, relay all, repeat. Used by identity, profile and rules.

The consumer group only says who owns what; offsets come from the ledger (claim), never from the group. Whatever goes
wrong ends in the same place: the partition is claimed again, which drops every cache and re-reads the truth.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from services.chassis.clock import Clock, now_ms
from services.chassis.errors import Fatal, Fenced, Retriable
from services.chassis.health import Health
from services.chassis.kafka import client, offsets
from services.chassis.kafka.debts import Cause
from services.chassis.kafka.line import DUES_A_ROUND, LEAST_DUES, HandlerFactory, LedgerWorker, Line, Worker
from services.chassis.kafka.loop_metrics import LoopMetrics
from services.chassis.kafka.owned import Log, Owned, Work, WorkerFactory
from services.chassis.kafka.reader import Place, Reader
from services.chassis.kafka.relay import Relay
from services.chassis.kafka.retention import assert_retained
from services.chassis.records import Entry, Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger, Mismatch, durable_ledger
from services.chassis.run import Stop
from services.chassis.settings import SharedSettings
from services.chassis.topics import assert_partitions

# Larger batches amortise the round trip; beyond a few thousand a script holds up the other partitions (10 µs an event).
BATCH_MAX = 3_000
IDLE_POLL_S = 0.05
WAITING_POLL_S = 0.01
TOUCH_S = 0.5
# A round waits up to 30 s for acknowledgements. Shorter: a slow broker costs the partitions as well. Longer: a worker
# that hangs keeps them longer.
LONGEST_ROUND_MS = 45_000


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """What distinguishes one service's loop.

    shared_slot: all partitions under one hash tag (identity's graph). is_numbered: the topic is written by a relay of
    ours, whose sequence numbers are checked.
    """

    service: str
    topic: str
    shared_slot: bool = False
    batch_max: int = BATCH_MAX
    is_numbered: bool = True


class Loop:
    """The reader, the relay and what is owned, worked in rounds."""

    def __init__(
        self, config: LoopConfig, settings: SharedSettings, ledger: Ledger, open_worker: WorkerFactory,
        metrics: LoopMetrics, clock: Clock = now_ms, upkeep: Callable[[list[Claim]], None] | None = None,
    ) -> None:  # fmt: skip
        self.config, self.settings, self.ledger = config, settings, ledger
        self.metrics, self.clock, self.upkeep = metrics, clock, upkeep
        self.reader = Reader(
            settings.kafka_bootstrap, f"touchstream-{config.service}", settings.kafka_session_timeout_ms,
            config.service, LONGEST_ROUND_MS, settings.kafka_gather_ms / 1000, settings.kafka_fetch_wait_ms,
        )  # fmt: skip
        self.relay = Relay(lambda: client.producer(settings.kafka_bootstrap, config.service))
        self.owned = Owned(
            config.service, config.shared_slot, config.is_numbered, self.reader, ledger,
            _read_log(settings, config.topic), open_worker, self._send, metrics,
        )  # fmt: skip
        self.next_upkeep_s = 0.0

    def run(self, stop: Stop) -> None:
        """Work until stop is set, then trim what is acknowledged and leave the group."""
        self.join()
        try:
            while not stop.is_set():
                self.round()
            self.owned.release_all()
        finally:
            self.reader.close()
            self.relay.discard()

    def join(self) -> None:
        """Join the group; what it assigns comes with the first rounds."""
        self.reader.subscribe([self.config.topic], self.owned.on_assign, self.owned.on_revoke)

    def round(self) -> None:
        """Poll, advance every line, relay what came out, look after the rest."""
        batches = self._poll()
        started = time.monotonic()
        work: Work = []
        touched: list[Place] = []
        lines = list(self.owned.lines.items())
        due_limit = max(LEAST_DUES, DUES_A_ROUND // max(1, len(lines)))
        for place, line in lines:
            if line.is_stopped:
                continue
            line.worker.due_limit = due_limit
            entries = self._advance(place, line, batches.get(place, []))
            if entries:
                touched.append(place)
                self.metrics.outboxes.owe(place, len(line.claim.stored) - line.claim.acknowledged)
                work += [(line.claim, entry) for entry in entries]
        if work:
            self._relay(work, touched, started, sum(map(len, batches.values())))
        self._recovered()
        self._upkeep()

    def _advance(self, place: Place, line: Line, records: list[Record]) -> list[Entry]:
        try:
            entries = line.advance(records, self.ledger, self.clock)
            if line.is_stopped:
                self.reader.pause([place])
            return entries
        except Retriable as error:
            self._lose(place, error)
        except Fatal:
            raise
        except Exception as error:  # a bug or a record that breaks the code: counted per position by the claim
            self.owned.drop([place])
            self.metrics.failures.inc()
            self.metrics.log.error("partition.failed", place=place, exc_info=error)
        return []

    def _lose(self, place: Place, error: Retriable) -> None:
        """Drop a line that cannot go on under its claim."""
        if isinstance(error, Fenced):
            # Somebody else owns it; a rebalance will say so. Should none come, claim again after the session timeout.
            self.owned.drop([place], self.settings.kafka_session_timeout_ms / 1000, Cause.FENCED)
            self.metrics.fenced.inc()
            self.metrics.limited.warning("partition.fenced", place=place, text=str(error))
            return
        self.owned.drop([place])
        self.metrics.failures.inc()
        self.metrics.mismatches.inc(isinstance(error, Mismatch))
        self.metrics.limited.warning("partition.retry", place=place, text=str(error))

    def _recovered(self) -> None:
        """Partitions that were lost count as back when a batch of theirs is done, or nothing is left to do."""
        for place in self.metrics.recoveries.pending():
            line = self.owned.lines.get(place)
            if line is None or line.is_stopped:
                continue
            end = self.reader.end(place)
            if line.claim.applied or (end is not None and end <= line.claim.position):
                self.metrics.recoveries.back(place)

    def _relay(self, work: Work, touched: list[Place], started: float, taken: int) -> None:
        self.owned.publish({place: self.owned.lines[place].claim for place in touched if place in self.owned.lines})
        try:
            sent = self._send(work)
        except Retriable as error:
            self.owned.drop(touched)
            self.metrics.failures.inc()
            self.metrics.limited.error("relay.failed", text=str(error))
            return
        for place in touched:
            self.metrics.outboxes.paid(place)
        elapsed = time.monotonic() - started
        self.metrics.batch_s.observe(elapsed)
        self.metrics.log.info("batch.done", records=taken, outputs=sent, ms=round(elapsed * 1000, 1))

    def _send(self, work: Work) -> int:
        self.relay.send(work)
        for _, entry in work:
            if entry.late_deletes:
                self.ledger.delete(entry.late_deletes)
        topics = Counter(output.topic for _, entry in work for output in entry.outputs)
        for topic, count in topics.items():
            self.metrics.sent.labels(topic).inc(count)
        return topics.total()

    def _poll(self) -> dict[Place, list[Record]]:
        self.owned.claim_missing("again")
        batches = self.reader.read(self.config.batch_max, self._patience_s())
        if self.reader.error:
            self.metrics.health.set("kafka", False, self.reader.error)
            self.metrics.limited.warning("kafka.error", text=self.reader.error)
        elif batches:
            self.metrics.health.set("kafka", True, f"{len(self.owned.wanted)} partitions assigned")
        return batches

    def _patience_s(self) -> float:
        """How long to wait for records: while timers are due not at all, and briefly while somebody waits."""
        lines = [line for line in self.owned.lines.values() if not line.is_stopped]
        if any(line.worker.is_behind for line in lines):
            return 0.0
        return WAITING_POLL_S if any(line.claim.waits for line in lines) else IDLE_POLL_S

    def _upkeep(self) -> None:
        now = time.monotonic()
        for place, line in list(self.owned.lines.items()):
            if now - line.touched_s >= TOUCH_S:
                line.touched_s = now
                try:
                    self.ledger.touch(line.claim)
                except Retriable as error:
                    self._lose(place, error)
        if now >= self.next_upkeep_s:
            self.next_upkeep_s = now + 1.0
            self._report()
            if self.upkeep is not None:
                self.upkeep([line.claim for line in self.owned.lines.values()])

    def _report(self) -> None:
        """Lag gauges, and how far the group is, for other people's dashboards as well."""
        for (topic, partition), line in self.owned.lines.items():
            end = self.reader.end((topic, partition))
            if end is not None:
                self.metrics.lag.labels(topic, str(partition)).set(max(0, end - line.claim.position))
        if self.owned.lines:
            self.owned.publish({place: line.claim for place, line in self.owned.lines.items()})


def _read_log(settings: SharedSettings, topic: str) -> Log:
    cluster_id, topic_ids = offsets.log_identity(settings.kafka_bootstrap, [topic])
    firsts = offsets.first_offsets(settings.kafka_bootstrap, [topic])
    assert_partitions(firsts, settings.partitions)
    assert_retained(offsets.topic_configs(settings.kafka_bootstrap, [topic]), settings)
    return Log(cluster_id, topic_ids[topic], firsts)


def run_loop(config: LoopConfig, settings: SharedSettings, factory: HandlerFactory, health: Health, stop: Stop) -> None:
    """The loop of a service whose PartitionHandler decides in Python; blocks until stop is set."""
    metrics = LoopMetrics(config.service, health)
    ledger = durable_ledger(settings.redis_url, settings.relaxed_durability)

    def open_worker(claim: Claim) -> Worker:
        return LedgerWorker(claim, ledger, factory(claim.slot, ledger, claim.waits))

    Loop(config, settings, ledger, open_worker, metrics).run(stop)
