"""What counts as worked off, and what the figures of a service are read from."""

from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.figures import Figures, summarise, sums
from deploy.local.idle import Facts, unfinished, wait_idle
from services.chassis.redis.inspect import LedgerStatus

TOPICS = {
    "identity": "touchpoints",
    "profile": "touchpoints.resolved",
    "archive.triggers": "triggers",
    "archive.deliveries": "deliveries",
    "rules": "profile.changes",
}


def _ledger(service: str, partition: int, position: int, outbox: int = 0, waits: int = 0) -> LedgerStatus:
    return LedgerStatus(service, TOPICS[service], partition, position, 1, 1, outbox, waits)


def _facts(*changed: LedgerStatus, notify: int = 10, said: tuple[str, ...] = ()) -> Facts:
    """Two partitions, ten records each, all worked off, except for what is given."""
    known = {(s, p): _ledger(s, p, 10) for s in TOPICS for p in (0, 1)}
    known |= {(one.service, one.partition): one for one in changed}
    ends = {(topic, p): 10 for topic in (*TOPICS.values(), "touchpoints.rejected") for p in (0, 1)}
    return Facts(ends, list(known.values()), {("triggers", 0): notify, ("triggers", 1): 10}, said)


def test_nothing_is_left_when_every_reader_stands_at_the_end() -> None:
    assert unfinished(_facts()) == []


def test_topics_that_only_people_read_do_not_count() -> None:
    assert not any("rejected" in line for line in unfinished(_facts()))


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (_facts(_ledger("rules", 1, 7)), "rules: profile.changes/1 is at least 3 records behind"),
        (_facts(_ledger("archive.triggers", 0, 0)), "archive: triggers/0 is at least 10 records behind"),
        (
            _facts(_ledger("identity", 0, 10, outbox=2)),
            "identity: touchpoints/0: 2 outbox entries not sent or not yet trimmed",
        ),
        (
            _facts(_ledger("profile", 0, 10, waits=1)),
            "profile: touchpoints.resolved/0: 1 customers wait for a hand-over",
        ),
        (_facts(notify=9), "notify: triggers/0 is at least 1 records behind"),
        (_facts(said=("notify: 1 deliveries waiting or under way",)), "notify: 1 deliveries waiting or under way"),
    ],
)
def test_whatever_is_left_is_named(facts: Facts, line: str) -> None:
    assert unfinished(facts) == [line]


def test_a_partition_nobody_has_claimed_counts_from_its_beginning() -> None:
    facts = _facts()
    alone = Facts(facts.ends, [one for one in facts.ledgers if one.partition == 0], facts.notify_offsets)
    assert "rules: profile.changes/1 is at least 10 records behind" in unfinished(alone)


def test_a_service_that_never_came_up_is_named_even_without_any_event() -> None:
    assert unfinished(Facts({}, [], {})) == [
        f"{service}: has not taken over any partition yet" for service in ("identity", "profile", "archive", "rules")
    ]


def test_waiting_ends_with_the_first_look_that_sees_nothing() -> None:
    looks = [["a"], ["b"], []]
    assert wait_idle(lambda: looks.pop(0), timeout_s=5, every_s=0.001) == []
    assert looks == []


def test_waiting_gives_up_with_what_is_left() -> None:
    assert wait_idle(lambda: ["rules: behind"], timeout_s=0.01, every_s=0.001) == ["rules: behind"]


METRICS = """\
# TYPE touchstream_rules_records_total counter
touchstream_rules_records_total{topic="profile.changes"} 1200.0
touchstream_rules_records_created{topic="profile.changes"} 1.7e+09
# TYPE touchstream_rules_lag_records gauge
touchstream_rules_lag_records{topic="profile.changes",partition="0"} 3.0
touchstream_rules_lag_records{topic="profile.changes",partition="1"} 4.0
# TYPE touchstream_rules_dead_letters_total counter
touchstream_rules_dead_letters_total{topic="profile.changes"} 2.0
"""
INGEST = """\
# TYPE touchstream_ingest_events_total counter
touchstream_ingest_events_total{source="shop",verdict="accepted"} 90.0
touchstream_ingest_events_total{source="shop",verdict="rejected"} 10.0
"""


@pytest.fixture
def figures() -> Callable[..., Figures]:
    def make(service: str, text: str, at_s: float, before: Figures | None = None) -> Figures:
        return summarise(service, text_string_to_metric_families(text), at_s, before)

    return make


def test_rate_lag_and_errors_come_from_the_services_own_metrics(figures: Callable[..., Figures]) -> None:
    first = figures("rules", METRICS, 100.0)
    assert (first.worked, first.lag, first.errors, first.rate_per_s) == (1200, 7, 2, 0)
    later = figures("rules", METRICS.replace("1200.0", "1500.0"), 102.0, first)
    assert later.rate_per_s == 150


def test_a_counter_that_began_anew_is_not_a_negative_rate(figures: Callable[..., Figures]) -> None:
    first = figures("rules", METRICS, 100.0)
    assert figures("rules", METRICS.replace("1200.0", "40.0"), 102.0, first).rate_per_s == 20


def test_refused_events_are_ingests_errors(figures: Callable[..., Figures]) -> None:
    read = figures("ingest", INGEST, 1.0)
    assert (read.worked, read.errors) == (100, 10)


def test_samples_of_a_metric_are_summed() -> None:
    assert sums(METRICS)["touchstream_rules_lag_records"] == 7
    assert "touchstream_rules_absent" not in sums(METRICS)
