"""Numbers of a relay: a repeat is dropped, a gap and a number used for two records are told."""

from tests.chaos.rig.observe import Channels
from tests.chaos.rig.tail import Seen


def record(offset: int, number: int, value: bytes = b"v") -> Seen:
    return Seen("triggers", 1, offset, b"k", value, {"seq": f"0:{number}"})


def test_a_repeat_is_the_same_record_and_counts_once() -> None:
    kept, wrong = Channels().sift([record(0, 1), record(1, 2), record(2, 2), record(3, 3)])
    assert [seen.offset for seen in kept] == [0, 1, 3]
    assert wrong == []


def test_a_missing_number_is_told() -> None:
    _, wrong = Channels().sift([record(0, 1), record(1, 3)])
    assert wrong == ["triggers/1@1 seq 0:3: the number before was 1, a record is missing"]


def test_a_number_used_again_for_another_record_is_told() -> None:
    _, wrong = Channels().sift([record(0, 1, b"one"), record(1, 1, b"other")])
    assert wrong == ["triggers/1@1 seq 0:1: this number was another record before"]


def test_numbers_go_on_from_one_seed_to_the_next() -> None:
    channels = Channels()
    channels.sift([record(0, 1)])
    _, wrong = channels.sift([record(1, 3)])
    assert wrong
