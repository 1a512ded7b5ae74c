"""Many timers due at one moment, on the real loop: who is worked off when, and what a record waits for."""

from collections.abc import Iterator

import pytest

from services.chassis.kafka.line import DUES_A_ROUND, LEAST_DUES, LedgerWorker
from services.chassis.kafka.loop import IDLE_POLL_S, LoopConfig
from services.chassis.records import Decision, Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.slots import Slot
from services.chassis.testing.simulation import START_MS, Service, Simulation

# What the handler was called with: (partition, timers, records).
STEPS: list[tuple[int, int, int]] = []
MORE: list[int] = []


class Timers:
    """A handler that ends every timer it is asked about."""

    def __init__(self, partition: int) -> None:
        self._partition = partition

    def decide(self, records: list[Record], ticks: list[str], now_ms: int) -> Decision | None:
        STEPS.append((self._partition, len(ticks), len(records)))
        return Decision(due=dict.fromkeys(ticks))


def open_worker(claim: Claim, ledger: Ledger) -> LedgerWorker:
    def more(most: int) -> list[str]:
        MORE.append(most)
        return []

    return LedgerWorker(claim, ledger, Timers(claim.slot.partition), more)


def running(partitions: int) -> Iterator[Simulation]:
    STEPS.clear()
    MORE.clear()
    simulation = Simulation([Service(LoopConfig("timers", "numbers"), partitions, open_worker)], 1)
    simulation.round(0)
    STEPS.clear()
    yield simulation
    simulation.close()


@pytest.fixture
def one() -> Iterator[Simulation]:
    yield from running(1)


@pytest.fixture
def many() -> Iterator[Simulation]:
    yield from running(8)


def plant(simulation: Simulation, partition: int, count: int) -> None:
    """So many timers of a partition, all due now."""
    line = simulation.processes[0].loop.owned.lines["numbers", partition]
    due: dict[str, int | None] = {f"m{number}": START_MS for number in range(count)}
    simulation.processes[0].ledger.apply(line.claim, Decision(due=due), {}, line.claim.position, 0)
    assert simulation.processes[0].ledger.due(Slot("timers", partition), START_MS, count + 1) == sorted(due)


def test_while_timers_are_due_no_round_waits_for_records(one: Simulation) -> None:
    plant(one, 0, 3 * DUES_A_ROUND + 1)
    began_s = one.passed_s
    one.pass_time(1.0)  # timers are asked for five times a second
    for _ in range(4):
        one.round(0)
    assert [ticks for _, ticks, _ in STEPS] == [DUES_A_ROUND] * 3 + [1]
    # The first round could not know that there are any.
    assert one.passed_s - began_s == pytest.approx(1.0 + IDLE_POLL_S)
    one.round(0)
    assert one.passed_s - began_s == pytest.approx(1.0 + 2 * IDLE_POLL_S)


def test_partitions_share_a_round_so_that_a_record_never_waits_for_more(many: Simulation) -> None:
    for partition in range(8):
        plant(many, partition, DUES_A_ROUND)
    many.pass_time(1.0)
    many.broker.append(Record("numbers", 7, -1, b"k", b"v", {"seq": b"0:1"}, 0))
    many.round(0)
    share = DUES_A_ROUND // 8
    shares = [(partition, share, partition == 7) for partition in range(8)]
    assert shares == STEPS
    for _ in range(7):
        many.round(0)
    assert sum(ticks for _, ticks, _ in STEPS) == 8 * DUES_A_ROUND


def test_nobody_is_looked_at_besides_while_a_partition_is_behind(one: Simulation) -> None:
    plant(one, 0, DUES_A_ROUND + 1)
    one.pass_time(1.0)
    MORE.clear()
    one.round(0)
    assert MORE == []
    one.round(0)
    assert MORE == [DUES_A_ROUND // 2]


def test_a_partition_that_stands_at_a_gap_does_not_keep_the_loop_awake(one: Simulation) -> None:
    plant(one, 0, 2 * DUES_A_ROUND)
    one.pass_time(1.0)
    one.broker.append(Record("numbers", 0, -1, b"k", b"v", {"seq": b"0:1"}, 0))
    one.broker.append(Record("numbers", 0, -1, b"k", b"v", {"seq": b"0:3"}, 0))
    one.round(0)
    line = one.processes[0].loop.owned.lines["numbers", 0]
    assert (line.is_stopped, line.worker.is_behind) == (True, True)
    before_s = one.passed_s
    one.round(0)
    assert one.passed_s - before_s == pytest.approx(IDLE_POLL_S)


def test_however_many_partitions_there_are_each_gets_on() -> None:
    assert DUES_A_ROUND // 1_024 < LEAST_DUES < DUES_A_ROUND
    for simulation in running(60):
        plant(simulation, 59, LEAST_DUES + 1)
        simulation.pass_time(1.0)
        simulation.round(0)
        assert STEPS == [(59, LEAST_DUES, 0)]
