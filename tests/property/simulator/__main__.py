"""python -m tests.property.simulator --seeds 1-5000 [--config NAME] [--jobs 2] [--seed N --config NAME]"""

import argparse
import sys

from tests.property.simulator.campaign import campaign, shown
from tests.property.simulator.configurations import CONFIGURATIONS


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.property.simulator", description=__doc__)
    parser.add_argument("--seeds", default="1-1000", help="FIRST-LAST, or a number N for 1-N (default: %(default)s)")
    parser.add_argument("--config", default="", help="only configurations with this in their name")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    return parser.parse_args()


def main() -> int:
    """1 when a seed failed."""
    asked = arguments()
    first, _, last = asked.seeds.rpartition("-")
    names = [name for name in CONFIGURATIONS if asked.config in name]
    if not names:
        print(f"no configuration has {asked.config!r} in its name; there are: {', '.join(CONFIGURATIONS)}")
        return 2
    failures = 0
    for name, figures in campaign(names, int(first or 1), int(last), asked.jobs):
        print(shown(name, figures), flush=True)
        for seed, wrong in sorted(figures.failed.items())[:3]:
            failures += 1
            print(f"  seed {seed}: {wrong[0]}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
