"""Processes of ledger services on fakes: the real loop, line, relay and ledger, which crash, freeze and lose messages.

Every effect of a process (a command to Redis, a produce, a delivery, a poll) is a point. A plan says what happens at
the process's n-th point: the process dies there, or it stands still there while others work (and wakes as a zombie),
or the request, its answer or the message is lost. Nothing else is simulated: between points the code is production's.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import redis

from services.chassis.health import Health
from services.chassis.kafka import line as line_module
from services.chassis.kafka import loop as loop_module
from services.chassis.kafka import owned as owned_module
from services.chassis.kafka import reader as reader_module
from services.chassis.kafka import relay as relay_module
from services.chassis.kafka.line import Worker
from services.chassis.kafka.loop import Loop, LoopConfig
from services.chassis.kafka.loop_metrics import LoopMetrics
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.slots import Slot
from services.chassis.settings import SharedSettings, load_settings
from services.chassis.testing.fake_kafka import FakeBroker, FakeClient
from services.chassis.testing.fake_ledger import Argument, FakeLedger, FakeServer

START_MS = 1_750_000_000_000
SETTINGS = load_settings(SharedSettings, {"TOUCHSTREAM_KAFKA_SESSION_TIMEOUT_MS": "1000"})


class Crash(BaseException):
    """The process is gone; nothing of it runs any more, not even its `except Exception`."""


@dataclass(frozen=True)
class Service:
    """What is simulated: a loop's configuration, its partitions, and how a worker is opened."""

    config: LoopConfig
    partitions: int
    open_worker: Callable[[Claim, Ledger], Worker]
    open_upkeep: Callable[[Ledger, FakeBroker], Callable[[list[Claim]], None]] | None = None


@dataclass
class Plan:
    """`act` is called at the n-th point of a kind ("" is any kind)."""

    kind: str
    countdown: int
    act: Callable[[], None]


@cache
def loop_metrics(service: str) -> LoopMetrics:
    """Prometheus knows a name once per process; and thousands of rounds should not write log lines."""
    metrics = LoopMetrics(service, Health())
    silent = SimpleNamespace(info=_say_nothing, warning=_say_nothing, error=_say_nothing)
    metrics.log = metrics.limited = cast(Any, silent)
    return metrics


def _say_nothing(event: str, **fields: object) -> None:
    error = fields.get("exc_info")
    if isinstance(error, BaseException):
        raise error  # the loop would try again for ever: in a simulation a bug must be seen


class Process:
    """One process of a service. Dead ones stay dead; Simulation starts another in their place."""

    def __init__(self, simulation: "Simulation", service: Service) -> None:
        self.simulation, self.service = simulation, service
        self.plans: list[Plan] = []
        self.is_frozen = False
        self.ledger = simulation.new_ledger(self._redis)
        fake = FakeClient(simulation.broker, self, self.point, self.pass_time, service.partitions)
        settings = simulation.settings.model_copy(update={"partitions": service.partitions})
        upkeep = service.open_upkeep and service.open_upkeep(self.ledger, simulation.broker)
        with patch.object(reader_module, "client", fake), patch.object(loop_module, "offsets", fake):
            self.loop = Loop(
                service.config, settings, self.ledger, lambda claim: service.open_worker(claim, self.ledger),
                simulation.metrics_of(service.config.service), self.now_ms, upkeep,
            )  # fmt: skip
        self.loop.relay = relay_module.Relay(lambda: cast(Any, fake.producer()))
        self.loop.join()

    def now_ms(self) -> int:
        """Its wall clock."""
        return self.simulation.now_ms()

    def pass_time(self, seconds: float) -> None:
        """It has nothing to do for a while."""
        self.simulation.pass_time(seconds)

    def point(self, kind: str) -> None:
        """Something is about to happen, or has just happened, that others can see."""
        for plan in [plan for plan in self.plans if kind.startswith(plan.kind)]:
            plan.countdown -= 1
            if plan.countdown == 0:
                self.plans.remove(plan)
                plan.act()

    def _redis(self, moment: str, command: tuple[Argument, ...]) -> None:
        self.simulation.asked = command
        self.point(f"{'script' if command[0] == 'EVALSHA' else 'redis'} {moment}")


@dataclass
class Simulation:
    """A deployment: one broker, one Redis, the processes of several services."""

    services: list[Service]
    processes_each: int = 2
    server: FakeServer = field(default_factory=FakeServer)
    ledger_class: type[FakeLedger] = FakeLedger
    settings: SharedSettings = SETTINGS
    metrics_of: Callable[[str], LoopMetrics] = loop_metrics
    timed: tuple[ModuleType, ...] = ()  # more modules whose `time` is the simulation's

    def __post_init__(self) -> None:
        self.passed_s = 0.0
        self.broker = FakeBroker(self.now_ms)
        self.asked: tuple[Argument, ...] = ()
        self.late_requests: list[tuple[Argument, ...]] = []
        self._patches = ExitStack()
        for module in (loop_module, owned_module, line_module, relay_module, *self.timed):
            self._patches.enter_context(patch.object(module, "time", SimpleNamespace(monotonic=lambda: self.passed_s)))
        self.processes = [self.new_process(service) for service in self.services for _ in range(self.processes_each)]
        for service in self.services:
            self.rebalance(service, {partition: partition for partition in range(service.partitions)})

    def close(self) -> None:
        """Give production its clock back."""
        self._patches.close()

    def new_process(self, service: Service) -> Process:
        """One that has just started; it learns at its first poll what it owns."""
        return Process(self, service)

    def new_ledger(self, hook: Callable[[str, tuple[Argument, ...]], None]) -> FakeLedger:
        """A ledger of a new process, on the common server."""
        return self.ledger_class(self.server, hook)

    def now_ms(self) -> int:
        """The wall clock."""
        return START_MS + int(self.passed_s * 1000)

    def pass_time(self, seconds: float) -> None:
        """Both clocks move."""
        self.passed_s += seconds

    def round(self, number: int) -> None:
        """One round of a process; nothing when it stands still. A dead one is replaced."""
        process = self.processes[number]
        if process.is_frozen:
            return
        try:
            process.loop.round()
        except Crash:
            self.replace(process)

    def replace(self, process: Process) -> None:
        """The process is dead, and an empty one has its place in the group."""
        number = self.processes.index(process)
        successor = self.processes[number] = self.new_process(process.service)
        self.broker.assign({place: successor for place, owner in self.broker.owners.items() if owner is process})

    def rebalance(self, service: Service, choice: Mapping[int, int]) -> None:
        """Partitions go to processes of the service: partition → number, counted among the service's own."""
        mine = [process for process in self.processes if process.service is service]
        topic = service.config.topic
        self.broker.assign({(topic, partition): mine[number % len(mine)] for partition, number in choice.items()})

    def owner(self, service: Service, partition: int) -> int:
        """The number of the process that the group has given a partition to."""
        owner = self.broker.owners[service.config.topic, partition]
        return next(number for number, process in enumerate(self.processes) if process is owner)

    def crash(self, number: int, kind: str, countdown: int) -> None:
        """The process dies at one of its next points."""

        def act() -> None:
            raise Crash

        self.plan(number, kind, countdown, act)

    def freeze(self, number: int, kind: str, countdown: int, meanwhile: Callable[[], None], dies: bool) -> None:
        """The process stands still at a point while `meanwhile` runs; then it goes on as if nothing had happened."""
        process = self.processes[number]

        def act() -> None:
            process.is_frozen = True
            meanwhile()
            process.is_frozen = False
            if dies:
                raise Crash

        self.plan(number, kind, countdown, act)

    def lose_request(self, number: int, countdown: int) -> None:
        """A script is given up by the client; the server may still read the request, whenever it likes."""

        def act() -> None:
            self.late_requests.append(self.asked)
            raise redis.TimeoutError("no answer")

        self.plan(number, "script before", countdown, act)

    def lose_answer(self, number: int, countdown: int) -> None:
        """A script has run and its answer is lost."""

        def act() -> None:
            raise redis.TimeoutError("no answer")

        self.plan(number, "script after", countdown, act)

    def lose_send(self, number: int, countdown: int, failure: Exception) -> None:
        """A message fails; see SendFailure."""

        def act() -> None:
            raise failure

        self.plan(number, "deliver", countdown, act)

    def plan(self, number: int, kind: str, countdown: int, act: Callable[[], None]) -> None:
        """Do something at the n-th point of a kind."""
        self.processes[number].plans.append(Plan(kind, countdown, act))

    def arrive(self) -> None:
        """Messages and requests that were given up arrive after all."""
        self.broker.arrive()
        requests, self.late_requests = self.late_requests, []
        for request in requests:
            self.server.execute(request)

    def settle(self, limit: int = 600) -> None:
        """Nothing goes wrong any more: work until everything is worked off. AssertionError when that never happens."""
        self.arrive()
        for process in self.processes:
            process.plans.clear()
        for _ in range(limit):
            for number in range(len(self.processes)):
                self.round(number)
            left = self.unfinished()
            if not left:
                return
        raise AssertionError(f"stuck: {left}")

    def unfinished(self) -> list[str]:
        """What is still to be done, in words."""
        left = []
        for service in self.services:
            for partition in range(service.partitions):
                left += self._unfinished(service, Slot(service.config.service, partition, service.config.shared_slot))
        return left

    def _unfinished(self, service: Service, slot: Slot) -> list[str]:
        left = []
        position = int(self.server.hashes.get(slot.ledger, {}).get("position", b"0"))
        if position != len(self.broker.logs[service.config.topic, slot.partition]):
            left.append(f"{slot.ledger} stands at {position}")
        if self.server.lists.get(slot.outbox):
            left.append(f"{slot.outbox} has unsent outputs")
        if self.server.hashes.get(slot.waits):
            left.append(f"{slot.waits}: {self.server.hashes[slot.waits]}")
        if any(score <= self.now_ms() for score in self.server.zsets.get(slot.due, {}).values()):
            left.append(f"{slot.due} has timers that are due")
        return left
