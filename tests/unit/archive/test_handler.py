"""The loop: partitions come and go, ClickHouse goes and comes, reading stops before memory does."""

from collections.abc import Iterable, Mapping
from typing import cast

import pytest

from services.chassis.errors import Fatal
from services.chassis.kafka.reader import Place, Places, Reader
from services.chassis.kafka.relay import Relay
from services.chassis.marks import Mark
from services.chassis.records import Entry, Record
from services.chassis.redis.claim import Claim
from services.chassis.registry import open_registry
from services.chassis.testing.fake_ledger import FakeLedger, FakeServer
from services.profile.archive import handler
from services.profile.archive.batches import Archiver
from services.profile.archive.decode import Decoder
from services.profile.archive.handler import Archive, Pace
from services.profile.archive.line import Limits
from services.profile.archive.ownership import Log, Ownership
from tests.unit.archive.archive_doubles import AT, SLOT, TOPIC, MemoryClickhouse, event, metrics

PLACE = (TOPIC, 0)


class MemoryReader:
    """A consumer on logs in memory; `give` and `take` are what the group does, at the next read."""

    def __init__(self) -> None:
        self.logs: dict[Place, list[Record]] = {PLACE: []}
        self.at: dict[Place, int] = {}
        self.paused: set[Place] = set()
        self.published: dict[Place, Mark] = {}
        self.error = ""
        self.is_closed = False
        self._due: list[tuple[Places, list[Place]]] = []

    def subscribe(self, topics: Iterable[str], on_assign: Places, on_revoke: Places) -> None:
        self._on_assign, self._on_revoke = on_assign, on_revoke

    def give(self, *places: Place) -> None:
        self._due.append((self._on_assign, list(places)))

    def take(self, *places: Place) -> None:
        self._due.append((self._on_revoke, list(places)))

    def start(self, offsets: Mapping[Place, int]) -> None:
        self.at, self.paused = dict(offsets), set()

    def read(self, most: int, timeout_s: float) -> dict[Place, list[Record]]:
        for call, places in self._due:
            call(places)
        self._due.clear()
        found = {}
        for place in self.at.keys() - self.paused:
            records = self.logs[place][self.at[place] :][:most]
            if records:
                found[place] = records
                self.at[place] += len(records)
        return found

    def pause(self, places: Iterable[Place]) -> None:
        self.paused |= set(places)

    def resume(self, places: Iterable[Place]) -> None:
        self.paused -= set(places)

    def end(self, place: Place) -> int | None:
        return len(self.logs[place])

    def committed(self, places: list[Place]) -> dict[Place, Mark]:
        return {place: self.published[place] for place in places if place in self.published}

    def publish(self, marks: Mapping[Place, Mark]) -> str:
        self.published |= marks
        return ""

    def close(self) -> None:
        self.is_closed = True


class MemoryRelay:
    """Takes every dead letter."""

    def __init__(self) -> None:
        self.sent = 0

    def send(self, work: list[tuple[Claim, Entry]]) -> None:
        for claim, entry in work:
            self.sent += len(entry.outputs)
            claim.acknowledge()

    def discard(self) -> None:
        """Nothing is held back."""


class Process:
    """One archive process on doubles; `fates` as in MemoryClickhouse, by default all inserts end well."""

    def __init__(self, server: FakeServer | None = None, buffer_bytes: int = 1 << 30, cluster: str = "cluster") -> None:
        self.reader, self.relay, self.clickhouse = MemoryReader(), MemoryRelay(), MemoryClickhouse()
        self.server = server or FakeServer()
        ledger, limits = FakeLedger(self.server), Limits(rows=5, size_bytes=1 << 20)
        log = Log(cluster, {TOPIC: "id"}, {}, frozenset())
        self.ownership = Ownership(cast(Reader, self.reader), cast(Relay, self.relay), ledger, log, metrics())
        archiver = Archiver(
            ledger, self.clickhouse, {TOPIC: Decoder(TOPIC)}, 1, limits, metrics(), lambda: AT, open_registry()
        )
        pace = Pace(linger_s=0.0, inserts_per_s=1e9, buffer_bytes=buffer_bytes, fenced_wait_s=0.0)
        self.upkeeps = 0
        reader, relay = cast(Reader, self.reader), cast(Relay, self.relay)
        self.archive = Archive(reader, relay, self.ownership, archiver, limits, pace, metrics(), self.upkeep)
        self.ownership.join()
        self.reader.give(PLACE)

    def upkeep(self) -> None:
        self.upkeeps += 1

    def produce(self, count: int) -> None:
        log = self.reader.logs[PLACE]
        log += [event(len(log) + at) for at in range(count)]

    def rounds(self, count: int) -> None:
        for _ in range(count):
            self.archive.round()

    def position(self) -> int:
        return int(self.server.hashes[SLOT.ledger]["position"])


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries."""
    monkeypatch.setattr(handler, "BACK_OFF_S", 0.0)


def ids(count: int) -> list[str]:
    return [f"e{at}" for at in range(count)]


def test_an_assigned_partition_is_claimed_read_and_archived() -> None:
    process = Process()
    process.produce(12)
    process.rounds(6)
    assert process.clickhouse.event_ids() == ids(12)
    assert process.position() == 12
    assert process.reader.published.keys() == {PLACE}
    assert process.upkeeps >= 1


def test_a_revoked_partition_is_left_alone() -> None:
    process = Process()
    process.produce(3)
    process.rounds(2)
    process.reader.take(PLACE)
    process.produce(3)
    process.rounds(3)
    assert process.clickhouse.event_ids() == ids(3)


def test_while_clickhouse_refuses_reading_pauses_and_health_says_why() -> None:
    process = Process(buffer_bytes=1)
    process.clickhouse.fate = lambda: "refused"
    process.produce(3)
    process.rounds(3)
    assert process.reader.paused == {PLACE}
    assert metrics().health.report()["clickhouse"]["ok"] is False
    process.clickhouse.fate = lambda: "ok"
    process.produce(20)
    process.rounds(10)
    assert process.clickhouse.event_ids() == ids(23)
    assert process.reader.paused == set()
    assert metrics().health.report()["clickhouse"]["ok"] is True


def test_a_partition_lost_to_another_process_is_dropped_and_claimed_again() -> None:
    process = Process()
    process.produce(3)
    process.rounds(2)
    other = Process(process.server)
    other.reader.logs = process.reader.logs
    process.produce(3)
    other.rounds(3)
    process.rounds(3)
    assert process.clickhouse.event_ids() + other.clickhouse.event_ids() == ids(6)
    assert process.position() == 6


def test_a_process_that_comes_back_goes_on_where_the_former_one_stopped() -> None:
    first = Process()
    first.produce(7)
    first.rounds(2)
    second = Process(first.server)
    second.reader.logs = first.reader.logs
    second.rounds(4)
    assert first.clickhouse.event_ids() + second.clickhouse.event_ids() == ids(7)


def test_the_ledger_of_another_cluster_is_refused() -> None:
    first = Process()
    first.rounds(1)
    second = Process(first.server, cluster="another")
    with pytest.raises(Fatal, match="belongs to"):
        second.rounds(1)


def test_a_stopped_partition_does_not_stop_the_others_and_is_not_read_any_more() -> None:
    process = Process()
    process.reader.logs[PLACE] += [event(0), event(1, number=7)]
    process.rounds(4)
    assert process.clickhouse.event_ids() == ["e0"]
    assert process.reader.paused == {PLACE}
    process.rounds(2)
    assert process.position() == 1


def test_dead_letters_are_sent_and_trimmed() -> None:
    process = Process()
    process.reader.logs[PLACE] += [event(0), event(1, value=b"\x00")]
    process.rounds(2)
    assert process.relay.sent == 1
    assert process.server.lists[SLOT.outbox] == []


def test_leaving_closes_the_consumer_without_archiving_half_batches() -> None:
    process = Process()
    process.rounds(1)
    process.produce(2)
    process.ownership.leave()
    assert process.reader.is_closed
    assert process.clickhouse.event_ids() == []
