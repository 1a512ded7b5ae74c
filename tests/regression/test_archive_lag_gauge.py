"""After a rebalance archive went on showing the lag, and a gap, of partitions that another process had taken over.

Found by tests/chaos, seed 38 on shape pairs: a frozen process woke, all records were archived, and `lag_records` said
309 for ever. The alert on lag would have rung, and `touchstream wait-idle` never ended.
"""

from prometheus_client import REGISTRY

from tests.unit.archive.archive_doubles import TOPIC, event, metrics
from tests.unit.archive.test_handler import PLACE, Process

LABELS = {"topic": TOPIC, "partition": str(PLACE[1])}


def shown(gauge: str) -> float | None:
    return REGISTRY.get_sample_value(f"touchstream_archive_{gauge}", LABELS)


def behind() -> Process:
    """A process that owns the partition and is three records behind."""
    process = Process(buffer_bytes=1)
    process.clickhouse.fate = lambda: "refused"
    process.produce(3)
    process.archive._next_report_s = 0.0
    process.rounds(2)
    process.archive._next_report_s = 0.0
    process.rounds(1)
    assert shown("lag_records") == 3
    return process


def test_a_partition_that_was_given_away_has_no_lag_here() -> None:
    process = behind()
    process.reader.take(PLACE)
    process.rounds(1)
    assert shown("lag_records") is None


def test_a_partition_that_an_assignment_leaves_out_has_no_lag_here() -> None:
    process = behind()
    process.reader.give()
    process.rounds(1)
    assert shown("lag_records") is None


def test_a_partition_that_was_given_away_has_no_gap_here() -> None:
    process = Process()
    process.reader.logs[PLACE] += [event(0), event(1, number=7)]
    process.rounds(4)
    assert shown("gap_stopped") == 1
    process.reader.take(PLACE)
    process.rounds(1)
    assert shown("gap_stopped") is None
    assert f"gap {TOPIC}/{PLACE[1]}" not in metrics().health.report()
