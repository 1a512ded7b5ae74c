"""Prometheus metrics with our names: touchstream_<service>_<what>_<unit>[_total].

Labels come from closed lists, never from an id.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

# Seconds. Fine below one second, where the promise (a trigger within a second) is kept or broken.
LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0, 15.0, 60.0)


def counter(service: str, what: str, text: str, labels: Sequence[str] = ()) -> Counter:
    """A counter touchstream_<service>_<what>_total; give `what` without the suffix."""
    return Counter(f"touchstream_{service}_{what}", text, labels)


def gauge(service: str, what: str, text: str, labels: Sequence[str] = ()) -> Gauge:
    """A gauge touchstream_<service>_<what>."""
    return Gauge(f"touchstream_{service}_{what}", text, labels)


def show_size(gauge: Gauge, holder: Any, size_of: Callable[[Any], int]) -> None:
    """Have a gauge (with its labels) show what holds at the moment of the scrape: size_of(holder), 0 once it is gone.

    For what belongs to a claim: the next claim's holder replaces this one, a partition given away shows 0.
    """
    alive = weakref.ref(holder)

    def size() -> float:
        there = alive()
        return 0 if there is None else size_of(there)

    gauge.set_function(size)


def histogram(
    service: str, what: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = LATENCY_BUCKETS_S
) -> Histogram:
    """A histogram touchstream_<service>_<what>; `what` ends in its unit."""
    return Histogram(f"touchstream_{service}_{what}", text, labels, buckets=buckets)
