"""What the bench prints: tables, and in words whether lag and memory stayed where they were."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from rich.table import Table

from cli.bench.load import Sent
from cli.bench.watch import Sample, Usage

MIB = 1_048_576
LAGGING = ("identity", "profile", "rules", "archive")
ROWS = 12
# Flat: from one third of the sending to the next, lag grew by less than a second of traffic, memory by less than 10 %.
FLAT_LAG_S = 1.0
FLAT_MEMORY = 1.1


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU of one process for one event sent; resident bytes at the end."""

    name: str
    cpu_us: float
    rss_bytes: int


def costs(before: Mapping[str, Usage], after: Mapping[str, Usage], events: int) -> list[Cost]:
    """Of every process that ran all the time."""
    return [
        Cost(name, (used.cpu_s - before[name].cpu_s) / events * 1e6, used.rss_bytes)
        for name, used in after.items()
        if name in before
    ]


def cost_table(found: list[Cost], floors: Mapping[str, str]) -> Table:
    """Each stage's CPU beside the bare floor of the same hops without logic."""
    table = Table("process", "CPU µs per event sent", "bare floor", "memory MiB")
    for cost in found:
        table.add_row(cost.name, f"{cost.cpu_us:.1f}", floors.get(cost.name, ""), f"{cost.rss_bytes / MIB:.0f}")
    memory = sum(cost.rss_bytes for cost in found) / MIB
    table.add_row("all", f"{sum(cost.cpu_us for cost in found):.1f}", "", f"{memory:.0f}")
    return table


def lag_table(samples: list[Sample], started_s: float) -> Table:
    """About ROWS moments of the run."""
    table = Table("second", *(f"lag {name}" for name in LAGGING), "memory MiB")
    for sample in samples[:: max(1, len(samples) // ROWS)]:
        lags = [f"{sample.lag.get(name, 0):,}" for name in LAGGING]
        table.add_row(f"{sample.at_s - started_s:.0f}", *lags, f"{_memory(sample):,}")
    return table


def steadiness(samples: list[Sample], sent: Sent, rate: int) -> list[str]:
    """Lag and memory in the last third of the sending against the third before: medians, a batch comes and goes."""
    third_s = (sent.ended_s - sent.started_s) / 3
    thirds = [
        [s for s in samples if sent.started_s + n * third_s < s.at_s <= sent.started_s + (n + 1) * third_s]
        for n in (1, 2)
    ]
    if not all(thirds):
        return ["lag and memory: too short a run to say whether they were flat"]
    lags = [median(sum(sample.lag.values()) for sample in third) for third in thirds]
    memory = [median(_memory(sample) for sample in third) for third in thirds]
    return [
        f"lag in the second third of the sending {lags[0]:,.0f} records, in the last {lags[1]:,.0f}: "
        + ("flat" if lags[1] - lags[0] <= rate * FLAT_LAG_S else "it grew, this rate is not sustained"),
        f"memory in the second third of the sending {memory[0]:,.0f} MiB, in the last {memory[1]:,.0f} MiB: "
        + ("flat" if memory[1] <= memory[0] * FLAT_MEMORY else "it grew"),
    ]


def _memory(sample: Sample) -> int:
    return sum(sample.rss_bytes.values()) // MIB
