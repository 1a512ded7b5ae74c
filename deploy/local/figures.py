"""What a service's /metrics say in four numbers: worked off, lag, errors, and how fast."""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.probe import get

# Per service the counter of its throughput; all but ingest count the records they take from topics.
WORKED = {"ingest": "events"}
# What is still on its way inside the service or before it.
LAG = ("lag_records", "unacknowledged_events")
# Counters an operator wants to hear of, besides ingest's refusals.
ERRORS = ("dead_letters", "retriable_failures", "insert_failures")


@dataclass(frozen=True, slots=True)
class Figures:
    """One reading; `at_s` is the reader's monotonic clock. `rate_per_s` needs a reading before it."""

    at_s: float
    worked: float
    lag: float
    errors: float
    rate_per_s: float = 0.0


def read(service: str, url: str, at_s: float, before: Figures | None) -> Figures | None:
    """Scrape one service; None when it does not answer. A counter that fell (a restart) counts from 0."""
    try:
        text = get(url)
    except OSError:
        return None
    return summarise(service, text_string_to_metric_families(text), at_s, before)


def summarise(service: str, families: Iterable[Metric], at_s: float, before: Figures | None) -> Figures:
    """Figures out of parsed metric families."""
    prefix = f"touchstream_{service}_"
    worked = lag = errors = 0.0
    for family in families:
        what = family.name.removeprefix(prefix)
        if not family.name.startswith(prefix):
            continue
        total = sum(sample.value for sample in family.samples if not sample.name.endswith("_created"))
        worked += total if what == WORKED.get(service, "records") else 0.0
        lag += total if what in LAG else 0.0
        errors += total if what in ERRORS else 0.0
        if what == "events":
            refused = (
                s for s in family.samples if s.labels.get("verdict", "accepted") not in ("accepted", "duplicate")
            )
            errors += sum(sample.value for sample in refused if not sample.name.endswith("_created"))
    since = worked - before.worked if before and worked >= before.worked else worked
    passed_s = at_s - before.at_s if before else 0.0
    return Figures(at_s, worked, lag, errors, since / passed_s if passed_s > 0 else 0.0)


def sums(text: str) -> dict[str, float]:
    """The sum of the samples of every metric in an exposition text, by sample name."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found
