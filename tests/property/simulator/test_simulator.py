"""The whole pipeline on fakes, whatever happens to it: the same as one machine that does one thing at a time."""

from unittest.mock import patch

import pytest

from services.chassis.marks import Mark
from tests.property.simulator.campaign import ROLLED_BACK, after_roll_backs, run_seeds
from tests.property.simulator.configurations import CONFIGURATIONS
from tests.property.simulator.pipeline import fast
from tests.property.simulator.run import run
from tests.property.simulator.workload import plan_of

ROLL_BACKS = 60
SEEDS = 15  # of each configuration; many more with `make simulate`


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_whatever_happens_the_outcome_is_that_of_one_machine(name: str) -> None:
    figures = run_seeds(name, range(1, SEEDS + 1))
    assert figures.failed == {}
    config = CONFIGURATIONS[name]
    assert bool(figures.struck) == bool(config.faults[1] or config.lost_sends[1]), "planned faults have happened"


def test_the_same_seed_gives_the_same_run() -> None:
    plan = plan_of(CONFIGURATIONS["everything"], 3)
    with fast():
        assert run(plan, tells=True) == run(plan, tells=True)


def test_a_redis_that_comes_back_older_does_no_harm_or_is_refused() -> None:
    found = after_roll_backs(range(1, ROLL_BACKS + 1), ROLLED_BACK[:1], late_commits=True)
    assert found.keys() <= {"right", "stopped"}
    assert found["stopped"] > ROLL_BACKS / 2


def test_among_other_faults_an_older_redis_is_hardly_ever_overlooked() -> None:
    found = after_roll_backs(range(1, ROLL_BACKS + 1), ROLLED_BACK[1:])
    assert found["right"] + found["stopped"] >= 0.95 * found.total()


def test_without_the_look_at_what_was_published_it_would_go_on_and_be_wrong() -> None:
    with patch.object(Mark, "is_behind", lambda self, other: False):
        found = after_roll_backs(range(1, ROLL_BACKS + 1))
    assert found.keys() - {"right", "stopped"}
