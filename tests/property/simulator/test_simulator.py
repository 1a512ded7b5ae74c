"""The whole pipeline on fakes, whatever happens to it: the same as one machine that does one thing at a time."""

import pytest

from tests.property.simulator.campaign import run_seeds
from tests.property.simulator.configurations import CONFIGURATIONS
from tests.property.simulator.pipeline import fast
from tests.property.simulator.run import run
from tests.property.simulator.workload import plan_of

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
