"""What the bench prints: tables, and in words whether lag and memory stayed where they were."""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

from cli.bench.load import Sent
from cli.bench.watch import Sample, Usage

MIB = 1_048_576
LAGGING = ("identity", "profile", "rules", "archive")
ROWS = 12
# Flat: lag grew by less than a second of traffic in the second half of the sending; memory by less than a tenth.
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
    """Lag and memory at the end of the sending against its middle."""
    during = [sample for sample in samples if sent.started_s <= sample.at_s <= sent.ended_s]
    if len(during) < 2:
        return ["lag and memory: too short a run to say whether they were flat"]
    middle_s = (sent.started_s + sent.ended_s) / 2
    middle, last = min(during[:-1], key=lambda sample: abs(sample.at_s - middle_s)), during[-1]
    lags = [sum(sample.lag.values()) for sample in (middle, last)]
    memory = [_memory(sample) for sample in (middle, last)]
    return [
        f"lag at the middle of the sending {lags[0]:,} records, at its end {lags[1]:,}: "
        + ("flat" if lags[1] - lags[0] <= rate * FLAT_LAG_S else "it grew, this rate is not sustained"),
        f"memory at the middle of the sending {memory[0]:,} MiB, at its end {memory[1]:,} MiB: "
        + ("flat" if memory[1] <= memory[0] * FLAT_MEMORY else "it grew"),
    ]


def _memory(sample: Sample) -> int:
    return sum(sample.rss_bytes.values()) // MIB
