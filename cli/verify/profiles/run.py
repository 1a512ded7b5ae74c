"""The order of the comparison: all customers side by side, then a second look at whoever differed.

The cut is each customer's own: its profile in ClickHouse names the last number of its log that is in it, and events
beyond that number are left out. Whoever was in between (touched meanwhile, merged, not yet archived) is looked at again
when everything decided by then has arrived, and judged only if nothing touched it since.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from cli.verify.customers import MOST_DOUBTED
from cli.verify.profiles.batch import Batch, Events, Row, rows
from cli.verify.profiles.compare import Difference, row_differences, state_differences
from cli.verify.profiles.opinion import Opinion, Opinions, opinion_differences
from services.chassis.clickhouse import Clickhouse
from services.chassis.clock import Clock
from services.chassis.ids import partition_of
from services.chassis.redis.client import RedisClient
from services.chassis.redis.slots import Slot
from services.profile.core.config import ProfileConfig
from services.profile.core.customer_log import CustomerState
from services.profile.core.state import Thresholds
from services.profile.states import Packer
from services.profile.thresholds import from_json

CHUNK = 1_000
# Second looks at those whom events keep touching; who is still in between after these stays unjudged.
LOOKS = 5
_CUTS = "SELECT thresholds FROM rfm_thresholds FINAL WHERE version = {version:UInt64}"
# (rev in ClickHouse, rev in Redis): moves whenever the customer does.
Stand = tuple[int, int]


@dataclass(slots=True)
class Sources:
    """What is compared. `connect`: a connection of its own for everything that is read at the same time; `client`
    None: without Redis. `arrive`: wait until what is decided by now is in ClickHouse; False: it is not.
    """

    connect: Callable[[], Clickhouse]
    client: RedisClient | None
    config: ProfileConfig
    partitions: int
    arrive: Callable[[], bool]
    clock: Clock


@dataclass(slots=True)
class Report:
    """`unjudged`: who was in between at every look; `waiting`: for a hand-over or the end of an import with a
    clock of its own, and not judged before it.
    """

    customers: int = 0
    events: int = 0
    waiting: int = 0
    unjudged: int = 0
    has_redis: bool = True
    differences: list[Difference] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs and nobody's comparison is still open."""
        return not self.differences and not self.unjudged


@dataclass(frozen=True, slots=True)
class Seen:
    """A customer as it was found. beyond: an event of its log has a later number than its profile."""

    customer_id: str
    differences: Sequence[Difference]
    stand: Stand
    is_beyond: bool = False
    is_waiting: bool = False


class Comparison:
    """One verification."""

    def __init__(self, sources: Sources, advance: Callable[[int], None]) -> None:
        """advance: so many more events were read."""
        self._s, self._advance, self._packer = sources, advance, Packer()
        self._houses = [sources.connect() for _ in range(5)]
        self._cuts: dict[int, Thresholds | None] = {0: None}
        self.report = Report(has_redis=sources.client is not None)

    def run(self, ids: Sequence[str] | None = None) -> Report:
        """All customers, or these. Raises Retriable, Fatal, RedisError when something cannot be looked at."""
        try:
            doubted = self._first_look(ids)
            for _ in range(LOOKS):
                if not doubted:
                    break
                doubted = self._again(doubted)
            self.report.unjudged += len(doubted)
            return self.report
        finally:
            for house in self._houses:
                house.close()

    def _first_look(self, ids: Sequence[str] | None) -> list[str]:
        doubted: list[str] = []
        for seen in self._look(ids, is_first=True):
            self.report.customers += 1
            self.report.waiting += seen.is_waiting
            if seen.differences or seen.is_beyond:
                if len(doubted) < MOST_DOUBTED:
                    doubted.append(seen.customer_id)
                else:
                    self.report.unjudged += 1
        return doubted

    def _again(self, doubted: Sequence[str]) -> list[str]:
        """Who must be looked at once more; the others are judged."""
        before: dict[str, Stand] = {}
        for ids in _chunks(doubted):
            before |= self._stands(ids)
        if not self._s.arrive():
            return list(doubted)
        left: list[str] = []
        for ids in _chunks(doubted):
            found = list(self._look(ids))
            after = self._stands(ids)
            for seen in found:
                if not seen.differences and not seen.is_beyond:
                    continue
                if not before[seen.customer_id] == seen.stand == after[seen.customer_id]:
                    left.append(seen.customer_id)
                    continue
                self.report.differences += seen.differences or [_behind(seen)]
        return left

    def _stands(self, ids: Sequence[str]) -> dict[str, Stand]:
        revs = {row["customer_id"]: row["rev"] for row in rows(self._houses[0], ids)}
        states = zip(ids, self._states(ids), strict=True)
        return {name: (revs.get(name, 0), state.rev if state is not None else 0) for name, state in states}

    def _look(self, ids: Sequence[str] | None, is_first: bool = False) -> Iterator[Seen]:
        """These customers in ClickHouse and Redis, by id. Their profiles are asked for before their events."""
        config, now_ms = self._s.config, self._s.clock()
        profiles = rows(self._houses[0], ids)
        chunk = list(islice(profiles, CHUNK))
        events, counted = Events(self._houses[1], config, ids), 0
        opinions = Opinions((self._houses[3], self._houses[4]), config, ids)
        while chunk:
            states = self._states([row["customer_id"] for row in chunk])
            for row, state in zip(chunk, states, strict=True):
                for stray in events.below(row["customer_id"]):
                    yield from self._without_profile(stray)
                batch = events.of(row["customer_id"], row["n"])
                yield self._compare(batch, row, state, opinions.of(row["customer_id"]), now_ms)
            if is_first:
                self._advance(events.count - counted)
                counted = events.count
            chunk = list(islice(profiles, CHUNK))
        for stray in events.below(None):
            yield from self._without_profile(stray)
        if is_first:
            self._advance(events.count - counted)
            self.report.events = events.count

    def _compare(self, batch: Batch, row: Row, state: CustomerState | None, opinion: Opinion, now_ms: int) -> Seen:
        # SQL looked at another profile than we did: look again.
        name, is_beyond = row["customer_id"], batch.last_n > row["n"] or opinion.rev not in (0, row["rev"])
        stand = row["rev"], state.rev if state is not None else 0
        if state is not None and (state.is_history or not state.is_complete()):
            return Seen(name, (), stand, is_waiting=True)
        is_same = state is not None and state.rev == row["rev"]
        cuts = self._cuts_of(row["thresholds_version"])
        found = row_differences(batch, row, state if is_same else None, cuts, now_ms, self._s.config)
        parts, where = (state.parts, "redis") if state is not None and is_same else (batch.parts, "folds")
        found += opinion_differences(row, opinion, parts, where, self._s.config)
        if self._s.client is not None:
            if state is None:
                found.append(Difference(name, "profile", "redis", "none", f"{len(batch.parts)} parts"))
            elif is_same:
                found += state_differences(batch, state, row)
            else:
                found.append(Difference(name, "rev", "redis", state.rev, row["rev"]))
        return Seen(name, found, stand, is_beyond)

    def _without_profile(self, batch: Batch) -> Iterator[Seen]:
        if not batch.parts:
            return  # nothing but dead letters
        (state,) = self._states([batch.customer_id])
        is_waiting = state is not None and not state.is_complete()
        events = sum(part.events for part in batch.parts.values())
        found = Difference(batch.customer_id, "profile", "clickhouse", "none", f"{events} events")
        stand = 0, state.rev if state is not None else 0
        yield Seen(batch.customer_id, () if is_waiting else (found,), stand, is_waiting=is_waiting)

    def _states(self, ids: Sequence[str]) -> list[CustomerState | None]:
        if self._s.client is None:
            return [None] * len(ids)
        pipe = self._s.client.pipeline(transaction=False)
        for one in ids:
            pipe.get(Slot("profile", partition_of(one.encode(), self._s.partitions)).key("c", one))
        return [self._packer.read(raw, one) if raw else None for one, raw in zip(ids, pipe.execute(), strict=True)]

    def _cuts_of(self, version: int) -> Thresholds | None:
        if version not in self._cuts:
            found = self._houses[2].query_rows(_CUTS, {"version": version})
            self._cuts[version] = from_json(found[0]["thresholds"]) if found else None
        return self._cuts[version]


def _behind(seen: Seen) -> Difference:
    return Difference(seen.customer_id, "profile", "clickhouse", f"rev {seen.stand[0]}", "later events are archived")


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(ids), CHUNK):
        yield ids[at : at + CHUNK]
