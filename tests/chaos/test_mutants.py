"""The checker is checked: with one thing taken out of the product, the oracle must say so. Each on a running rig.

What a schedule on real processes cannot show in seconds is shown by the suites that choose every step themselves; which
one catches what stands in README.md, "Proving the checker".
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.chaos.rig.deployment import Deployment
from tests.chaos.rig.schedule import Fault, Shape
from tests.chaos.rig.station import Station

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
WORKLOAD_S = 4.0
# Two of profile, so that a giver can stand still while its taker goes on.
SHAPE = Shape(
    "mutants", 1, {"shopper": 10, "crossed": 6, "chain": 6, "fan_in": 1, "unlinked": 6, "erased": 2},
    replicas={"profile": 2},
)  # fmt: skip
FREEZE = (Fault("freeze", "profile-1", 0.8, 4.0, 1),)


@dataclass(frozen=True)
class Mutant:
    """What is wrong, in which services (by a module of tests/chaos/mutants), and what the oracle then says."""

    name: str
    says: str
    modules: dict[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()


MUTANTS = [
    Mutant("random trigger ids", "does not follow from", {"rules-1": "random_ids"}),
    Mutant("drop one event", "was acknowledged and is not there: lost", {"ingest-1": "lose_events"}),
    Mutant("double one", "is there 2 times: doubled", {"identity-1": "double_events"}),
    Mutant(
        "take without waiting for its give", r"^profiles: customer .*\(found, expected\): {'events'",
        {"profile-1": "take_nowait", "profile-2": "take_nowait"}, faults=FREEZE,
    ),
]  # fmt: skip


class Stations:
    """One running station for as many tests as leave it whole."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count, self._open = folder, 0, ExitStack()
        self._station: Station | None = None

    def get(self) -> Station:
        """A station that works."""
        if self._station is None:
            self._count += 1
            self._station = self._open.enter_context(Station(SHAPE, self._folder / str(self._count)))
        return self._station

    def close(self) -> None:
        """Stop it; the next get() starts another one."""
        self._station = None
        self._open.close()


@pytest.fixture(scope="module")
def stations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stations]:
    stations = Stations(tmp_path_factory.mktemp("mutants"))
    yield stations
    stations.close()


def restart(deployment: Deployment, modules: Mapping[str, str]) -> None:
    """Services as other modules (empty: as themselves)."""
    for name, module in modules.items():
        deployment.term(name)
        deployment.start_again(name, module=module)
    for name in modules:
        deployment.wait_ready(name)


def test_without_a_mutant_everything_is_found_right(stations: Stations) -> None:
    assert stations.get().run(1, FREEZE, WORKLOAD_S).differences == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_oracle_finds_it(mutant: Mutant, stations: Stations) -> None:
    station = stations.get()
    restart(station.deployment, {name: f"tests.chaos.mutants.{module}" for name, module in mutant.modules.items()})
    began_s = time.monotonic()
    verdict = station.run(1, mutant.faults, WORKLOAD_S)
    # The product's own check speaks of the whole life of a station, not of this mutant.
    found = [line for line in verdict.differences if not line.startswith("duplicates_daily")]
    print(f"\n{mutant.name}: red after {time.monotonic() - began_s:.0f} s, {len(found)} differences, such as")
    print("\n".join(found[:10]))
    restart(station.deployment, dict.fromkeys(mutant.modules, ""))
    assert [line for line in found if re.search(mutant.says, line)], verdict
