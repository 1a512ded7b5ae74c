"""What is said of failpoints can fail: a point that never comes, a process that dies without a word, a wrong end."""

import json
import signal
from pathlib import Path
from typing import cast

import pytest

from services.chassis.failpoints import catalogue
from tests.chaos.rig import lane as lane_module
from tests.chaos.rig.goals import KILL, NOT_LED, RANDOM, Goal, Kind, goals_of
from tests.chaos.rig.lane import MISSES, Lane
from tests.chaos.rig.provoke import Provoke


class Nothing:
    """Provokes nothing; `stuck` as told."""

    def __init__(self, log: Path) -> None:
        self._log, self.stuck = log, False

    def log(self, name: str) -> Path:
        return self._log

    def environ(self, service: str, kind: Kind | None) -> dict[str, str]:
        return {}

    def setup(self, kind: Kind, service: str) -> str:
        return ""

    def first(self, kind: Kind, service: str, setup: str) -> str:
        return ""

    def before(self, kind: Kind, service: str) -> None: ...

    def meanwhile(self, kind: Kind, service: str, left: set[str], is_ready: bool) -> None: ...

    def is_stuck(self, service: str) -> bool:
        return self.stuck


class Bench:
    """A lane of rules, its log, and what it has sent to its process."""

    def __init__(self, folder: Path, *steps: str, hit: int = 1) -> None:
        self.log = folder / "rules-1.log"
        self.provoke = Nothing(self.log)
        self.said: list[str] = []
        self.sent: list[signal.Signals] = []
        goals = [goal for goal in goals_of([hit], [KILL], 1, "rules.") if goal.step in steps]
        self.lane = Lane("rules-1", "rules", goals, cast(Provoke, self.provoke), self.said.append)
        self.lane.is_resting = False

    def says(self, step: str, event: str = "failpoint.hit") -> None:
        with self.log.open("a") as log:
            log.write(json.dumps({"event": event, "step": step}) + "\n")

    def look(self) -> None:
        self.lane.look(lambda: True, self.sent.append)


def test_every_point_of_the_catalogue_is_a_goal() -> None:
    goals = goals_of([1, 2, RANDOM], [KILL, "other"], 7)
    points = {(service, p.step) for p in catalogue() if p.step not in NOT_LED for service in p.services}
    assert {(goal.service, goal.step) for goal in goals} == points
    assert len(goals) == 6 * len(points)
    assert goals == goals_of([1, 2, RANDOM], [KILL, "other"], 7)


def test_a_kill_that_was_announced_reaches_its_goal(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "before_apply", "after_apply")
    armed = bench.lane.ask(0)["TOUCHSTREAM_FAILPOINTS"]
    assert sorted(armed.split(",")) == ["rules.after_apply=kill@1", "rules.before_apply=kill@1"]
    bench.says("before_apply")
    assert bench.lane.ask(-signal.SIGKILL)["TOUCHSTREAM_FAILPOINTS"] == "rules.after_apply=kill@1"
    assert [goal.step for goal in bench.lane.reached] == ["before_apply"]
    assert bench.lane.problems == []


def test_a_step_that_comes_once_a_life_ends_as_many_lives_as_the_hit_says(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "before_subscribe", hit=2)
    bench.lane.ask(0)
    for _ in range(2):
        assert not bench.lane.is_done
        bench.says("before_subscribe")
        bench.lane.ask(-signal.SIGKILL)
    assert bench.lane.is_done


@pytest.mark.parametrize(
    ("code", "hit", "problem"),
    [
        (-signal.SIGKILL, "", "was killed and has not said by which failpoint"),
        (-signal.SIGSEGV, "", "ended with -11"),
        (1, "", "ended with 1, and says neither why nor by which failpoint"),
        (0, "before_apply", "ended with 0 after ['before_apply'] should have killed it"),
    ],
)
def test_an_end_that_no_failpoint_explains_is_a_problem(tmp_path: Path, code: int, hit: str, problem: str) -> None:
    bench = Bench(tmp_path, "before_apply")
    bench.lane.ask(0)
    if hit:
        bench.says(hit)
    bench.lane.ask(code)
    assert any(problem in text for text in bench.lane.problems), bench.lane.problems


def test_a_step_that_nobody_has_listed_is_a_problem(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "before_apply")
    bench.lane.ask(0)
    bench.says("before_coffee", "failpoint.unlisted")
    bench.look()
    assert bench.lane.problems == ["rules.before_coffee is hit and not in the catalogue"]


def test_a_point_that_no_life_comes_by_is_given_up_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "LIFE_S", 0.0)
    bench = Bench(tmp_path, "before_apply")
    for _ in range(MISSES):
        bench.lane.ask(0)
        bench.look()
        assert bench.sent[-1] is signal.SIGTERM
    assert [goal.name for goal in bench.lane.given_up] == ["rules.before_apply=kill@1"]
    assert bench.said == ["rules.before_apply=kill@1 was never hit"]


def test_a_partition_that_does_not_get_on_is_given_an_ordinary_life(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "before_apply")
    bench.provoke.stuck = True
    assert bench.lane.ask(0)["TOUCHSTREAM_FAILPOINTS"] == ""
    assert bench.lane.is_clean


def test_at_rest_an_armed_life_is_ended(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "before_apply")
    bench.lane.ask(0)
    bench.lane.is_resting = True
    bench.look()
    assert bench.sent == [signal.SIGTERM]
    bench.lane.ask(0)
    assert bench.lane.is_clean
    assert isinstance(bench.lane.goals[0], Goal)
