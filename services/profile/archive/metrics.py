"""What archive counts besides the loop's usual metrics."""

from prometheus_client import Counter, Gauge, Histogram

from services.chassis import metrics
from services.chassis.health import Health
from services.chassis.kafka.loop_metrics import LoopMetrics

SERVICE = "archive"


class ArchiveMetrics(LoopMetrics):
    """Metrics of the process; create once per process."""

    def __init__(self, health: Health) -> None:
        super().__init__(SERVICE, health)
        self.rows: Counter = metrics.counter(SERVICE, "rows", "rows that ClickHouse has acknowledged", ["table"])
        self.insert_s: Histogram = metrics.histogram(
            SERVICE, "insert_seconds", "one insert, as seen from here", ["table"]
        )
        self.repeats: Counter = metrics.counter(
            SERVICE,
            "repeated_batches",
            "batches sent again under the same token after a crash or a lost answer",
            ["topic"],
        )
        self.failed: Counter = metrics.counter(
            SERVICE, "insert_failures", "inserts that ClickHouse did not acknowledge"
        )
        self.up: Gauge = metrics.gauge(SERVICE, "clickhouse_up", "1 while the last call to ClickHouse worked")
        self.freshness_s: Histogram = metrics.histogram(
            SERVICE,
            "freshness_seconds",
            "from the log append of a batch's oldest record to its rows being visible",
            ["topic"],
        )
        self.copies: Gauge = metrics.gauge(
            SERVICE, "duplicate_rows", "rows of one record that are there more than once, last two days", ["table"]
        )
        self.buffered: Gauge = metrics.gauge(SERVICE, "buffered_bytes", "record bytes read and not yet inserted")
