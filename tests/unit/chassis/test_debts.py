"""What is owed runs on until it is paid: outputs not sent, partitions not worked."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from services.chassis.errors import Retriable
from services.chassis.kafka.debts import Cause, Outboxes, Recoveries
from services.chassis.kafka.line import LedgerWorker
from services.chassis.kafka.loop import LoopConfig
from services.chassis.metrics import histogram
from services.chassis.records import Decision, Output, Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.testing.simulation import Service, Simulation, loop_metrics

PLACE = ("numbers", 0)
LABELS = {"topic": "numbers", "partition": "0"}


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_an_outbox_is_as_old_as_its_oldest_entry_until_all_is_paid() -> None:
    clock = Clock()
    outboxes = Outboxes("debtor", clock)
    outboxes.owe(PLACE, 1)
    clock.now += 4
    outboxes.owe(PLACE, 2)
    assert value("touchstream_debtor_outbox_age_seconds", **LABELS) == 4
    assert value("touchstream_debtor_outbox_entries", **LABELS) == 2
    outboxes.paid(PLACE)
    assert value("touchstream_debtor_outbox_age_seconds", **LABELS) == 0
    assert value("touchstream_debtor_outbox_entries", **LABELS) == 0
    outboxes.forget(PLACE)
    assert value("touchstream_debtor_outbox_age_seconds", **LABELS) is None
    outboxes.forget(("numbers", 1))  # of which nothing was ever said


def test_a_recovery_counts_from_the_first_loss_to_the_return() -> None:
    clock = Clock()
    recoveries = Recoveries(histogram("patient", "recovery_seconds", "in a test", ["cause"]), clock)

    def total(cause: Cause) -> tuple[float | None, float | None]:
        name = "touchstream_patient_recovery_seconds"
        return value(f"{name}_count", cause=cause.value), value(f"{name}_sum", cause=cause.value)

    clock.now += 3
    recoveries.assigned(PLACE)
    clock.now += 2
    recoveries.back(PLACE)
    assert total(Cause.START) == (1, 5)
    recoveries.lost(PLACE, Cause.FENCED)
    clock.now += 10
    recoveries.lost(PLACE, Cause.FAULT)  # claimed, and lost again before it worked
    assert recoveries.pending() == [PLACE]
    clock.now += 1
    recoveries.back(PLACE)
    recoveries.back(PLACE)
    assert total(Cause.FENCED) == (1, 11)
    recoveries.assigned(PLACE)
    recoveries.given_away(PLACE)
    recoveries.back(PLACE)
    assert total(Cause.REBALANCE) == (None, None)


class Answers:
    """A handler with one output a record."""

    def decide(self, records: list[Record], ticks: list[str], now_ms: int) -> Decision | None:
        return Decision(outputs=[Output("answers", 0, b"k", b"v") for _ in records])


def open_worker(claim: Claim, ledger: Ledger) -> LedgerWorker:
    return LedgerWorker(claim, ledger, Answers())


SERVICE = Service(LoopConfig("debts", "numbers"), 1, open_worker)


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    simulation = Simulation([SERVICE], 2)
    simulation.rebalance(SERVICE, {0: 0})
    yield simulation
    simulation.close()


def send(simulation: Simulation, number: int) -> None:
    simulation.broker.append(Record("numbers", 0, -1, b"k", b"v", {"seq": b"0:%d" % number}, 0))


def test_a_relay_that_fails_owes_until_it_works_again(simulation: Simulation) -> None:
    loop, sent = simulation.processes[0].loop, []

    def refuse(work: list[Any]) -> None:
        sent.append(len(work))
        raise Retriable("the broker is away")

    simulation.round(0)  # takes over the partition; nothing is left to do
    works, loop.relay.send = loop.relay.send, cast(Any, refuse)
    send(simulation, 1)
    simulation.round(0)
    simulation.round(0)
    outboxes = loop_metrics("debts").outboxes
    assert sent
    assert value("touchstream_debts_outbox_entries", **LABELS) == 1
    assert outboxes.age_s(PLACE) > 0
    loop.relay.send = cast(Any, works)
    for _ in range(30):
        simulation.round(0)
    assert value("touchstream_debts_outbox_entries", **LABELS) == 0
    assert outboxes.age_s(PLACE) == 0
    assert len(simulation.broker.logs["answers", 0]) == 1
    assert (value("touchstream_debts_recovery_seconds_count", cause="fault") or 0) >= 1


def test_a_partition_claimed_by_another_process_is_counted_as_fenced(simulation: Simulation) -> None:
    before = value("touchstream_debts_fenced_total") or 0
    send(simulation, 1)
    simulation.round(0)
    simulation.rebalance(SERVICE, {0: 1})
    simulation.round(1)  # claims; the first process does not know yet
    first = simulation.processes[0].loop
    place, line = PLACE, first.owned.lines[PLACE]
    first._advance(place, line, [Record("numbers", 0, 1, b"k", b"v", {"seq": b"0:2"}, 0)])
    assert value("touchstream_debts_fenced_total") == before + 1
    assert PLACE in loop_metrics("debts").recoveries.pending()


def test_a_ledger_that_stands_elsewhere_is_counted_as_mismatch(simulation: Simulation) -> None:
    before = value("touchstream_debts_mismatches_total") or 0
    simulation.round(0)
    loop = simulation.processes[0].loop
    loop.owned.lines[PLACE].claim.position = 5
    loop._advance(PLACE, loop.owned.lines[PLACE], [Record("numbers", 0, 5, b"k", b"v", {"seq": b"0:1"}, 0)])
    assert value("touchstream_debts_mismatches_total") == before + 1
