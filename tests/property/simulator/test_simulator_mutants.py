"""The simulator can fail: every safeguard taken out is found, and what it finds is told in few steps."""

import pytest

from tests.property.simulator.mutants import MUTANTS, seeds_until_found
from tests.property.simulator.pipeline import fast
from tests.property.simulator.run import run
from tests.property.simulator.shrink import shrink
from tests.property.simulator.workload import plan_of


@pytest.mark.parametrize("name", MUTANTS)
def test_a_pipeline_without_a_safeguard_is_found_out(name: str) -> None:
    assert seeds_until_found(MUTANTS[name]) is not None, f"{MUTANTS[name].seeds} seeds do not notice: {name}"


def test_a_failing_seed_is_told_as_a_short_story() -> None:
    mutant = MUTANTS["no message ids"]
    with fast(), mutant.mutation():
        seed = next(seed for seed in range(1, 50) if run(plan_of(mutant.config, seed)).wrong)
        plan = shrink(plan_of(mutant.config, seed))
        result = run(plan, tells=True)
    assert [draft.message for draft in plan.drafts] == [plan.drafts[0].message] * 2, "a request and its repetition"
    assert plan.faults == ()
    assert result.wrong
    assert any("the graph decides" in line for line in result.story)
    assert any("identity-1: identity" in line and "claimed, epoch 1" in line for line in result.story)
    assert len(result.story) < 60
