"""What a rebuild of archive makes of the end of a log."""

from services.chassis.records import Record
from services.profile.archive.rebuild import once


def records(*seqs: str) -> list[Record]:
    return [Record("triggers", 0, 100 + at, b"k", b"v", {"seq": seq.encode()}, 0) for at, seq in enumerate(seqs)]


def test_what_was_sent_again_counts_once() -> None:
    found = once(records("0:1", "0:2", "0:1", "0:2", "0:3"), {})
    assert [record.offset for record in found] == [100, 101, 104]


def test_a_repetition_of_what_stands_before_these_records_is_no_row() -> None:
    # It has a place of its own in the log, so that no table would know it: it would be a row for good.
    found = once(records("0:6", "0:7", "1:3", "0:8"), {"0": 7, "1": 2})
    assert [record.offset for record in found] == [102, 103]
