"""Every failpoint of the catalogue is hit on the running stack, and nothing is lost or doubled by it.

First or second hit: the seed chooses (TOUCHSTREAM_TEST_FAILPOINT_SEED, printed; without it the day).
`python -m tests.chaos.failpoints` does all, and random ones, which take three times as long.
"""

import os
import time
from pathlib import Path

import pytest

from services.chassis.failpoints import catalogue
from tests.chaos.failpoints import run
from tests.chaos.rig.goals import KILL, NOT_LED, goals_of

HITS = (1, 2)
SEED = "TOUCHSTREAM_TEST_FAILPOINT_SEED"


@pytest.mark.kafka
@pytest.mark.timeout(1_500)
def test_a_kill_at_every_failpoint_loses_and_doubles_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get(SEED, "") or time.time() // 86_400)
    goals = goals_of([HITS[seed % len(HITS)]], [KILL], seed)
    print(f"{SEED}={seed}: {goals[0].name} and {len(goals) - 1} others")
    report = run(goals, tmp_path / "stack", seed, print)
    print(report.text())
    assert report.problems == []
    wanted = {(service, point.step) for point in catalogue() if point.step not in NOT_LED for service in point.services}
    assert {(goal.service, goal.step) for goal in report.reached} == wanted
