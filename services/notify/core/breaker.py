"""A circuit breaker as a value: closed → open after failures in a row → half-open (one probe) → closed or open again.

Pure: time is an argument. One per destination and process, so that a dead destination costs no connections and slows
nobody; what waits for it stays in its own queue and uses up no attempts.
"""

from dataclasses import dataclass, replace
from enum import IntEnum


class State(IntEnum):
    """The numbers are what the gauge shows."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class Rules:
    """Fewer failures than `threshold` are noise; `first_ms` doubles with every failed probe up to `longest_ms`."""

    threshold: int = 5
    first_ms: int = 2_000
    longest_ms: int = 60_000


@dataclass(frozen=True, slots=True)
class Breaker:
    """`failures` in a row, `trips` in a row; `open_until_ms` 0 = closed; `is_probing` = the one probe is under way."""

    failures: int = 0
    trips: int = 0
    open_until_ms: int = 0
    is_probing: bool = False


def state_of(breaker: Breaker, now_ms: int) -> State:
    """The state at now_ms."""
    if breaker.open_until_ms == 0:
        return State.CLOSED
    return State.OPEN if now_ms < breaker.open_until_ms else State.HALF_OPEN


def permitted(breaker: Breaker, wanted: int, now_ms: int) -> int:
    """How many sends may begin now: all, one probe, or none."""
    state = state_of(breaker, now_ms)
    if state is State.CLOSED:
        return wanted
    return min(wanted, 1) if state is State.HALF_OPEN and not breaker.is_probing else 0


def begun(breaker: Breaker, now_ms: int) -> Breaker:
    """A send has begun: in the half-open state it is the probe."""
    return replace(breaker, is_probing=True) if state_of(breaker, now_ms) is State.HALF_OPEN else breaker


def succeeded(breaker: Breaker) -> Breaker:
    """The destination answered: closed, everything forgotten."""
    return Breaker()


def abandoned(breaker: Breaker) -> Breaker:
    """A send ended without telling anything about the destination: the next one may be the probe."""
    return replace(breaker, is_probing=False)


def failed(breaker: Breaker, rules: Rules, now_ms: int) -> Breaker:
    """The destination did not answer, or answered that it cannot. Late failures of an open breaker change nothing."""
    state = state_of(breaker, now_ms)
    if state is State.OPEN:
        return breaker
    failures = breaker.failures + 1
    if state is State.CLOSED and failures < rules.threshold:
        return replace(breaker, failures=failures)
    pause_ms = min(rules.longest_ms, rules.first_ms * 2 ** min(breaker.trips, 30))
    return Breaker(failures, breaker.trips + 1, now_ms + pause_ms)
