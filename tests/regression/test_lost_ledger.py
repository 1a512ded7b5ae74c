"""A Redis that had lost its state began every topic again in silence, and numbered outputs anew beside the old ones."""

from collections.abc import Iterator

import pytest

from services.chassis.errors import Fatal
from services.chassis.kafka.line import LedgerWorker
from services.chassis.kafka.loop import LoopConfig
from services.chassis.records import Decision, Output, Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.testing.simulation import Service, Simulation


class Echo:
    """A handler with one output a record."""

    def decide(self, records: list[Record], ticks: list[str], now_ms: int) -> Decision | None:
        return Decision(outputs=[Output("echoes", 0, b"k", b"v") for _ in records])


def open_worker(claim: Claim, ledger: Ledger) -> LedgerWorker:
    return LedgerWorker(claim, ledger, Echo())


SERVICE = Service(LoopConfig("echo", "calls"), 2, open_worker)


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    """Two partitions; only one has records, all of them worked off."""
    simulation = Simulation([SERVICE], 1)
    for number in (1, 2, 3):
        simulation.broker.append(Record("calls", 0, -1, b"k", b"v", {"seq": b"0:%d" % number}, 0))
    simulation.settle()
    simulation.pass_time(2)
    simulation.round(0)  # tells the group where it stands
    yield simulation
    simulation.close()


def lose_redis(simulation: Simulation) -> None:
    for held in (simulation.server.hashes, simulation.server.lists, simulation.server.zsets, simulation.server.strings):
        held.clear()


def work(simulation: Simulation) -> None:
    for _ in range(100):
        simulation.round(0)


@pytest.mark.parametrize("dies", [True, False], ids=["after a restart", "under a running process"])
def test_a_lost_redis_is_refused_and_nothing_is_written(simulation: Simulation, dies: bool) -> None:
    echoes = len(simulation.broker.logs["echoes", 0])
    lose_redis(simulation)
    if dies:
        simulation.replace(simulation.processes[0])
    with pytest.raises(Fatal, match=r"echo:0}:ledger:0 does not exist.*calls partition 0 up to offset 3.*rebuild"):
        work(simulation)
    assert not simulation.server.hashes.get("{echo:0}:ledger:0")
    assert len(simulation.broker.logs["echoes", 0]) == echoes == 3


def test_a_new_deployment_begins_at_the_first_record_though_the_topic_is_not_empty() -> None:
    simulation = Simulation([SERVICE], 1)
    simulation.broker.append(Record("calls", 1, -1, b"k", b"v", {"seq": b"0:1"}, 0))
    simulation.settle()
    assert len(simulation.broker.logs["echoes", 0]) == 1
    simulation.close()
