"""accept: what a sequence number says of a record."""

from services.chassis.records import Record
from services.chassis.redis.claim import Verdict, accept


def record(seq: bytes | None) -> Record:
    return Record("profile.changes", 0, 1, b"k", b"v", {} if seq is None else {"seq": seq}, 0)


def test_accept_takes_the_next_number_of_each_source_and_drops_repetitions() -> None:
    seen: dict[str, int] = {}
    verdicts = [accept(seen, record(seq)).name for seq in (b"0:1", b"1:1", b"0:2", b"0:1", b"0:2", b"1:2")]
    assert verdicts == ["TAKE", "TAKE", "TAKE", "DUPLICATE", "DUPLICATE", "TAKE"]
    assert seen == {"0": 2, "1": 2}


def test_accept_stops_at_a_gap_and_keeps_standing_there() -> None:
    seen = {"0": 4}
    assert accept(seen, record(b"0:6")) is Verdict.GAP
    assert accept(seen, record(b"1:2")) is Verdict.GAP
    assert seen == {"0": 4}
    assert accept(seen, record(b"0:5")) is Verdict.TAKE
    assert accept(seen, record(b"0:6")) is Verdict.TAKE


def test_a_record_without_a_number_is_taken() -> None:
    assert accept({}, record(None)) is Verdict.TAKE
