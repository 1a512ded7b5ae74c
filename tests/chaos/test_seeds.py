"""Random seeds of the campaign, other ones in every run; the failure names them.

TOUCHSTREAM_TEST_CHAOS_SEEDS="17,20-22" runs these instead.
"""

import os
import secrets
from pathlib import Path

import pytest

from tests.chaos.rig.run import Runner, parse_seeds
from tests.chaos.rig.schedule import load_schedule

SEEDS = "TOUCHSTREAM_TEST_CHAOS_SEEDS"
# Shape → how many of a run's seeds it gets. Those that take long belong to the campaign.
SHAPES = {"single": 7, "pairs": 7, "three-brokers": 4, "burst": 1, "merge-storm": 1}
TIMEOUT_S = 900


@pytest.mark.kafka
@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_breaks_nothing_is_lost_and_nothing_is_counted_twice(shape: str, tmp_path: Path) -> None:
    given = os.environ.get(SEEDS)
    seeds = parse_seeds(given) if given else [secrets.randbelow(1_000_000) for _ in range(SHAPES[shape])]
    print(f"repeat with {SEEDS}={','.join(map(str, seeds))}")
    rows = Runner(load_schedule(), tmp_path, None, print).run(seeds, shape)
    failed = {row["seed"]: row["differences"] for row in rows if row["differences"]}
    assert not failed, f"{SEEDS}={','.join(map(str, failed))}; {tmp_path / 'failures'}"
