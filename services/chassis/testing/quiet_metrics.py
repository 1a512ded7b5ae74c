"""In place of Prometheus and logs, where thousands of runs should neither count nor write."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from services.chassis.records import Record


class QuietMetrics:
    """In place of LoopMetrics, whose counting would take longer than the work. Bugs are raised, stops remembered."""

    def __init__(self, stops: list[str]) -> None:
        self._stops = stops
        self.log = self.limited = SimpleNamespace(info=_nothing, warning=_nothing, error=_raise)
        self.taken = self.dead = self.forget = _nothing

    def __getattr__(self, name: str) -> "SilentMetric":
        return SilentMetric()

    def gap(self, topic: str, partition: int, record: Record, seen: dict[str, int]) -> None:
        """A partition has stopped at a missing number."""
        self._stops.append(f"gap in {topic}/{partition} before {record.headers['seq']!r}, taken {seen}")


class SilentMetric:
    """In place of a counter, gauge or histogram, and of what keeps some: it holds nothing."""

    def __getattr__(self, name: str) -> Callable[..., "SilentMetric"]:
        return self._same

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def _same(self, *values: object, **fields: object) -> "SilentMetric":
        return self


def _nothing(*values: object, **fields: object) -> None:
    return None


def _raise(event: str, **fields: object) -> None:
    error = fields.get("exc_info")
    if isinstance(error, BaseException):
        raise error  # the loop would try again for ever: in a simulation a bug must be seen
