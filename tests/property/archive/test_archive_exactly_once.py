"""Whatever fails, whenever: every accepted event is in ClickHouse once, every unreadable one a dead letter once."""

from collections.abc import Iterator
from contextlib import suppress

import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.errors import Retriable
from services.chassis.records import Record
from services.chassis.testing.fake_ledger import Argument, FakeServer
from tests.unit.archive.archive_doubles import SLOT, Crash, MemoryClickhouse, Owner, Sent, event

FATES = st.sampled_from(["ok", "ok", "ok", "lost", "refused", "crash before", "crash after"])
LEDGER_FATES = st.sampled_from(["", "", "", "", "", "lost", "unsent", "crash before", "crash after"])
# What identity and the world do to the log; what happens to the archive in between.
RECORDS = st.sampled_from(["event", "event", "event", "again", "garbage", "hand-over"])
STEPS = st.sampled_from(["produce", "read", "step", "step", "claim", "freeze"])


class World:
    """A log that grows, owners that come and go, everything they leave behind."""

    def __init__(self, fates: Iterator[str], ledger_fates: Iterator[str]) -> None:
        self.log: list[Record] = []
        self.taken: list[str] = []
        self.garbage: list[int] = []
        self.number = 0
        self.server, self.sent = FakeServer(), Sent()
        self.clickhouse = MemoryClickhouse(lambda: next(fates, "ok"))
        self.ledger_fates = ledger_fates
        self.owners: list[Owner] = []

    def produce(self, kind: str) -> None:
        offset = len(self.log)
        if kind == "again" and self.number:
            self.log.append(event(offset, number=self.number))
            return
        self.number += 1
        if kind == "garbage":
            self.garbage.append(offset)
            self.log.append(event(offset, number=self.number, value=b"\x00"))
        elif kind == "hand-over":
            self.log.append(event(offset, number=self.number, kind=b"take"))
        else:
            self.taken.append(f"e{offset}")
            self.log.append(event(offset, number=self.number))

    def hook(self, when: str, command: tuple[Argument, ...]) -> None:
        fate = next(self.ledger_fates, "")
        if fate in ("lost", "unsent") and (fate == "lost") == (when == "after"):
            raise redis.ConnectionError(fate)
        if fate == f"crash {when}":
            raise Crash

    def claim(self) -> None:
        with suppress(Crash, Retriable):
            self.owners.append(Owner(self.log, self.server, self.clickhouse, self.sent, self.hook))

    def do(self, step: str, record: str, which: int) -> None:
        if step == "produce":
            self.produce(record)
        elif step == "claim" or not self.owners:
            self.claim()
        else:
            # The newest owner or one that was frozen and does not know that it is none any more.
            owner = self.owners[-1] if step != "freeze" else self.owners[which % len(self.owners)]
            try:
                owner.read()
                if step != "read":
                    owner.step()
            except (Crash, Retriable):
                self.owners.remove(owner)


@given(
    steps=st.lists(st.tuples(STEPS, RECORDS, st.integers(0, 5)), max_size=60),
    fates=st.lists(FATES, max_size=30),
    ledger_fates=st.lists(LEDGER_FATES, max_size=60),
)
@settings(max_examples=300, deadline=None)
def test_every_event_is_archived_once_and_every_unreadable_one_is_a_dead_letter(
    steps: list[tuple[str, str, int]], fates: list[str], ledger_fates: list[str]
) -> None:
    world = World(iter(fates), iter(ledger_fates))
    for step, record, which in steps:
        world.do(step, record, which)
    world.clickhouse.fate = lambda: "ok"
    world.ledger_fates = iter(())
    Owner(world.log, world.server, world.clickhouse, world.sent).finish()
    assert sorted(world.clickhouse.event_ids()) == sorted(world.taken)
    assert world.sent.offsets() == world.garbage
    assert int(world.server.hashes[SLOT.ledger]["position"]) == len(world.log)
