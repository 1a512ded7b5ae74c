"""What the loop does at a gap and with what lies outside the log; crashes are the property tests' matter."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest

from services.chassis.errors import Fatal
from services.chassis.kafka import loop, reader
from services.chassis.kafka.line import LedgerWorker
from services.chassis.kafka.loop import LoopConfig
from services.chassis.records import Decision, Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.testing.fake_kafka import FakeClient
from services.chassis.testing.simulation import Service, Simulation, loop_metrics

TAKEN: list[tuple[int, int]] = []


class Notes:
    """A handler that notes (partition, offset) of what it gets."""

    def decide(self, records: list[Record], ticks: list[str], now_ms: int) -> Decision | None:
        TAKEN.extend((record.partition, record.offset) for record in records)
        return Decision()


def open_worker(claim: Claim, ledger: Ledger) -> LedgerWorker:
    return LedgerWorker(claim, ledger, Notes())


SERVICE = Service(LoopConfig("loop", "numbers"), 2, open_worker)


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    TAKEN.clear()
    simulation = Simulation([SERVICE], 2)
    yield simulation
    simulation.close()


def send(simulation: Simulation, partition: int, *numbers: int) -> None:
    for number in numbers:
        simulation.broker.append(Record("numbers", partition, -1, b"k", b"v", {"seq": b"0:%d" % number}, 0))


def test_a_gap_stops_its_partition_and_no_other(simulation: Simulation) -> None:
    simulation.rebalance(SERVICE, {0: 0, 1: 0})
    send(simulation, 0, 1, 3, 4)
    send(simulation, 1, 1, 2)
    for _ in range(5):
        simulation.round(0)
    send(simulation, 1, 3)
    for _ in range(5):
        simulation.round(0)
    assert sorted(TAKEN) == [(0, 0), (1, 0), (1, 1), (1, 2)]


def test_a_partition_that_stood_at_a_gap_is_looked_at_again_after_a_rebalance(simulation: Simulation) -> None:
    simulation.rebalance(SERVICE, {0: 0, 1: 0})
    send(simulation, 0, 1, 3)
    for _ in range(5):
        simulation.round(0)
    line = simulation.processes[0].loop.owned.lines["numbers", 0]
    assert line.is_stopped
    for owner in (1, 0):
        simulation.rebalance(SERVICE, {0: owner, 1: owner})
        for number in (0, 1, 0, 1):
            simulation.round(number)
    again = simulation.processes[0].loop.owned.lines["numbers", 0]
    assert again is not line
    assert again.is_stopped


@pytest.mark.parametrize("told", [1, 3, 64])
def test_a_service_told_another_number_of_partitions_refuses_to_start(simulation: Simulation, told: int) -> None:
    """Keys went to partitions whose owner had never seen them: customers' logs had holes, and nothing said why."""
    process = simulation.processes[0]
    settings = process.loop.settings.model_copy(update={"partitions": told})
    fake = FakeClient(simulation.broker, process, process.point, simulation.pass_time, 2)
    with (
        patch.object(reader, "client", fake),
        patch.object(loop, "offsets", fake),
        pytest.raises(Fatal, match=rf"has 2 partitions, .* is {told}\."),
    ):
        loop.Loop(SERVICE.config, settings, process.ledger, process.loop.owned.open_worker, loop_metrics("loop"))


def test_a_service_refuses_a_topic_that_forgets_before_it_is_read(simulation: Simulation) -> None:
    process = simulation.processes[0]
    fake = FakeClient(simulation.broker, process, process.point, simulation.pass_time, 2)
    short = {"touchpoints": {"message.timestamp.type": "LogAppendTime", "retention.ms": "60000"}}
    with (
        patch.object(reader, "client", fake),
        patch.object(loop, "offsets", fake),
        patch.object(fake, "topic_configs", lambda bootstrap, topics: short),
        pytest.raises(Fatal, match=r"touchpoints: retention.ms is 60000, must be at least"),
    ):
        loop.Loop(
            LoopConfig("loop", "touchpoints"), process.loop.settings, process.ledger, process.loop.owned.open_worker,
            loop_metrics("loop"),
        )  # fmt: skip


def test_a_former_owner_says_nothing_of_a_partition_any_more(simulation: Simulation) -> None:
    simulation.rebalance(SERVICE, {0: 0, 1: 0})
    send(simulation, 0, 1, 3)
    for _ in range(5):
        simulation.round(0)
    metrics = simulation.processes[0].loop.metrics
    assert ("numbers", "0") in metrics.gaps._metrics
    assert metrics.health.report()["gap numbers/0"]["ok"] is False
    simulation.processes[0].loop.owned.on_revoke([("numbers", 0)])
    assert ("numbers", "0") not in metrics.gaps._metrics
    assert "gap numbers/0" not in metrics.health.report()


def test_readiness_comes_back_with_the_next_record(simulation: Simulation) -> None:
    simulation.rebalance(SERVICE, {0: 0, 1: 0})
    member = simulation.processes[0].loop
    member.round()
    member.reader.error = "1/1 brokers are down"
    member.round()
    assert member.metrics.health.report()["kafka"]["ok"] is False
    send(simulation, 0, 1)
    member.round()
    assert member.metrics.health.report()["kafka"]["ok"] is True
