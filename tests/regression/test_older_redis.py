"""A Redis that came back without its last batches went on unnoticed, and gave out numbers a second time."""

from collections.abc import Iterator

import pytest

from services.chassis.errors import Fatal
from services.chassis.kafka.line import LedgerWorker
from services.chassis.kafka.loop import LoopConfig
from services.chassis.records import Decision, Output, Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.testing.simulation import Service, Simulation

WORKER, NEIGHBOUR = 0, 1


class Echo:
    """A handler with one output a record."""

    def decide(self, records: list[Record], ticks: list[str], now_ms: int) -> Decision | None:
        return Decision(outputs=[Output("echoes", 0, b"k", b"v") for _ in records])


def open_worker(claim: Claim, ledger: Ledger) -> LedgerWorker:
    return LedgerWorker(claim, ledger, Echo())


@pytest.fixture(params=[False, True], ids=["a slot each", "one slot for all"])
def simulation(request: pytest.FixtureRequest) -> Iterator[Simulation]:
    """Two processes with a partition each."""
    simulation = Simulation([Service(LoopConfig("echo", "calls", shared_slot=request.param), 2, open_worker)], 2)
    yield simulation
    simulation.close()


def call(simulation: Simulation, partition: int, number: int) -> None:
    simulation.broker.append(Record("calls", partition, -1, b"k", b"v", {"seq": b"%d:%d" % (partition, number)}, 0))


def rounds(simulation: Simulation, number: int) -> None:
    for _ in range(60):
        simulation.round(number)


def test_a_redis_without_a_batch_that_others_have_seen_is_refused(simulation: Simulation) -> None:
    call(simulation, 0, 1)
    simulation.settle()
    saved = simulation.server.saved()
    call(simulation, 0, 2)
    simulation.settle()
    simulation.server.restore(saved)
    with pytest.raises(Fatal, match=r"ledger:0 stands at offset 1 .*up to offset 2.*has come back older.*rebuild"):
        rounds(simulation, WORKER)
    assert len(simulation.broker.logs["echoes", 0]) == 2


def test_a_batch_that_only_time_brought_about_is_missed_too(simulation: Simulation) -> None:
    call(simulation, 0, 1)
    simulation.settle()
    saved = simulation.server.saved()
    claim = simulation.processes[WORKER].loop.owned.lines["calls", 0].claim
    simulation.processes[WORKER].ledger.apply(claim, Decision(outputs=[Output("echoes", 0, b"k", b"v")]), {}, 1, 0)
    simulation.pass_time(2)
    simulation.round(WORKER)  # tells the group
    simulation.server.restore(saved)
    with pytest.raises(Fatal, match="has come back older"):
        rounds(simulation, WORKER)


def test_state_that_partitions_share_is_refused_by_the_owners_of_all(simulation: Simulation) -> None:
    shared = simulation.services[0].config.shared_slot
    call(simulation, 0, 1)
    call(simulation, 1, 1)
    simulation.settle()
    saved = simulation.server.saved()
    call(simulation, 0, 2)
    simulation.settle()
    simulation.server.restore(saved)
    call(simulation, 1, 2)
    if shared:
        with pytest.raises(Fatal, match="ledger:0 stands at offset 1"):
            rounds(simulation, NEIGHBOUR)
    else:
        rounds(simulation, NEIGHBOUR)
    assert len(simulation.broker.logs["echoes", 0]) == (3 if shared else 4)


def test_a_redis_that_comes_back_with_everything_is_claimed_again_and_works_on(simulation: Simulation) -> None:
    call(simulation, 0, 1)
    simulation.settle()
    simulation.server.restore(simulation.server.saved())
    call(simulation, 0, 2)
    simulation.settle()
    assert len(simulation.broker.logs["echoes", 0]) == 2
    assert simulation.processes[WORKER].loop.owned.lines["calls", 0].claim.epoch == 2
