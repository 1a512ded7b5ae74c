"""What is owed: outputs stored and not known to be sent, partitions lost and not yet working again. Two clocks.

Both run across claims: a partition that is claimed again and again owes since the first time.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from prometheus_client import Gauge, Histogram

from services.chassis import metrics

# From a killed process whose session times out (45 s) to a broker that was away; below: a claim in a running process.
RECOVERY_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 300.0, 600.0)

Place = tuple[str, int]


class Cause(Enum):
    """Why a partition was not worked for a while."""

    START = "start"
    REBALANCE = "rebalance"
    FENCED = "fenced"
    FAULT = "fault"


class Outboxes:
    """Entries of the outbox that are not known to be sent, and since when the oldest waits; per partition."""

    def __init__(self, service: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[Place, float] = {}
        self._age: Gauge = metrics.gauge(
            service,
            "outbox_age_seconds",
            "since when outputs wait that are not known to be sent",
            ["topic", "partition"],
        )
        self._depth: Gauge = metrics.gauge(
            service, "outbox_entries", "applied batches whose outputs are not known to be sent", ["topic", "partition"]
        )

    def owe(self, place: Place, entries: int) -> None:
        """So many entries are stored and not sent."""
        if place not in self._since:
            self._since[place] = self._clock()
            # Asked at the scrape: a relay that hangs for 30 s must show.
            self._age.labels(place[0], str(place[1])).set_function(lambda: self.age_s(place))
        self._depth.labels(place[0], str(place[1])).set(entries)

    def paid(self, place: Place) -> None:
        """The broker has all of them."""
        self._since.pop(place, None)
        self._depth.labels(place[0], str(place[1])).set(0)

    def age_s(self, place: Place) -> float:
        """How long the oldest has waited; 0 when nothing waits."""
        since = self._since.get(place)
        return 0.0 if since is None else self._clock() - since

    def forget(self, place: Place) -> None:
        """Another process speaks for that partition now."""
        self._since.pop(place, None)
        for gauge in (self._age, self._depth):
            with suppress(KeyError):  # nothing was ever owed there
                gauge.remove(place[0], str(place[1]))


class Recoveries:
    """How long partitions were not worked: from losing them (or the process's start) to the first batch, or no lag."""

    def __init__(self, seconds: Histogram, clock: Callable[[], float] = time.monotonic) -> None:
        """seconds: a histogram with the label `cause`."""
        self._seconds, self._clock = seconds, clock
        self._started_s = clock()
        self._lost: dict[Place, tuple[float, Cause]] = {}
        self._known: set[Place] = set()

    def assigned(self, place: Place) -> None:
        """The group has given a partition; the first time it counts from the process's start."""
        if place not in self._lost:
            is_first = place not in self._known
            self._lost[place] = (self._started_s, Cause.START) if is_first else (self._clock(), Cause.REBALANCE)
        self._known.add(place)

    def lost(self, place: Place, cause: Cause) -> None:
        """Its claim was dropped; what was lost before and never came back counts from then."""
        self._lost.setdefault(place, (self._clock(), cause))

    def given_away(self, place: Place) -> None:
        """The group has taken it away: whoever has it now measures."""
        self._lost.pop(place, None)

    def pending(self) -> list[Place]:
        """Partitions that have not come back yet."""
        return list(self._lost)

    def back(self, place: Place) -> None:
        """It is worked again."""
        since, cause = self._lost.pop(place, (0.0, None))
        if cause is not None:
            self._seconds.labels(cause.value).observe(self._clock() - since)
