"""Hop 1: every touchpoint that identity has worked off has exactly one outcome.

An event in touchpoints.resolved, a dead letter, or an operation (unlink, erase). What has none must be explained: the
same event of the same source is there from another place (a client's duplicate), or its primary identifier was erased.
Identity counts those two only in Prometheus, so they are derived, record by record.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any

from cli.verify.bits import Bits
from cli.verify.cut import TOUCHPOINTS, Cut
from cli.verify.model import Check, Names, differences
from services.chassis.errors import Poison
from services.chassis.records import Record
from services.identity.core.links import Asked, Request, UnusableError, ask
from services.identity.core.policy import Policy

CHUNK = 2_000
DOUBLED = "the same place twice: keep Redis and the topic as they are and report it; profile drops a repeated number"
UNEXPLAINED = (
    "identity has passed it and nothing came of it: was its position moved (`touchstream rebase --to` prints what it"
    " skips) or the topic changed by hand? Send the event again from its source, or from an export with"
    " `touchstream replay`"
)


class Cause(Enum):
    """Why a touchpoint has no outcome of its own."""

    DUPLICATE = "client duplicates"
    ERASED = "for erased identifiers"
    OPERATION = "operations"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Silent:
    """A touchpoint without an outcome. message: its id within its source; node: 17 bytes of its primary identifier."""

    offset: int
    source: str
    event_id: str
    request: Request
    node: bytes


class Outcomes:
    """Which touchpoints of each partition have an event or a dead letter."""

    def __init__(self, cut: Cut) -> None:
        self._positions = {p: one.position for p, one in cut.of("identity", TOUCHPOINTS).items()}
        self._generations = {p: one.generation for p, one in cut.of("identity", TOUCHPOINTS).items()}
        ends = {p: cut.ends[TOUCHPOINTS, p] for p in cut.partitions(TOUCHPOINTS)}
        firsts = {p: cut.firsts.get((TOUCHPOINTS, p), 0) for p in ends}
        self.events = {p: Bits(firsts[p], ends[p]) for p in ends}
        self.dead = {p: Bits(firsts[p], ends[p]) for p in ends}
        self.doubled = Names("events that stand in touchpoints.resolved twice", DOUBLED)
        self.foreign = 0

    def place_of(self, src: bytes) -> tuple[int, int] | None:
        """(partition, offset) of a header `src` of this generation of the log."""
        parts = src.split(b".")
        try:
            generation, partition, offset = int(parts[0]), int(parts[1]), int(parts[2])
        except (IndexError, ValueError):
            return None
        return (partition, offset) if self._generations.get(partition) == generation else None

    def is_below(self, place: tuple[int, int]) -> bool:
        """Whether identity had decided it before the cut."""
        return place[1] < self._positions.get(place[0], 0)

    def event(self, record: Record) -> tuple[int, int] | None:
        """Take in an event of touchpoints.resolved; its place in touchpoints."""
        place = self.place_of(record.headers.get("src", b""))
        if place is None:
            self.foreign += 1
            return None
        bits = self.events.get(place[0])
        if bits is not None and not bits.add(place[1]):
            name = f"touchpoints/{place[0]} offset {place[1]}, again at {record.topic}/{record.partition}"
            self.doubled.add(f"{name} offset {record.offset}")
        return place

    def dead_letter(self, partition: int, offset: int) -> None:
        """Take in a dead letter of identity."""
        if partition in self.dead:
            self.dead[partition].add(offset)


# (source, event id) → places (partition, offset) of its events.
Places = dict[tuple[str, str], set[tuple[int, int]]]


class Judge:
    """Says why a touchpoint has no outcome. The three questions are asked for many at once."""

    def __init__(
        self, policy: Policy, encode: Callable[[str], bytes], decode: Callable[[bytes | None], dict[str, Any]],
        elsewhere: Callable[[Sequence[str]], Places],
        erased: Callable[[Sequence[bytes]], Sequence[bool]],
    ) -> None:  # fmt: skip
        """elsewhere: event ids → where their events stand; erased: nodes → is each a tombstone."""
        self._policy, self._encode, self._decode = policy, encode, decode
        self._elsewhere, self._erased = elsewhere, erased

    def silent(self, record: Record) -> Silent | None:
        """What a touchpoint without an outcome asked for; None when it cannot even be read."""
        try:
            t = self._decode(record.value)
            asked: Asked = ask(
                t["type"],
                t["source"],
                t["event_id"],
                t["identifiers"],
                t["flags"],
                self._policy,
                self._encode,
                t["properties"],
            )
        except (Poison, UnusableError):
            return None
        return Silent(record.offset, t["source"], t["event_id"], asked.request, asked.identifiers[0])

    def causes(self, partition: int, silent: Sequence[Silent]) -> list[Cause]:
        """Why each of them has none."""
        plain = [one for one in silent if one.request is Request.EVENT]
        places = self._elsewhere([one.event_id for one in plain]) if plain else {}
        tombstones = dict(zip(plain, self._erased([one.node for one in plain]), strict=True)) if plain else {}
        return [self._cause(one, (partition, one.offset), places, tombstones) for one in silent]

    def _cause(self, one: Silent, place: tuple[int, int], places: Places, tombstones: Mapping[Silent, bool]) -> Cause:
        if one.request is not Request.EVENT:
            return Cause.OPERATION
        if places.get((one.source, one.event_id), set()) - {place}:
            return Cause.DUPLICATE
        return Cause.ERASED if tombstones[one] else Cause.UNEXPLAINED


@dataclass(slots=True)
class Tally:
    """What became of the touchpoints below identity's positions."""

    touchpoints: int = 0
    events: int = 0
    dead: int = 0
    unreadable: int = 0
    beyond: int = 0  # not yet worked by identity


class TouchpointsHop:
    """Reads the touchpoints once; only those without an outcome are looked into."""

    def __init__(self, cut: Cut, outcomes: Outcomes, judge: Judge) -> None:
        self._outcomes, self._judge = outcomes, judge
        self._positions = {p: one.position for p, one in cut.of("identity", TOUCHPOINTS).items()}
        self.tally = Tally()
        self.causes = dict.fromkeys(Cause, 0)
        self.missing = Names("touchpoints of which nothing came", UNEXPLAINED)
        self.unjudged = 0
        self.later: list[tuple[int, Silent]] = []  # to be asked once more when ClickHouse has caught up

    def read(self, partition: int, records: Iterator[Record]) -> None:
        """One partition of touchpoints."""
        position, tally = self._positions.get(partition, 0), self.tally
        events, dead = self._outcomes.events[partition], self._outcomes.dead[partition]

        def silent() -> Iterator[Silent]:
            for record in records:
                if record.offset >= position:
                    tally.beyond += 1
                    continue
                tally.touchpoints += 1
                if record.offset in events:
                    tally.events += 1
                elif record.offset in dead:
                    tally.dead += 1
                elif (found := self._judge.silent(record)) is not None:
                    yield found
                else:
                    tally.unreadable += 1
                    self.missing.add(f"touchpoints/{partition} offset {record.offset} (unreadable, no dead letter)")

        waiting = silent()
        while chunk := list(islice(waiting, CHUNK)):
            self._explain(partition, chunk)

    def _explain(self, partition: int, chunk: Sequence[Silent]) -> None:
        for one, cause in zip(chunk, self._judge.causes(partition, chunk), strict=True):
            if cause is Cause.UNEXPLAINED:
                self.later.append((partition, one))
            else:
                self.causes[cause] += 1

    def settle(self, has_arrived: bool) -> None:
        """Ask once more for those that nothing explained: their first sending may just have reached ClickHouse.

        While it may still be on its way there (not has_arrived), they are not judged.
        """
        again, self.later = self.later, []
        for partition, one in again:
            self._explain(partition, [one])
        if not has_arrived:
            self.unjudged = len(self.later)
            return
        for partition, one in self.later:
            self.missing.add(f"touchpoints/{partition} offset {one.offset} (event {one.event_id} of {one.source})")
        self.causes[Cause.UNEXPLAINED] = len(self.later)

    def check(self) -> Check:
        """The line of this hop."""
        tally, parts = self.tally, [f"{self.tally.events:,} events"]
        parts += [f"{tally.dead:,} dead letters"] if tally.dead else []
        parts += [f"{n:,} {cause.value}" for cause, n in self.causes.items() if n and cause is not Cause.UNEXPLAINED]
        accounted = tally.events + tally.dead + sum(self.causes.values()) - self.causes[Cause.UNEXPLAINED]
        return Check(
            "touchpoints → identity", "every touchpoint has one outcome", tally.touchpoints - self.unjudged, accounted,
            tally.beyond + self.unjudged,
            ", ".join(parts), differences([self.missing, self._outcomes.doubled]),
        )  # fmt: skip
