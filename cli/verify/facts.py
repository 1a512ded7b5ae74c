"""Hop 3: what profile made of every record of the customers' logs: one change in profile.changes each.

Not expected for an event that became a dead letter of profile, nor for what waits in its customer's state for its turn.
Both topics have the same key, so a partition of one answers for the same partition of the other.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.verify.bits import Bits
from cli.verify.cut import FACTS, RESOLVED, TOUCHPOINTS, Cut
from cli.verify.model import Check, Names, differences
from cli.verify.touchpoints import Outcomes
from services.chassis.records import Record

SKIPPED = (
    "profile has passed it and nothing came of it: was its position moved (`touchstream rebase --to`) or Redis restored"
    " from an older copy? `touchstream rebuild` makes the state anew from the topics and ClickHouse"
)
DOUBLED = "profile wrote two changes for one record: rules may have fired twice; keep the topic as it is and report it"
STRANGE = "no such record is in touchpoints.resolved: who else writes to profile.changes?"
# Kinds of hand-overs in touchpoints.resolved → of their changes.
OPERATIONS = {b"give": "gave", b"take": "took", b"erase": "erased"}
# What a customer's state says of records that have no change: numbers worked off, numbers held back.
States = Callable[[Sequence[str]], Mapping[str, tuple[int, frozenset[int]]]]


@dataclass(frozen=True, slots=True)
class Due:
    """A record of touchpoints.resolved that must have a change."""

    customer: str
    n: int
    place: tuple[int, int] | None  # an event's, in touchpoints
    offset: int


class FactsHop:
    """Partition by partition: first the records that are due, then the changes."""

    def __init__(self, cut: Cut, outcomes: Outcomes, decode: Callable[[bytes | None], dict[str, Any]]) -> None:
        self._outcomes, self._decode = outcomes, decode
        self._positions = {p: one.position for p, one in cut.of("profile", RESOLVED).items()}
        self._whole = {p: cut.is_whole(RESOLVED, p) and cut.is_whole(FACTS, p) for p in cut.partitions(RESOLVED)}
        ranges = {
            p: (cut.firsts.get((TOUCHPOINTS, p), 0), cut.ends[TOUCHPOINTS, p]) for p in cut.partitions(TOUCHPOINTS)
        }
        self._due = {p: Bits(*span) for p, span in ranges.items()}
        self._done = {p: Bits(*span) for p, span in ranges.items()}
        self.dead: set[tuple[int, int]] = set()  # (partition, offset) of touchpoints.resolved
        self.due = self.done = self.held = self.beyond = self.ticks = self.poison = 0
        self.missing = Names("records of which profile made nothing", SKIPPED)
        self.doubled = Names("records of which profile made two changes", DOUBLED)
        self.strange = Names("changes without their record", STRANGE)

    def begin(self, partition: int) -> None:
        """The next partition."""
        self._partition = partition
        self._position = self._positions.get(partition, 0)
        # A touchpoint may have a customer take over several others: counted by kind, customer and place.
        self._due_operations: Counter[tuple[str, str, str]] = Counter()
        self._all_operations: Counter[tuple[str, str, str]] = Counter()
        self._operations_seen: Counter[tuple[str, str, str]] = Counter()
        self._due_here = self._done_here = 0

    def record(self, record: Record, place: tuple[int, int] | None) -> None:
        """A record of touchpoints.resolved; `place`: an event's, in touchpoints."""
        is_due = self._is_due(record)
        kind = OPERATIONS.get(record.headers.get("kind", b""))
        if kind is not None:
            name = (kind, record.key.decode(), record.headers["src"].decode())
            self._all_operations[name] += 1
            if is_due:
                self._due_operations[name] += 1
                self._due_here += 1
        elif place is not None and place[0] in self._due and is_due and self._due[place[0]].add(place[1]):
            self._due_here += 1

    def _is_due(self, record: Record) -> bool:
        if record.offset >= self._position:
            self.beyond += 1
            return False
        if (record.partition, record.offset) in self.dead:
            self.poison += 1
            return False
        return True

    def fact(self, record: Record) -> None:
        """A record of profile.changes."""
        name, _, flags = record.headers.get("when", b"").rpartition(b"\x1f")
        if b"h" in flags:
            self._operation(record)
            return
        if not name and flags and self._decode(record.value)["kind"] == "tick":
            self.ticks += 1
            return
        place = self._outcomes.place_of(record.headers.get("src", b""))
        if place is None or place[0] not in self._done:
            return
        if not self._done[place[0]].add(place[1]):
            self.doubled.add(f"{_place(place)}, again at {FACTS}/{record.partition} offset {record.offset}")
        elif place[1] in self._due[place[0]]:
            self._done_here += 1
        elif self._whole[self._partition] and place[1] not in self._outcomes.events[place[0]]:
            self.strange.add(f"{FACTS}/{record.partition} offset {record.offset}: {_place(place)}")

    def _operation(self, record: Record) -> None:
        value = self._decode(record.value)
        cause = value["cause"]
        # A hand-over is one of several decisions of its touchpoint: its cause has a fourth part, the header src not.
        place = ".".join(cause.split(".")[:3])
        name = (value["kind"], record.key.decode(), place)
        self._operations_seen[name] += 1
        if self._due_operations[name] > 0:
            self._due_operations[name] -= 1
            self._done_here += 1
        elif self._operations_seen[name] > self._all_operations[name] and self._whole[self._partition]:
            names = self.doubled if self._all_operations[name] else self.strange
            names.add(f"{FACTS}/{record.partition} offset {record.offset}: {value['kind']} of {cause}")

    def end(self, again: Callable[[], Iterator[Record]], states: States) -> None:
        """The partition was read; `again`: its records of touchpoints.resolved once more."""
        self.due += self._due_here
        self.done += self._done_here
        if self._done_here == self._due_here:
            return
        chunk: list[Due] = []
        for due in self._without(again()):
            chunk.append(due)
            if len(chunk) == 1_000:
                self._explain(chunk, states)
                chunk = []
        self._explain(chunk, states)

    def _without(self, records: Iterable[Record]) -> Iterator[Due]:
        for record in records:
            if record.offset >= self._position or (record.partition, record.offset) in self.dead:
                continue
            kind, customer = record.headers.get("kind", b""), record.key.decode(errors="replace")
            number = record.headers.get("n", b"")
            n = int(number) if number.isdigit() else 0
            if kind in OPERATIONS:
                if self._due_operations[OPERATIONS[kind], customer, record.headers["src"].decode()] > 0:
                    yield Due(customer, n, None, record.offset)
            elif (place := self._outcomes.place_of(record.headers.get("src", b""))) is not None:
                due, done = self._due.get(place[0]), self._done.get(place[0])
                if due is not None and done is not None and place[1] in due and place[1] not in done:
                    yield Due(customer, n, place, record.offset)

    def _explain(self, chunk: Sequence[Due], states: States) -> None:
        found = states(list(dict.fromkeys(due.customer for due in chunk))) if chunk else {}
        for due in chunk:
            worked, held = found.get(due.customer, (0, frozenset()))
            if due.n in held and due.n > worked:
                self.held += 1
                continue
            what = _place(due.place) if due.place else "a hand-over or end"
            self.missing.add(
                f"{RESOLVED}/{self._partition} offset {due.offset}: customer {due.customer} n {due.n}, {what}"
            )

    def check(self) -> Check:
        """The line of this hop."""
        notes = [f"{self.held:,} held for a hand-over"] if self.held else []
        notes += [f"{self.poison:,} dead letters"] if self.poison else []
        notes += [f"{self.ticks:,} more by time"] if self.ticks else []
        return Check(
            "touchpoints.resolved → profile", "every record has one change", self.due - self.held, self.done,
            self.beyond + self.held, ", ".join(notes), differences([self.missing, self.doubled, self.strange]),
        )  # fmt: skip


def _place(place: tuple[int, int]) -> str:
    return f"touchpoints/{place[0]} offset {place[1]}"
