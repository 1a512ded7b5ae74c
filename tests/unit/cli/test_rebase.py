"""`touchstream rebase --to`: exactly what is missing is given up, named, and nothing is counted twice."""

import msgspec
import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.rebase import check_offset, loss, plan
from services.chassis.errors import Fatal
from services.chassis.records import Record
from services.chassis.redis.amend import Stand, plan_skip
from services.chassis.redis.claim import Channels, Verdict, accept
from services.chassis.redis.slots import Slot
from services.profile.archive.line import Intent


def log(*seqs: str, start: int = 0) -> list[Record]:
    return [
        Record("t", 3, start + i, b"k", b"v", {"seq": seq.encode()} if seq else {}, 0) for i, seq in enumerate(seqs)
    ]


def stand(position: int = 40, extra: bytes = b"", service: str = "rules", **seen: int) -> Stand:
    blob = msgspec.msgpack.encode(Channels({name[1:]: number for name, number in seen.items()}, {}, extra))
    return Stand(Slot(service, 3), "t", position, blob)


def verdicts(seen: dict[str, int], records: list[Record]) -> list[Verdict]:
    return [accept(seen, record) for record in records]


def test_at_a_gap_only_the_missing_numbers_are_given_up() -> None:
    records = log("0:7", "1:3", "0:8", start=40)
    skip = plan_skip({"0": 4, "1": 2}, 40, 4, records)
    assert (skip.seen, skip.lost) == ({"0": 6, "1": 2}, [("0", 5, 6)])
    assert verdicts(skip.seen, records) == [Verdict.TAKE] * 3


def test_a_second_gap_behind_the_first_is_not_forgiven() -> None:
    records = log("0:7", "0:9", start=40)
    skip = plan_skip({"0": 4}, 40, 4, records)
    assert verdicts(skip.seen, records) == [Verdict.TAKE, Verdict.GAP]


def test_after_retention_every_writer_goes_on_with_its_first_record_that_is_left() -> None:
    records = log("0:7", "1:3", "2:50", "0:8", start=90)
    skip = plan_skip({"0": 4, "1": 2, "3": 6}, 90, 4, records)
    assert skip.lost == [("0", 5, 6), ("2", 1, 49)]
    assert skip.seen == {"0": 6, "1": 2, "2": 49, "3": 6}


def test_skipped_records_are_given_up_up_to_the_last_of_them() -> None:
    records = log("0:5", "1:3", "0:6", "1:4", "0:7", start=40)
    skip = plan_skip({"0": 4, "1": 2}, 43, 4, records)
    assert skip.lost == [("0", 5, 6), ("1", 3, 3)]
    alone = plan_skip({"0": 4, "1": 2}, 45, 4, records)
    assert alone.seen == {"0": 7, "1": 4}


def test_a_repetition_at_the_offset_stays_a_repetition() -> None:
    skip = plan_skip({"0": 4}, 40, 4, log("0:3", "0:4", "0:5", start=40))
    assert (skip.seen, skip.lost) == ({"0": 4}, [])


def test_the_log_is_read_no_further_than_the_first_record_of_every_writer() -> None:
    records = iter(log("0:1", "1:1", "0:2", "0:3"))
    plan_skip({}, 0, 2, records)
    assert [record.offset for record in records] == [2, 3]


def test_where_nothing_is_missing_nothing_is_done() -> None:
    with pytest.raises(Fatal, match="nothing is missing"):
        plan(stand(40, s0=4), 40, 4, log("0:5", start=40))


@pytest.mark.parametrize(
    ("to", "why"), [(39, "counted twice"), (44, "holds offsets 50 to 90"), (91, "holds offsets 50 to 90")]
)
def test_an_offset_that_repeats_or_does_not_exist_is_refused(to: int, why: str) -> None:
    with pytest.raises(Fatal, match=why):
        check_offset(stand(40), to, 50, 90)


def test_a_batch_that_archive_has_begun_is_neither_cut_nor_inserted_twice() -> None:
    begun = msgspec.msgpack.encode(Intent(60, "token"))
    archive = stand(40, begun, "archive.t")
    assert check_offset(archive, 40, 30, 90) == begun
    with pytest.raises(Fatal, match="--to 60 or later"):
        check_offset(archive, 59, 30, 90)
    assert check_offset(archive, 60, 30, 90) == b""


def test_what_is_lost_is_named() -> None:
    text = "\n".join(loss(stand(40, s0=4), plan_skip({"0": 4}, 90, 4, log("0:7", start=90)), 90, 50))
    assert "position 40 -> 90" in text
    assert "offsets 40 to 89 (10 of them are not in the log any more)" in text
    assert "numbers 5 to 6 of input partition 0 (2 records)" in text


def test_half_a_place_is_refused() -> None:
    answer = CliRunner().invoke(app, ["rebase", "--service", "rules", "--to", "5"])
    assert answer.exit_code == 2
    assert "belong together" in answer.output
