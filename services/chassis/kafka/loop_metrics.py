"""What the loop counts and says, for every service the same."""

from prometheus_client import Counter, Gauge, Histogram

from services.chassis import metrics
from services.chassis.health import Health
from services.chassis.kafka.debts import RECOVERY_BUCKETS_S, Outboxes, Recoveries
from services.chassis.logs import get_logger, limited
from services.chassis.records import Record


class LoopMetrics:
    """Metrics of one process's loop; create once per process."""

    def __init__(self, service: str, health: Health) -> None:
        self.health = health
        health.set("kafka", False, "no partitions assigned yet")  # other components may speak before the first round
        self.log = get_logger()
        self.limited = limited(self.log)
        self.records: Counter = metrics.counter(service, "records", "records taken from input topics", ["topic"])
        self.duplicates: Counter = metrics.counter(
            service, "duplicates_dropped", "records dropped because their sequence number was taken before", ["topic"]
        )
        self.gaps: Gauge = metrics.gauge(
            service, "gap_stopped", "1 while a partition stands at a missing sequence number", ["topic", "partition"]
        )
        self.dead_letters: Counter = metrics.counter(
            service, "dead_letters", "records sent to the dead-letter topic", ["topic"]
        )
        self.claims: Counter = metrics.counter(service, "claims", "claims of partitions", ["reason"])
        self.failures: Counter = metrics.counter(service, "retriable_failures", "rounds given up and claimed again")
        self.fenced: Counter = metrics.counter(
            service, "fenced", "partitions lost while they were worked: another process has claimed them"
        )
        self.mismatches: Counter = metrics.counter(
            service, "mismatches", "batches that the ledger refused because it stands elsewhere"
        )
        self.outboxes = Outboxes(service)
        recovery_s = metrics.histogram(
            service, "recovery_seconds", "from losing a partition to working on it again", ["cause"], RECOVERY_BUCKETS_S
        )
        self.recoveries = Recoveries(recovery_s)
        self.lag: Gauge = metrics.gauge(service, "lag_records", "records not yet worked", ["topic", "partition"])
        self.batch_s: Histogram = metrics.histogram(service, "batch_seconds", "one round: decide, apply, relay")
        self.sent: Counter = metrics.counter(service, "outputs", "records produced", ["topic"])

    def taken(self, topic: str, taken: int, dropped: int) -> None:
        """Count one batch."""
        if taken:
            self.records.labels(topic).inc(taken)
        if dropped:
            self.duplicates.labels(topic).inc(dropped)

    def dead(self, topic: str, count: int) -> None:
        """Count dead letters of one batch."""
        if count:
            self.dead_letters.labels(topic).inc(count)
            self.limited.warning("record.dead", topic=topic, count=count)

    def forget(self, topic: str, partition: int) -> None:
        """Take back what was said of a partition that another owner, or the next claim, speaks for now."""
        for gauge in (self.lag, self.gaps):
            gauge.remove(topic, str(partition))
        self.health.remove(f"gap {topic}/{partition}")

    def gap(self, topic: str, partition: int, record: Record, seen: dict[str, int]) -> None:
        """Say loudly that a partition has stopped."""
        self.gaps.labels(topic, str(partition)).set(1)
        self.health.set(f"gap {topic}/{partition}", False, f"missing sequence number before offset {record.offset}")
        self.log.error(
            "partition.gap", topic=topic, partition=partition, offset=record.offset,
            got=record.headers.get("seq", b"").decode(), taken=seen,
            text="an acknowledged record is missing upstream; the partition waits for an operator"
            " (services/chassis/README.md, When records are missing)",
        )  # fmt: skip
