"""Profiles with one safeguard missing. Each must be found out by the machine: a check that cannot fail is none."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from services.chassis.records import Decision, Record
from services.profile import handler
from services.profile.core import customer_log as log
from services.profile.core.customer_log import Context, CustomerState, Fact, Handover, Held, LogRecord
from services.profile.handler import ProfileHandler


@contextmanager
def holds_nothing_back() -> Iterator[None]:
    """A record that comes before its turn is worked off at once."""

    def accept(state: CustomerState, n: int, held: Held) -> bool:
        if n <= state.n:
            return False
        state.n = n - 1
        state.held[n] = held
        return True

    with patch.object(log, "accept", accept):
        yield


@contextmanager
def never_waits() -> Iterator[None]:
    """A take whose hand-over is not there yet adopts nothing."""
    right = log._take

    def take(state: CustomerState, record: LogRecord, context: Context, facts: list[Fact]) -> bool:
        key = context.give_key(record.from_id, record.handoff_id, record.customer_id)
        if not context.gives.get(key) and not context.handed_over.get(key):
            context.gives[key] = Handover({}, None)
        return right(state, record, context, facts)

    with patch.object(log, "_take", take):
        yield


@contextmanager
def forgets_what_the_other_side_held() -> Iterator[None]:
    """After a merge only the survivor's own tags count as held before."""
    right = log._take

    def take(state: CustomerState, record: LogRecord, context: Context, facts: list[Fact]) -> bool:
        key = context.give_key(record.from_id, record.handoff_id, record.customer_id)
        given = context.gives.get(key) or context.handed_over.get(key)
        if given is not None:
            context.gives[key] = Handover(given.parts, None)
        return right(state, record, context, facts)

    with patch.object(log, "_take", take):
        yield


@contextmanager
def finds_decoded_records_by_place() -> Iterator[None]:
    """A touchpoint's take and its event stand at the same place: the one is taken for the other."""

    class ByPlace(ProfileHandler):
        def _decode_held(self, customer_id: str, n: int, held: Held) -> LogRecord:
            same = [key for key, record in self._decoded.items() if record.place == held.place]
            return self._decoded.pop(same[0]) if same else self._reader.read(customer_id, n, held)

    with patch.object(handler, "ProfileHandler", ByPlace):
        yield


@contextmanager
def skips_poison() -> Iterator[None]:
    """A record that cannot be read leaves a hole in its customer's log."""

    class Skipping(ProfileHandler):
        def _hold(self, batch: handler.Batch, record: Record) -> Held:
            held = super()._hold(batch, record)
            return Held("give", "", "", b"") if held.kind == "poison" else held

        def decide(self, records: list[Record], ticks: list[str], now_ms: int) -> Decision | None:
            good = [record for record in records if record.value != b"\0garbage"]
            return super().decide(good, ticks, now_ms)

    with patch.object(handler, "ProfileHandler", Skipping):
        yield


@contextmanager
def leaves_timers() -> Iterator[None]:
    """The timer of a customer whose log ends stays."""

    class Leaving(ProfileHandler):
        def decide(self, records: list[Record], ticks: list[str], now_ms: int) -> Decision | None:
            decision = super().decide(records, ticks, now_ms)
            if decision is not None:
                decision.due = {name: at_ms for name, at_ms in decision.due.items() if at_ms is not None}
            return decision

    with patch.object(handler, "ProfileHandler", Leaving):
        yield


@contextmanager
def leaves_hand_overs() -> Iterator[None]:
    """What was adopted is not deleted."""

    class Leaving(ProfileHandler):
        def decide(self, records: list[Record], ticks: list[str], now_ms: int) -> Decision | None:
            decision = super().decide(records, ticks, now_ms)
            if decision is not None:
                decision.late_deletes = []
            return decision

    with patch.object(handler, "ProfileHandler", Leaving):
        yield


@contextmanager
def concludes_of_the_incomplete() -> Iterator[None]:
    """A customer that waits or holds something keeps its timer, and is judged."""
    with patch.object(CustomerState, "is_complete", lambda self: True):
        yield


@contextmanager
def looks_at_nobody_twice() -> Iterator[None]:
    """Every further event of a batch is taken for one that changes no tag, no stage and no score."""
    with patch.object(log, "go_on", lambda *args: True):
        yield


MUTANTS = [
    holds_nothing_back, never_waits, forgets_what_the_other_side_held, finds_decoded_records_by_place, skips_poison,
    leaves_timers, leaves_hand_overs, concludes_of_the_incomplete, looks_at_nobody_twice,
]  # fmt: skip
