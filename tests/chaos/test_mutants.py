"""The checker is checked: with one thing taken out of the product, the oracle must say so. Each on a running rig.

What a schedule on real processes cannot show in seconds is shown by the suites that choose every step themselves; which
one catches what stands in README.md, "Proving the checker".
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from services.chassis.redis.client import sync_client
from tests.chaos.rig.deployment import Deployment
from tests.chaos.rig.power import Victim, lose_last_second
from tests.chaos.rig.processes import REDIS
from tests.chaos.rig.schedule import Fault, Shape
from tests.chaos.rig.station import Station

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
WORKLOAD_S = 4.0
# With less of the product there it need not come to rest, and is judged as it is after so long, or when nothing moves.
PATIENCE_S, STUCK_S = 60.0, 15.0
# Scripts that a power loss must have cost before anybody can be expected to notice, and seconds it may be tried in.
ENOUGH, TRIES = 20, 6
STRIKES_S = 30.0
# Two of profile, so that a giver can stand still while its taker goes on.
SHAPE = Shape(
    "mutants", 1, {"shopper": 6, "crossed": 4, "chain": 4, "unlinked": 10, "erased": 1}, replicas={"profile": 2}
)  # fmt: skip
FREEZE = (Fault("freeze", "profile-1", 0.8, 4.0, 1),)
# What the mutants get as well, or as it should be done.
ORDINARY = (*FREEZE, Fault("power-loss", "redis", 1.5, 0.5, 1), Fault("house", "break-answers", 1.0, 3.0, 1))
Inject = Callable[[Deployment], None]


@dataclass(frozen=True)
class Mutant:
    """What is wrong: by a module of tests/chaos/mutants in some services or by `inject`; and what the oracle says."""

    name: str
    says: str
    modules: dict[str, str] = field(default_factory=dict)
    inject: Inject | None = None
    faults: tuple[Fault, ...] = ()


def no_window(deployment: Deployment) -> None:
    """ClickHouse forgets every token at once; inserts that were applied are answered with an error."""
    ask_clickhouse(deployment, "ALTER TABLE events_raw MODIFY SETTING non_replicated_deduplication_window = 0")
    # Rows of one place collapse in time: the second net would hide what the first one let through.
    ask_clickhouse(deployment, "SYSTEM STOP MERGES touchstream.events_raw")
    before = deployment.house.counters.broken
    deployment.house.break_answers(4, "events_raw")
    deployment.wait_until(lambda: deployment.house.counters.broken > before, "an answer is broken", STRIKES_S)


def everysec_and_power_loss(deployment: Deployment) -> None:
    """Valkey answers before it has synced, then loses what it had not."""
    url, lost = deployment.settings.redis_url, 0
    victim = Victim(url, deployment.settings.state_dir / "valkey", lambda: deployment.kill(REDIS))
    for _ in range(TRIES):  # on a busy machine a second may see no work
        with sync_client(url) as client:
            client.config_set("appendfsync", "everysec")
        lost += lose_last_second(victim).transactions_lost
        deployment.start_again(REDIS)
        deployment.wait_ready(REDIS)
        if lost >= ENOUGH:
            return
    raise AssertionError(f"only {lost} scripts were lost in {TRIES} seconds: they were without traffic")


def ask_clickhouse(deployment: Deployment, statement: str) -> None:
    """Past all proxies."""
    answer = httpx.post(
        deployment.settings.clickhouse_url, params={"database": "touchstream"}, content=statement, timeout=20.0
    )
    answer.raise_for_status()


# The last two leave the tables and Redis as nobody wants them: nothing can be judged on that station afterwards.
MUTANTS = [
    Mutant("random trigger ids", "does not follow from", {"rules-1": "random_ids"}),
    Mutant("drop one event", "was acknowledged and is not there: lost", {"ingest-1": "lose_events"}),
    Mutant("double one", "is there [2-9] times: doubled", {"identity-1": "double_events"}),
    Mutant(
        "take without waiting for its give", r"^profiles: customer .*\(found, expected\): {'events'",
        {"profile-1": "take_nowait", "profile-2": "take_nowait"}, faults=FREEZE,
    ),
    Mutant(
        "customer id reused after a merge", r"^logs: customer .* (goes on after its end|has the numbers \[1, 1, )",
        {"identity-1": "reused_ids"},
    ),
    Mutant("dedup window 0", "is there [2-9] times: doubled", inject=no_window),
    Mutant("everysec plus power loss", "^rest: .*not ready|was another record before", inject=everysec_and_power_loss),
]  # fmt: skip


class Bench:
    """A running station, and which of its services are changed: they are restored when others are."""

    def __init__(self, station: Station) -> None:
        self.station, self._changed = station, dict[str, str]()

    def put(self, modules: dict[str, str]) -> None:
        """These services run as these modules of tests/chaos/mutants, all others as themselves."""
        wanted = dict.fromkeys(self._changed, "")
        wanted |= {name: f"tests.chaos.mutants.{module}" for name, module in modules.items()}
        deployment = self.station.deployment
        for name, module in wanted.items():
            deployment.term(name)
            deployment.start_again(name, module=module)
        for name in wanted:
            deployment.wait_ready(name)
        self._changed = modules


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Station(SHAPE, tmp_path_factory.mktemp("mutants")) as station:
        yield Bench(station)


def test_without_a_mutant_everything_is_found_right(bench: Bench) -> None:
    assert bench.station.run(1, ORDINARY, WORKLOAD_S).differences == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_oracle_finds_it(mutant: Mutant, bench: Bench) -> None:
    bench.put(mutant.modules)
    bench.station.patience_s, bench.station.stuck_s = PATIENCE_S, STUCK_S
    verdict = bench.station.run(1, mutant.faults, WORKLOAD_S, mutant.inject)
    # The product's own check speaks of the whole life of a station, not of this mutant.
    found = [line for line in verdict.differences if not line.startswith("duplicates_daily")]
    print(f"\n{mutant.name}: red after {verdict.took_s:.0f} s, {len(found)} differences, such as")
    print("\n".join(found[:10]))
    assert [line for line in found if re.search(mutant.says, line)], verdict
