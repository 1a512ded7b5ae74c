"""Columns of every table from decoded records."""

import re
from pathlib import Path

import pytest

from services.chassis.records import Record
from services.chassis.testing.examples import all_examples
from services.profile.archive.core.rows import FEEDS, FINAL_REV, Feed, Rows, change_rows, header_fields, identity_rows

ROOT = Path(__file__).parents[3]
AT = 1_750_000_000_000


def record(offset: int = 7, key: bytes = b"c") -> Record:
    return Record("topic", 3, offset, key, b"", {"n": b"1", "node": b"phone:ab", "src": b"1.2.3"}, AT)


def dicts(rows: Rows) -> list[dict[str, object]]:
    return [dict(zip(rows.columns, row, strict=True)) for row in zip(*rows.data, strict=True)]


def columns_of(table: str) -> list[str]:
    """Column names of a table as its CREATE statement has them, and those that were added since."""
    text = "".join(path.read_text() for path in sorted((ROOT / "deploy/clickhouse").glob("*.sql")))
    body = text.split(f"CREATE TABLE IF NOT EXISTS {table}\n(")[1].split("\n)\n")[0]
    added = re.findall(rf"^ALTER TABLE {table} ADD COLUMN IF NOT EXISTS\s+(\w+) ", text, re.MULTILINE)
    return re.findall(r"^    (?!INDEX)(\w+) ", body, re.MULTILINE) + added


@pytest.mark.parametrize("feed", FEEDS.values(), ids=lambda feed: feed.topic)
def test_every_column_of_every_table_is_written(feed: Feed) -> None:
    values = [example.fields | header_fields(record().headers) for example in all_examples(feed.record)]
    written = {rows.table: sorted(rows.columns) for rows in feed.rows([record()] * len(values), values)}
    assert written == {table: sorted(columns_of(table)) for table in feed.tables}


@pytest.mark.parametrize("feed", FEEDS.values(), ids=lambda feed: feed.topic)
def test_all_columns_of_a_batch_have_the_same_length(feed: Feed) -> None:
    values = [example.fields | header_fields(record().headers) for example in all_examples(feed.record)]
    for rows in feed.rows([record()] * len(values), values):
        assert {len(column) for column in rows.data} == {len(rows)}, rows.table


def test_an_empty_batch_gives_empty_columns() -> None:
    for feed in FEEDS.values():
        assert [len(rows) for rows in feed.rows([], [])] == [0] * len(feed.tables)


def test_headers_of_an_event_become_numbers() -> None:
    assert header_fields({"n": b"12", "node": b"phone:ab", "src": b"1.2.345", "batch": b"17.300.350"}) == {
        "n": 12, "node": "phone:ab", "place_generation": 1, "place_partition": 2, "place_offset": 345, "batch": 17,
    }  # fmt: skip


@pytest.mark.parametrize("header", [None, b"", b"x.1.2", b"-1.1.2", b"9" * 30])
def test_a_batch_that_is_not_told_is_0(header: bytes | None) -> None:
    headers = {"n": b"1", "node": b"a:b", "src": b"1.2.3"} | ({} if header is None else {"batch": header})
    assert header_fields(headers)["batch"] == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"node": b"a:b", "src": b"1.2.3"}, {"n": b"1", "src": b"1.2.3"}, {"n": b"1", "node": b"a:b"},
        {"n": b"x", "node": b"a:b", "src": b"1.2.3"}, {"n": b"-1", "node": b"a:b", "src": b"1.2.3"},
        {"n": b"1", "node": b"a:b", "src": b"1.2"}, {"n": b"1", "node": b"a:b", "src": b"1.2.3.4"},
        {"n": b"9" * 30, "node": b"a:b", "src": b"1.2.3"}, {"n": b"1", "node": b"\xff", "src": b"1.2.3"},
        {"n": b"1", "node": b"a:b", "src": b"1.4294967296.3"},
    ],
)  # fmt: skip
def test_headers_that_do_not_read_as_they_should_are_refused(headers: dict[str, bytes]) -> None:
    with pytest.raises((KeyError, ValueError)):
        header_fields(headers)


def identity(kind: str, nodes: list[str], **changes: object) -> dict[str, object]:
    empty = {
        "from_id": "",
        "reason": "",
        "cause": "",
        "event_id": "",
        "source": "",
        "occurred_at": AT,
        "accepted_at": AT,
    }
    return {"g": 5, "kind": kind, "customer_id": "c", "nodes": nodes} | empty | changes


def test_links_merges_splits_and_erasures_map_every_node_and_the_rest_maps_none() -> None:
    kinds = ("linked", "merged", "split", "erased", "conflict", "blocked", "refused")
    changes, mapped = identity_rows([record()] * 7, [identity(kind, [f"n:{kind}", "n:2"]) for kind in kinds])
    assert len(changes) == 7
    assert [(row["node"], row["moved"], row["customer_id"]) for row in dicts(mapped)][::2] == [
        ("n:linked", 0, "c"), ("n:merged", 1, "c"), ("n:split", 1, "c"), ("n:erased", 1, ""),
    ]  # fmt: skip
    assert {row["g"] for row in dicts(mapped)} == {5}


def test_an_identifier_that_is_moved_maps_its_new_node_and_leaves_the_former_one() -> None:
    _, mapped = identity_rows(
        [record()] * 2, [identity(kind, ["n:new", "n:old", "n:id"]) for kind in ("moved", "expired")]
    )
    assert [(row["node"], row["moved"], row["customer_id"]) for row in dicts(mapped)] == [("n:new", 0, "c")]


def change(**changes: object) -> dict[str, object]:
    value: dict[str, object] = {
        "customer_id": "c", "changed_at": AT, "occurred_at": AT, "kind": "event", "name": "x", "event_id": "e",
        "source": "s", "cause": "1.0.1", "tags_added": [], "tags_removed": [], "tag_reasons": [], "tag_anchors": [],
        "stage_from": "repeat", "stage_to": "repeat",
    }  # fmt: skip
    return value | changes


def test_a_change_gives_a_row_per_tag_and_one_per_stage() -> None:
    added = change(tags_added=["a", "b"], tag_reasons=["ra", "rb"], tag_anchors=["x", "y"], tags_removed=["c"])
    tags, stages = change_rows([record(1), record(2), record(3)], [added, change(), change(stage_to="loyal")])
    assert [(row["tag"], row["change"], row["reason"], row["anchor"], row["k"]) for row in dicts(tags)] == [
        ("a", "added", "ra", "x", 0), ("b", "added", "rb", "y", 1), ("c", "removed", "", "", 2),
    ]  # fmt: skip
    assert [(row["stage_from"], row["stage_to"], row["log_offset"]) for row in dicts(stages)] == [
        ("repeat", "loyal", 3)
    ]


def test_a_tombstone_ends_a_customer_above_every_snapshot() -> None:
    (rows,) = FEEDS["profiles"].rows([record(key=b"gone")], [{}])
    (row,) = dicts(rows)
    assert (row["customer_id"], row["deleted"], row["rev"]) == ("gone", 1, FINAL_REV)
