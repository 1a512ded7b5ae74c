"""A Simulation in which between any two outside steps of a process any other may go on: a seeded scheduler.

Every process runs in a coroutine of its own and hands back control after some of its points (a poll, a request to
Redis, a delivery). Points are counted over all processes, faults are planned by that count: the process that is there
when its number comes dies, stands still, loses its partitions or a message. The same seed and plan give the same run.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random
from typing import Any, cast

from greenlet import getcurrent, greenlet

from services.chassis.errors import Fatal
from services.chassis.kafka.loop_metrics import LoopMetrics
from services.chassis.records import Record
from services.chassis.testing import faults
from services.chassis.testing.fake_kafka import Place
from services.chassis.testing.faults import Fault
from services.chassis.testing.quiet_metrics import QuietMetrics
from services.chassis.testing.simulation import SETTINGS, START_MS, Crash, Process, Service, Simulation

# How many points a process goes on before another one is asked: mostly few, sometimes a whole round.
TURNS = (1, 1, 1, 2, 2, 3, 5, 8, 13, 40)
TURN_S, PAUSE_S = 0.004, 0.6  # a turn; the time after which owners check their epoch and trim
MOST_POINTS, MOST_PAUSES = 15_000, 60


class Stuck(Exception):  # noqa: N818
    """Something is left that nobody works off."""


class Stopped(Exception):  # noqa: N818
    """A service has refused to go on and says why."""


class Runner(Process):
    """A process in a coroutine. `left`: points until it hands back control; `wake_s`: nothing to do until then."""

    simulation: "Interleaving"

    def __init__(self, simulation: "Interleaving", service: Service) -> None:
        simulation.started[service.config.service] += 1
        self.name = f"{service.config.service}-{simulation.started[service.config.service]}"
        self.left, self.wake_s, self.skew_ms = 0, 0.0, simulation.skew_ms()
        self.has_died = False
        super().__init__(simulation, service)
        self.thread = greenlet(self._live, simulation.scheduler)

    def now_ms(self) -> int:
        """Its wall clock may be wrong."""
        return self.simulation.now_ms() + self.skew_ms

    def _live(self) -> None:
        try:
            while True:
                self.loop.round()
        except Crash:
            pass
        except Fatal as error:
            self.simulation.stops.append(f"{self.name}: {error}")
        self.has_died = True

    def pass_time(self, seconds: float) -> None:
        """Sleep, unless a record comes."""
        world = self.simulation
        # Many that have nothing to do must not keep each other awake.
        self.wake_s = world.passed_s + max(seconds, 2 * TURN_S * len(world.processes))
        world.scheduler.switch()

    def point(self, kind: str) -> None:
        """What others can see happens between two of these; "after" is the same place as the next one's "before"."""
        if self.plans:
            super().point(kind)
        if kind.endswith("after") or kind == "produce":
            return
        world = self.simulation
        world.points += 1
        if world.points >= world.next_at:
            world.strike(self, kind)
        self.left -= 1
        if self.left <= 0:
            world.scheduler.switch()

    def stand_still(self, delay: int) -> None:
        """Nothing of it happens for a number of points."""
        self.is_frozen = True
        self.simulation.later(delay, self.wake)
        self.simulation.scheduler.switch()

    def wake(self) -> None:
        """Go on."""
        self.is_frozen = False
        self.simulation.say(f"{self.name} wakes")


@dataclass
class Interleaving(Simulation):
    """`faults`: in the order of their points. `skews`: how wrong wall clocks may be, ms. `story`: what happened."""

    seed: int = 0
    faults: list[Fault] = field(default_factory=list)
    batch_most: int = 4
    skew_most_ms: int = 0
    story: list[str] | None = None
    late_commits: bool = False  # what a process tells its group takes its time
    calm: bool = False  # whole rounds in turn: how a story is told when the order of small steps does not matter

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.scheduler = getcurrent()
        self.points, self.entries, self.wall_ms = 0, 0, START_MS
        self.current = "the group"
        self.saved: list[dict[str, Any]] = []
        self.everybody: list[Runner] = []
        self.started: Counter[str] = Counter()
        self.stops: list[str] = []
        self.struck: Counter[str] = Counter()
        self.calendar: list[tuple[int, int, Callable[[], None]]] = []
        self.pending = list(reversed(self.faults))
        self.next_at = self.pending[-1].at if self.pending else 1 << 60
        self.settings = SETTINGS.model_copy(update={"kafka_gather_ms": 0})
        quiet = cast(LoopMetrics, QuietMetrics(self.stops))
        self.metrics_of = lambda service: quiet
        super().__post_init__()
        self.broker.on_append = self._arrived
        self.broker.poll = self._poll
        self.broker.commits = self._commit
        self.broker.tells = lambda: self.calm or self.random.random() < 0.7

    def now_ms(self) -> int:
        """The wall clock; it stands still until somebody moves it."""
        return self.wall_ms

    def skew_ms(self) -> int:
        """How wrong one process's clock is."""
        return self.random.randint(-self.skew_most_ms, self.skew_most_ms) if self.skew_most_ms else 0

    def new_process(self, service: Service) -> Runner:
        """See Simulation."""
        runner = Runner(self, service)
        self.everybody.append(runner)
        return runner

    def close(self) -> None:
        """See Simulation. A coroutine that stands still would keep everything it refers to for ever."""
        for one in self.everybody:
            one.thread.throw()
        super().close()

    def say(self, text: str) -> None:
        """One line of the story."""
        if self.story is not None:
            self.story.append(f"{self.points:5}  {text}")

    def later(self, delay: int, act: Callable[[], None]) -> None:
        """Do something some points from now; at once when nothing else is left to do."""
        self.entries += 1
        heappush(self.calendar, (self.points + delay, self.entries, act))

    def run(self) -> None:
        """Until everything is worked off. Raises Stuck, Stopped, and whatever a bug raises."""
        pauses = 0
        while True:
            while self.calendar and self.calendar[0][0] <= self.points:
                heappop(self.calendar)[2]()
            now = self.passed_s
            ready = [one for one in cast(list[Runner], self.processes) if one.wake_s <= now and not one.is_frozen]
            if ready:
                self._resume(ready[int(self.random.random() * len(ready))])
            elif self.calendar:
                heappop(self.calendar)[2]()
            else:
                left = self.unfinished()
                if not left:
                    return
                pauses += 1
                self.passed_s += PAUSE_S
                if pauses > MOST_PAUSES:
                    raise Stuck("; ".join(left))
            if self.points > MOST_POINTS:
                raise Stuck(f"no end after {self.points} points: {'; '.join(self.unfinished())}")

    def _resume(self, one: Runner) -> None:
        one.left = 1_000 if self.calm else TURNS[int(self.random.random() * len(TURNS))]
        self.passed_s += TURN_S
        if self.random.random() < 0.01:
            self.passed_s += PAUSE_S
        self.current = one.name
        one.thread.switch()
        self.current = "time"
        if self.stops:
            raise Stopped(self.stops[0])
        if one.has_died:
            self._bury(one)

    def _bury(self, one: Runner) -> None:
        self.processes.remove(one)
        successor = self.new_process(one.service)
        self.processes.append(successor)
        places = [place for place, owner in self.broker.owners.items() if owner is one]
        delay = self.random.choice((0, 0, self.random.randint(1, 150)))
        if places:
            self.later(delay, lambda: self.give_away(one.service, places))

    def give_away(self, service: Service, places: list[Place], random: Random | None = None) -> None:
        """A rebalance: these partitions go to processes that seem alive."""
        alive = [one for one in self.processes if one.service is service and not one.is_frozen]
        if not alive:
            alive = [self.new_process(service)]
            self.processes += alive
        owners = {place: (random or self.random).choice(alive) for place in places}
        self.broker.assign(cast(dict[Place, object], owners))
        for one in cast(list[Runner], self.processes):
            one.wake_s = 0.0
        for (topic, partition), owner in owners.items():
            self.say(f"the group gives {topic}/{partition} to {cast(Runner, owner).name}")

    def _arrived(self, record: Record) -> None:
        owner = self.broker.owners.get((record.topic, record.partition))
        if owner is not None:
            cast(Runner, owner).wake_s = 0.0

    def _commit(self, member: object, arrive: Callable[[], None]) -> None:
        """At once; or on its way for some points, and lost where its process dies before it has left."""
        if not self.late_commits:
            arrive()
            return
        one = cast(Runner, member)
        leaves, takes = self.random.choice((0, 0, 1, 3)), self.random.choice((0, 1, 2, 5, 20))

        def leave() -> None:
            if not one.has_died:
                self.later(takes, arrive)

        self.later(leaves, leave)

    def _poll(self, places: list[Place], most: int) -> tuple[list[Place], int]:
        if len(places) > 1 and not self.calm:
            self.random.shuffle(places)
        return places, min(most, int(self.random.random() * self.batch_most) + (most == 1))

    def strike(self, one: Runner, kind: str) -> None:
        """The next fault happens, to the process that is at a point."""
        fault = self.pending.pop()
        self.next_at = self.pending[-1].at if self.pending else 1 << 60
        self.struck[fault.kind] += 1
        self.say(f"FAULT {fault.kind} of {one.name} at {kind}")
        faults.KINDS[fault.kind](self, one, fault, Random(fault.dice))

    def arrive(self) -> None:
        """See Simulation."""
        if self.broker.late or self.late_requests:
            self.say("what was given up arrives after all")
        super().arrive()

    def finish(self) -> None:
        """No more faults."""
        self.pending.clear()
        self.next_at = 1 << 60
        for one in cast(list[Any], self.processes):
            one.plans.clear()
        self.later_requests_arrive()

    def later_requests_arrive(self) -> None:
        """What was lost on the way and not yet read by the server."""
        self.later(0, self.arrive)
