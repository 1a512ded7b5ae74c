"""`python -m tests.chaos --seeds 1-300 [--shape NAME] [--out FILE]`: the campaign. Exit code 1 when a seed failed."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.chaos.rig.results import load, summary
from tests.chaos.rig.run import Runner, parse_seeds
from tests.chaos.rig.schedule import FILE, load_schedule


def main() -> int:
    """Run it; prints a line a seed and a summary."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seeds", help="numbers and ranges, e.g. 1-300,405")
    parser.add_argument("--shape", default="", help="run all of them on this shape instead of the one each chooses")
    parser.add_argument("--schedule", type=Path, default=FILE, help="another schedule.toml")
    parser.add_argument("--out", type=Path, help="file of results, appended to, one JSON line a seed")
    parser.add_argument("--state", type=Path, help="folder for the stacks' data and what is kept of failures")
    parser.add_argument("--summarise", type=Path, nargs="+", help="only print what results come to, as Markdown")
    given = parser.parse_args()
    if given.summarise:
        print(summary([row for path in given.summarise for row in load(path)]))
        return 0
    if not given.seeds:
        parser.error("--seeds is missing")
    folder = given.state or Path(tempfile.mkdtemp(prefix="touchstream-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    runner = Runner(load_schedule(given.schedule), folder.resolve(), given.out, lambda text: print(text, flush=True))
    rows = runner.run(parse_seeds(given.seeds), given.shape)
    print(summary(rows))
    return 1 if any(row["differences"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
