"""Many seeds of many configurations, on several processes: figures for each, and the seeds that failed."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

from tests.property.simulator.configurations import CONFIGURATIONS
from tests.property.simulator.pipeline import fast
from tests.property.simulator.run import run
from tests.property.simulator.workload import Config, plan_of

CHUNK = 50
# Redis comes back older: while all is well otherwise, and among other faults.
ROLLED_BACK = (
    Config(rolls_back=True, faults=(0, 0), lost_sends=(0, 0), points=500),
    Config(rolls_back=True, faults=(1, 4), lost_sends=(0, 2), points=500),
)


@dataclass
class Figures:
    """What came out of some seeds of one configuration."""

    seeds: int = 0
    failed: dict[int, list[str]] = field(default_factory=dict)
    struck: Counter[str] = field(default_factory=Counter)
    decided: Counter[str] = field(default_factory=Counter)
    points: int = 0
    seconds: float = 0.0

    def add(self, other: "Figures") -> None:
        """Together."""
        self.seeds += other.seeds
        self.failed |= other.failed
        self.struck += other.struck
        self.decided += other.decided
        self.points += other.points


def run_seeds(name: str, seeds: Iterable[int]) -> Figures:
    """These seeds, one after the other."""
    figures = Figures()
    with fast():
        for seed in seeds:
            result = run(plan_of(CONFIGURATIONS[name], seed))
            figures.seeds += 1
            figures.struck += result.struck
            figures.decided += result.decided
            figures.points += result.points
            if result.wrong:
                figures.failed[seed] = result.wrong
    return figures


def campaign(names: Iterable[str], first: int, last: int, jobs: int) -> Iterator[tuple[str, Figures]]:
    """Every configuration with the seeds from first to last."""
    with ProcessPoolExecutor(jobs) as pool:
        for name in names:
            started = time.monotonic()
            chunks = [range(at, min(at + CHUNK, last + 1)) for at in range(first, last + 1, CHUNK)]
            figures = Figures()
            for part in pool.map(run_seeds, [name] * len(chunks), chunks):
                figures.add(part)
            figures.seconds = time.monotonic() - started
            yield name, figures


def after_roll_backs(
    seeds: Iterable[int], configs: tuple[Config, ...] = ROLLED_BACK, late_commits: bool = False
) -> Counter[str]:
    """How runs end in which Redis, once, comes back as it was some steps earlier, against its contract.

    right: nothing that mattered was lost. stopped: a service refuses to go on, and the topics contradict themselves
    nowhere. Anything else ("stuck", "contradiction", "unequal") would be a loss that nobody is told of. late_commits:
    what a process tells its group is some steps on its way, or lost with the process.
    """
    found: Counter[str] = Counter()
    with fast():
        for seed in seeds:
            result = run(plan_of(replace(configs[seed % len(configs)], late_commits=late_commits), seed))
            kind = result.wrong[0].partition(":")[0] if result.wrong else "right"
            if result.struck["roll_back"]:
                found[kind if kind in ("right", "stopped", "stuck", "contradiction") else "unequal"] += 1
    return found


def shown(name: str, figures: Figures) -> str:
    """One line for people."""
    rate = figures.seeds / figures.seconds * 60 if figures.seconds else 0.0
    faults = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(figures.struck.items()))
    graph = ", ".join(f"{count} {kind}" for kind, count in sorted(figures.decided.items()))
    return (
        f"{name:18} {figures.seeds:7} seeds  {len(figures.failed):3} failed  {rate:6.0f} seeds/min"
        f"  {figures.points / max(1, figures.seeds):5.0f} points | {faults or 'no faults'} | {graph}"
    )
