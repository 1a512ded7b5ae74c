"""python -m tests.property.simulator --seeds 1-5000 [--config NAME] [--jobs 2] [--seed N --config NAME]"""

import argparse
import sys

from tests.property.simulator.campaign import after_roll_backs, campaign, shown
from tests.property.simulator.configurations import CONFIGURATIONS
from tests.property.simulator.mutants import MUTANTS, seeds_until_found
from tests.property.simulator.pipeline import fast
from tests.property.simulator.run import run
from tests.property.simulator.shrink import shrink
from tests.property.simulator.workload import plan_of


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.property.simulator", description=__doc__)
    parser.add_argument("--seeds", default="1-1000", help="FIRST-LAST, or a number N for 1-N (default: %(default)s)")
    parser.add_argument("--config", default="", help="only configurations with this in their name")
    parser.add_argument("--mutants", action="store_true", help="take safeguards out instead: seeds until each is found")
    parser.add_argument(
        "--rolled-back", action="store_true", help="let Redis come back as it was earlier: what happens"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    return parser.parse_args()


def story_of(name: str, seed: int) -> str:
    """The smallest plan found that fails like this seed, told step by step."""
    with fast():
        plan = shrink(plan_of(CONFIGURATIONS[name], seed))
        result = run(plan, tells=True)
    head = f"--- {name}, seed {seed}, made smaller: {len(plan.drafts)} requests, {len(plan.faults)} faults"
    return "\n".join([head, *result.story, "--- what is wrong", *result.wrong, "---"])


def find_mutants(part: str) -> int:
    """Seeds until each mutant is found, five times over. 1 when one is not found."""
    missed = 0
    for name, mutant in MUTANTS.items():
        if part in name:
            found = [seeds_until_found(mutant, time * mutant.seeds) for time in range(5)]
            missed += None in found
            known = sorted(count for count in found if count is not None)
            median = known[len(known) // 2] if known else "-"
            print(f"{name:40} found {len(known)} of {len(found)} times, median {median} seeds", flush=True)
    return 1 if missed else 0


def main() -> int:
    """1 when a seed failed."""
    asked = arguments()
    if asked.mutants:
        return find_mutants(asked.config)
    first, _, last = asked.seeds.rpartition("-")
    names = [name for name in CONFIGURATIONS if asked.config in name]
    if not names:
        print(f"no configuration has {asked.config!r} in its name; there are: {', '.join(CONFIGURATIONS)}")
        return 2
    if asked.rolled_back:
        for late in (False, True):
            found = after_roll_backs(range(int(first or 1), int(last) + 1), late_commits=late)
            print("commits on their way for some steps, or lost:" if late else "commits at once:", dict(found))
        return 0
    failures = 0
    for name, figures in campaign(names, int(first or 1), int(last), asked.jobs):
        print(shown(name, figures), flush=True)
        failures += len(figures.failed)
        for seed, wrong in sorted(figures.failed.items())[:3]:
            print(f"  seed {seed}: {wrong[0]}", flush=True)
        if figures.failed:
            print(story_of(name, min(figures.failed)), flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
