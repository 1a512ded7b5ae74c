"""One bad record costs itself only; hand-overs are passed over."""

import pytest
from msgspec.structs import replace

from services.chassis.records import Record
from services.chassis.registry import open_registry
from services.chassis.testing.examples import all_examples
from services.profile.archive.core.rows import FEEDS, Feed
from services.profile.archive.decode import Decoder
from services.profile.codec import ProfileWriter
from services.profile.core.customer_log import Fact
from services.profile.core.state import Changes
from tests.unit.archive.archive_doubles import event, touchpoint

AT = 1_750_000_000_000


def plain(topic: str, value: bytes | None, key: bytes = b"c") -> Record:
    return Record(topic, 0, 1, key, value, {}, AT)


@pytest.mark.parametrize("feed", FEEDS.values(), ids=lambda feed: feed.topic)
def test_every_example_of_the_schemas_is_archived(feed: Feed) -> None:
    headers = event(1).headers
    examples = list(all_examples(feed.record))
    records = [Record(feed.topic, 0, at, b"c", example.value, headers, AT) for at, example in enumerate(examples)]
    decoded = Decoder(feed.topic).decode(records)
    assert decoded.dead == []
    assert decoded.rows[0].table == feed.tables[0] or feed.topic == "profile.changes"


def test_a_value_that_is_no_record_goes_to_the_dead_letters_and_the_others_on() -> None:
    records = [event(1), event(2, value=b"\x00\x00"), event(3, value=b"garbage"), event(4)]
    decoded = Decoder("touchpoints.resolved").decode(records)
    assert [(record.offset, bool(reason)) for record, reason in decoded.dead] == [(2, True), (3, True)]
    assert decoded.rows[0].data[decoded.rows[0].columns.index("log_offset")] == [1, 4]


@pytest.mark.parametrize("kind", [b"give", b"take", b"erase"])
def test_hand_overs_are_passed_over_unread(kind: bytes) -> None:
    decoded = Decoder("touchpoints.resolved").decode([event(1, value=b"not looked at", kind=kind)])
    assert (decoded.rows, decoded.dead) == ([], [])


@pytest.mark.parametrize("headers", [{"kind": b"else"}, {"src": b"1.2"}, {"n": b""}, {"node": b"\xff"}])
def test_an_event_with_unreadable_headers_is_a_dead_letter(headers: dict[str, bytes]) -> None:
    decoded = Decoder("touchpoints.resolved").decode([event(1, value=touchpoint(), **headers)])
    assert len(decoded.dead) == 1


def test_a_record_that_killed_the_process_is_not_decoded_again() -> None:
    record = event(1)
    record.poison = "decoding it ended the process 3 times"
    decoded = Decoder("touchpoints.resolved").decode([record])
    assert decoded.dead == [(record, record.poison)]


def test_a_tombstone_is_a_row_in_profiles_and_a_dead_letter_elsewhere() -> None:
    assert len(Decoder("profiles").decode([plain("profiles", None)]).rows[0]) == 1
    assert len(Decoder("profiles").decode([plain("profiles", None, key=b"\xff")]).dead) == 1
    assert len(Decoder("triggers").decode([plain("triggers", None)]).dead) == 1


NOTHING = Changes((), (), "repeat", "repeat")


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        (NOTHING, 0),
        (replace(NOTHING, tags_added=(("vip", "anchor", "reason"),)), 1),
        (replace(NOTHING, tags_removed=("vip",)), 1),
        (replace(NOTHING, stage_to="loyal"), 1),
    ],
)
def test_what_profile_says_changed_nothing_is_passed_over_and_nothing_else_is(changes: Changes, rows: int) -> None:
    output = ProfileWriter(1, open_registry()).change(Fact("tick", "c", None, changes, False, b"{}"), "1.0.1", AT)
    record = Record(output.topic, 0, 1, output.key, output.value, dict(output.headers), AT)
    decoded = Decoder("profile.changes").decode([record])
    assert (len(decoded.rows), decoded.dead) == (rows, [])


def test_of_several_snapshots_of_a_customer_only_the_last_is_inserted() -> None:
    value = next(iter(all_examples("profile"))).value
    records = [Record("profiles", 0, at, key, value, {}, AT) for at, key in enumerate([b"a", b"b", b"a"])]
    (rows,) = Decoder("profiles").decode(records).rows
    assert rows.data[rows.columns.index("log_offset")] == [1, 2]


def test_a_change_whose_tag_lists_differ_in_length_is_a_dead_letter() -> None:
    decoder = Decoder("profile.changes")
    fields = next(iter(all_examples("profile_change"))).fields | {
        "tags_added": ["a"],
        "tag_reasons": [],
        "tag_anchors": [],
    }
    decoded = decoder.decode([plain("profile.changes", decoder._codec.encode(fields))])
    assert len(decoded.dead) == 1
