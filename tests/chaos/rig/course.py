"""A station whose processes are led through failpoints while a seed's messages are sent; judged as any other seed."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from tests.chaos.rig.armed import Armed
from tests.chaos.rig.deployment import Deployment
from tests.chaos.rig.goals import Goal, Kind
from tests.chaos.rig.lane import Lane, Say
from tests.chaos.rig.migrating import Migrating
from tests.chaos.rig.poison import WithoutPoison
from tests.chaos.rig.provoke import Provoke
from tests.chaos.rig.schedule import Fault, Shape
from tests.chaos.rig.station import Station, Struck, Verdict
from tests.chaos.rig.workload import Manners, Workload

POLL_S = 0.03
CALM_TIMEOUT_S = 90.0
SHAPE = Shape("course", 1, {"shopper": 40, "crossed": 12, "chain": 10, "fan_in": 2, "unlinked": 5, "erased": 3})


class Course(Station):
    """run() chapters until is_done; `lanes` know what was reached."""

    def __init__(self, folder: Path, goals: Sequence[Goal], say: Say) -> None:
        self._armed = Armed(folder)
        super().__init__(SHAPE, folder, self._armed)
        self._goals, self._say = goals, say
        self.manners = Manners(gives_up=0.02)  # ingest dies all the time: few should be left of whom nobody knows

    def __enter__(self) -> "Course":
        super().__enter__()
        self._provoke = Provoke(self.deployment, self._tail, self._redis)
        self._channels = WithoutPoison(self._provoke.poisoned)
        self.lanes = [
            Lane(name, place.service, self._of(place.service), self._provoke, self._say)
            for name, place in self.deployment.places.items()
        ]
        by_name = {lane.name: lane for lane in self.lanes}
        self._armed.ask = lambda name, code: by_name[name].ask(code)
        commands = [goal for goal in self._goals if goal.kind is Kind.COMMAND]
        archive = self._armed.environ("archive-1")
        self.migrating = Migrating(archive, self.deployment.settings.logs_dir, self._house.rows, commands, self._say)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._provoke.close()
        self.migrating.close()
        super().__exit__(kind, error, at)

    def _of(self, service: str) -> list[Goal]:
        return [goal for goal in self._goals if goal.service == service and goal.kind is not Kind.COMMAND]

    @property
    def is_done(self) -> bool:
        """Nothing is left to be reached."""
        return all(lane.is_done for lane in self.lanes) and self.migrating.is_done

    @property
    def reached(self) -> list[Goal]:
        """In no order."""
        return [goal for lane in self.lanes for goal in lane.reached] + self.migrating.reached

    @property
    def given_up(self) -> list[Goal]:
        """Points that no life came by."""
        return [goal for lane in self.lanes for goal in lane.given_up]

    @property
    def left(self) -> int:
        """How many points are still to be hit."""
        return sum(len(lane.goals) for lane in self.lanes) + len(self.migrating.goals)

    @property
    def problems(self) -> list[str]:
        """Processes that ended as they should not, and points that nobody has listed."""
        return [text for lane in self.lanes for text in lane.problems] + self.migrating.problems

    @property
    def lives(self) -> int:
        """Starts of services after the first."""
        return sum(lane.lives for lane in self.lanes)

    @property
    def deaths(self) -> int:
        """Lives that were killed."""
        return sum(lane.deaths for lane in self.lanes)

    def _send_and_break(
        self, workload: Workload, faults: Sequence[Fault], verdict: Verdict,
        inject: Callable[[Deployment], None] | None,
    ) -> None:  # fmt: skip
        """The lanes work while messages are sent; then everybody lives an ordinary life."""
        began_s = time.monotonic()
        workload.start()
        for lane in self.lanes:
            lane.is_resting = False
        while not workload.is_done and not self.is_done:
            self._look()
        workload.stop()
        for lane in self.lanes:
            lane.is_resting = True
        deadline = time.monotonic() + CALM_TIMEOUT_S
        while not all(lane.is_clean for lane in self.lanes) or self.migrating.is_busy:
            if time.monotonic() > deadline:
                raise TimeoutError(f"still armed: {[lane.name for lane in self.lanes if not lane.is_clean]}")
            self._look()
        verdict.struck.append(Struck(Fault("failpoints", "all", 0.0, 0.0, 0), "", 0.0, time.monotonic() - began_s))

    def _look(self) -> None:
        self.deployment.tick()
        for lane in self.lanes:
            name = lane.name
            lane.look(partial(self._armed.is_ready, name), partial(self._armed.send, name))
        self.migrating.look(is_resting=self.lanes[0].is_resting)
        time.sleep(POLL_S)
