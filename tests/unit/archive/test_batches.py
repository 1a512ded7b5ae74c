"""Intent, insert, position: what each failure leaves behind and what the next owner makes of it."""

from collections.abc import Iterator, Sequence

import pytest
from prometheus_client import REGISTRY

from services.chassis.errors import Fatal, Fenced
from services.chassis.records import Record
from services.chassis.testing.fake_ledger import Argument, FakeServer
from services.profile.archive.batches import NotInserted
from services.profile.archive.core.rows import Rows
from services.profile.archive.decode import Decoded
from services.profile.archive.line import Limits
from tests.unit.archive.archive_doubles import AT, SLOT, TOPIC, Crash, MemoryClickhouse, Owner, Sent, event


def fates(*given: str) -> MemoryClickhouse:
    """A ClickHouse whose first inserts end as given, the others well."""
    left: Iterator[str] = iter(given)
    return MemoryClickhouse(lambda: next(left, "ok"))


def events(count: int) -> list[Record]:
    return [event(offset) for offset in range(count)]


def ids(count: int) -> list[str]:
    return [f"e{offset}" for offset in range(count)]


def position(server: FakeServer) -> int:
    return int(server.hashes[SLOT.ledger]["position"])


def test_batches_are_cut_by_rows_and_leave_the_ledger_at_the_end() -> None:
    server, clickhouse = FakeServer(), fates()
    owner = Owner(events(10), server, clickhouse, Sent())
    owner.finish()
    assert clickhouse.event_ids() == ids(10)
    assert clickhouse.inserts == [("events_raw", 4), ("events_raw", 4), ("events_raw", 2)]
    assert (position(server), owner.line.claim.extra) == (10, b"")


def test_batches_are_cut_by_bytes() -> None:
    clickhouse = fates()
    size = len(event(0).value or b"")
    owner = Owner(events(6), FakeServer(), clickhouse, Sent(), limits=Limits(rows=100, size_bytes=size + 1))
    owner.finish()
    assert [rows for _, rows in clickhouse.inserts] == [2, 2, 2]


def test_a_record_waits_for_its_batch_no_longer_than_the_linger() -> None:
    owner = Owner(events(1), FakeServer(), fates(), Sent())
    owner.read()
    assert not owner.line.is_due(0.9, 1.0, owner.limits)
    assert owner.line.is_due(1.0, 1.0, owner.limits)


def test_an_insert_whose_answer_was_lost_is_repeated_under_its_token() -> None:
    clickhouse = fates("lost", "refused", "lost")
    owner = Owner(events(4), FakeServer(), clickhouse, Sent())
    owner.read()
    for _ in range(3):
        with pytest.raises(NotInserted):
            owner.step()
    owner.finish()
    assert clickhouse.event_ids() == ids(4)
    assert len(clickhouse.inserts) == 4
    assert len(clickhouse.tokens) == 1


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"touchstream_archive_{name}_total", labels) or 0.0


class TwoTables:
    """A decoder whose batches have rows in two tables."""

    def decode(self, records: Sequence[Record]) -> Decoded:
        ids = [record.offset for record in records]
        return Decoded([Rows(table, ("event_id",), [ids]) for table in ("first", "second")])


def test_rows_are_counted_once_and_repetitions_every_time() -> None:
    """The first table was counted again when the second had failed, a repetition after a lost answer not at all."""
    clickhouse = fates("ok", "lost", "ok", "refused")
    owner = Owner(events(4), FakeServer(), clickhouse, Sent())
    owner.archiver._decoders = {TOPIC: TwoTables()}  # type: ignore[dict-item]
    names = ({"table": "first"}, {"table": "second"})
    rows, repeats = [counted("rows", **name) for name in names], counted("repeated_batches", topic=TOPIC)
    owner.read()
    for _ in range(2):
        with pytest.raises(NotInserted):
            owner.step()
    owner.finish()
    assert clickhouse.inserts == [("first", 4), ("second", 4)] * 3
    assert [counted("rows", **name) - before for name, before in zip(names, rows, strict=True)] == [4, 4]
    assert counted("repeated_batches", topic=TOPIC) - repeats == 2


def test_a_batch_that_a_former_owner_began_counts_as_repeated() -> None:
    server, clickhouse, log = FakeServer(), fates("crash after"), events(2)
    first = Owner(log, server, clickhouse, Sent())
    first.read()
    before = counted("repeated_batches", topic=TOPIC), counted("rows", table="events_raw")
    with pytest.raises(Crash):
        first.step()
    Owner(log, server, clickhouse, Sent()).finish()
    after = counted("repeated_batches", topic=TOPIC), counted("rows", table="events_raw")
    assert (after[0] - before[0], after[1] - before[1]) == (1, 2)


def test_while_an_insert_fails_the_position_stays_and_later_records_wait() -> None:
    server, clickhouse = FakeServer(), fates("refused", "refused")
    log = events(2)
    owner = Owner(log, server, clickhouse, Sent())
    owner.read()
    with pytest.raises(NotInserted):
        owner.step()
    log += [event(2), event(3)]
    owner.read()
    with pytest.raises(NotInserted):
        owner.step()
    assert position(server) == 0
    owner.finish()
    assert [rows for _, rows in clickhouse.inserts[-2:]] == [2, 2]
    assert clickhouse.event_ids() == ids(4)


@pytest.mark.parametrize("fate", ["crash before", "crash after"])
def test_after_a_crash_exactly_the_intended_range_is_repeated_although_more_has_arrived(fate: str) -> None:
    server, clickhouse, log = FakeServer(), fates(fate), events(3)
    first = Owner(log, server, clickhouse, Sent())
    first.read()
    with pytest.raises(Crash):
        first.step()
    log += [event(offset) for offset in range(3, 6)]
    second = Owner(log, server, clickhouse, Sent())
    second.read()
    assert second.step()
    assert position(server) == 3
    second.finish()
    assert clickhouse.event_ids() == ids(6)


def test_an_intent_waits_for_its_last_record() -> None:
    server, clickhouse, log = FakeServer(), fates("crash before"), events(3)
    first = Owner(log, server, clickhouse, Sent())
    first.read()
    with pytest.raises(Crash):
        first.step()
    second = Owner(log[:2], server, clickhouse, Sent())
    second.read()
    assert not second.step()
    second.log.append(log[2])
    second.finish()
    assert clickhouse.event_ids() == ids(3)


def test_a_frozen_owner_that_wakes_up_cannot_write_twice() -> None:
    server, clickhouse, log = FakeServer(), fates("refused"), events(4)
    frozen = Owner(log, server, clickhouse, Sent())
    frozen.read()
    with pytest.raises(NotInserted):
        frozen.step()
    Owner(log, server, clickhouse, Sent()).finish()
    with pytest.raises(Fenced):
        frozen.step()
    assert clickhouse.event_ids() == ids(4)


def test_a_lost_answer_of_the_ledger_is_asked_for_again() -> None:
    import redis

    scripts: list[str] = []

    def hook(when: str, command: tuple[Argument, ...]) -> None:
        if when == "after" and command[0] == "EVALSHA":
            scripts.append("run")
            if len(scripts) % 2 == 1:
                raise redis.ConnectionError("the answer is lost")

    clickhouse = fates()
    owner = Owner(events(4), FakeServer(), clickhouse, Sent())
    owner.ledger.connection.hook = hook
    owner.finish()
    assert clickhouse.event_ids() == ids(4)
    assert len(scripts) == 4


def test_repetitions_and_hand_overs_become_no_rows_and_need_no_insert() -> None:
    log = [event(0), event(1, number=1), event(2, number=2, kind=b"take"), event(3, number=3)]
    clickhouse = fates()
    Owner(log, FakeServer(), clickhouse, Sent(), limits=Limits(1, 1_000)).finish()
    assert clickhouse.event_ids() == ["e0", "e3"]
    assert len(clickhouse.inserts) == 2


def test_at_a_missing_number_the_partition_stops_after_what_came_before() -> None:
    log = [event(0), event(1), event(2, number=5), event(3, number=6)]
    server, clickhouse = FakeServer(), fates()
    owner = Owner(log, server, clickhouse, Sent())
    owner.finish()
    assert clickhouse.event_ids() == ["e0", "e1"]
    assert owner.line.is_stopped
    assert position(server) == 2


def test_in_a_compacted_topic_a_missing_number_is_no_loss() -> None:
    log = [event(0), event(2, number=5), event(3, number=5), event(4, number=6)]
    clickhouse = fates()
    Owner(log, FakeServer(), clickhouse, Sent(), is_compacted=True).finish()
    assert clickhouse.event_ids() == ["e0", "e2", "e4"]


def test_unreadable_records_are_dead_letters_once_although_the_process_dies_between() -> None:
    log = [event(0), event(1, value=b"\x00"), event(2)]
    server, clickhouse, sent = FakeServer(), fates("crash after"), Sent()
    first = Owner(log, server, clickhouse, sent)
    first.read()
    with pytest.raises(Crash):
        first.step()
    assert sent.offsets() == []
    Owner(log, server, clickhouse, sent).finish()
    Owner(log, server, clickhouse, sent).finish()
    assert sent.offsets() == [1]
    assert clickhouse.event_ids() == ["e0", "e2"]


def test_when_most_records_are_unreadable_the_line_stops() -> None:
    log = [event(offset, value=b"\x00") for offset in range(300)]
    owner = Owner(log, FakeServer(), fates(), Sent(), limits=Limits(200, 1_000_000))
    with pytest.raises(Fatal, match="200 of the last 200 records"):
        owner.finish()


def test_a_record_that_kills_the_decoder_is_set_aside_after_three_deaths(monkeypatch: pytest.MonkeyPatch) -> None:
    log, server, clickhouse, sent = events(3), FakeServer(), fates(), Sent()

    def deadly(self: object, record: Record) -> dict[str, object] | None:
        if record.offset == 1:
            raise Crash
        return original(record)

    for death in range(12):
        owner = Owner(log, server, clickhouse, sent)
        decoder = owner.archiver._decoders["touchpoints.resolved"]
        original = type(decoder)._event.__get__(decoder)
        monkeypatch.setattr(decoder, "_value", lambda record: deadly(None, record))
        try:
            owner.finish()
            break
        except Crash:
            assert death < 11
        finally:
            monkeypatch.undo()
    assert clickhouse.event_ids() == ["e0", "e2"]
    assert sent.offsets() == [1]


def test_tokens_of_two_lives_of_a_log_differ() -> None:
    clickhouse, log = fates(), events(2)
    Owner(log, FakeServer(), clickhouse, Sent()).finish()
    other = Owner(log, FakeServer(), clickhouse, Sent())
    other.line.log_key = "another cluster/topic"
    other.finish()
    assert len(clickhouse.tokens) == 2


def test_too_many_unreadable_records_stop_the_line_before_anything_is_inserted_at_every_start() -> None:
    server, clickhouse = FakeServer(), fates()
    headers = [{"kind": b"event", "seq": b"0:%d" % number} for number in range(1, 301)]
    log = [Record(TOPIC, 0, at, b"k", b"no avro", headers[at], AT) for at in range(300)]
    for _ in range(30):
        owner = Owner(log, server, clickhouse, Sent())
        owner.read()
        with pytest.raises(Fatal, match=r"archive: \d+ of the last .*dead allow --service archive"):
            owner.finish()
    assert 0 < position(server) < 200
    assert not Owner(log, server, clickhouse, Sent()).line.suspect
