"""The tables and views of deploy/clickhouse on a real engine: exactly-once inserts, current customers, checks."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from services.chassis.clickhouse import Clickhouse
from services.chassis.errors import Fatal
from services.chassis.records import Record
from services.profile.archive.columns import with_columns
from services.profile.archive.core.rows import FEEDS, Rows
from services.profile.archive.migrate import load_migrations, migrate
from services.profile.archive.settings import ArchiveSettings
from services.profile.archive.tables import TARGETS, problems
from tests.integration import archive_backends

_databases = count(1)
FOLDER = ArchiveSettings().migrations
AT = 1_750_000_000_000


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with archive_backends.clickhouse(archive_backends.settings_of(tmp_path_factory.mktemp("tables"))) as url:
        yield url


@pytest.fixture
def empty(url: str) -> Iterator[Clickhouse]:
    server = archive_backends.empty_database(url, f"tables_{next(_databases)}")
    yield server
    server.command(f"DROP DATABASE {server.database}")
    server.close()


@pytest.fixture(scope="module")
def shared(url: str) -> Iterator[Clickhouse]:
    with archive_backends.database(url, "tables") as server:
        yield server


@pytest.fixture
def server(shared: Clickhouse) -> Clickhouse:
    archive_backends.truncate(shared)
    return shared


def event(offset: int, customer: str, node: str, **changes: object) -> tuple[Record, dict[str, object]]:
    record = Record("touchpoints.resolved", 0, offset, customer.encode(), b"", {}, AT + offset)
    value: dict[str, object] = {
        "event_id": f"e{offset}", "type": "track", "name": "Order Completed", "occurred_at": AT, "received_at": AT,
        "source": "shop", "order_id": "", "amount_minor": 100, "currency": "CNY", "identifiers": ["phone:+86138"],
        "properties": b'{"a":1}', "traits": b"{}", "context": b"{}", "originals": b"{}", "flags": 0, "n": offset,
        "node": node, "place_generation": 1, "place_partition": 0, "place_offset": offset, "batch": 0,
    }  # fmt: skip
    return record, value | changes


def change(
    offset: int, g: int, kind: str, customer: str, nodes: list[str], from_id: str = ""
) -> tuple[Record, dict[str, object]]:
    record = Record("identity.changes", 0, offset, customer.encode(), b"", {}, AT + offset)
    return record, {
        "g": g, "kind": kind, "customer_id": customer, "from_id": from_id, "nodes": nodes, "reason": "", "cause": "",
        "event_id": "", "source": "shop", "occurred_at": AT, "accepted_at": AT, "batch": 0,
    }  # fmt: skip


def snapshot(offset: int, customer: str, rev: int, **changes: object) -> tuple[Record, dict[str, object]]:
    record = Record("profiles", 0, offset, customer.encode(), b"", {}, AT + offset)
    value: dict[str, object] = {
        "customer_id": customer, "rev": rev, "n": rev, "deleted": False, "first_seen": AT, "last_seen": AT,
        "stage": "prospect", "stage_since": AT, "tags": b"[]", "traits": b"{}", "identifiers": ["phone:138****"],
        "nodes": ["phone:1"], "recency_days": -1, "frequency": 0, "monetary_minor": 0, "currency": "", "r": 0, "f": 0,
        "m": 0, "thresholds_version": 0, "events": 1, "updated_at": AT,
    }  # fmt: skip
    return record, value | changes


def rows_of(topic: str, *pairs: tuple[Record, dict[str, object]]) -> list[Rows]:
    return [rows for rows in FEEDS[topic].rows([r for r, _ in pairs], [v for _, v in pairs]) if len(rows)]


def insert(server: Clickhouse, topic: str, *pairs: tuple[Record, dict[str, object]], token: str | None = None) -> None:
    for rows in rows_of(topic, *pairs):
        server.insert(rows.table, rows.columns, rows.data, token and f"{token}/{rows.table}")


def one(server: Clickhouse, sql: str) -> object:
    (row,) = server.query_rows(sql)
    (value,) = row.values()
    return value


def test_migrating_twice_applies_everything_once(empty: Clickhouse) -> None:
    files = load_migrations(FOLDER)
    assert migrate(empty, files) == [migration.name for migration in files]
    assert migrate(empty, files) == []
    assert one(empty, "SELECT count() FROM schema_migrations") == len(files)


def test_a_migration_that_failed_half_way_is_finished_by_the_next_run(empty: Clickhouse, tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("CREATE TABLE IF NOT EXISTS a (x Int64) ENGINE = Memory;\nSELECT nonsense;\n")
    with pytest.raises(Fatal):
        migrate(empty, load_migrations(tmp_path))
    (tmp_path / "0001_a.sql").write_text("CREATE TABLE IF NOT EXISTS a (x Int64) ENGINE = Memory;\nSELECT 1;\n")
    assert migrate(empty, load_migrations(tmp_path)) == ["0001_a.sql"]


def test_an_applied_file_that_was_edited_is_refused_and_named(empty: Clickhouse, tmp_path: Path) -> None:
    path = tmp_path / "0001_a.sql"
    path.write_text("CREATE TABLE IF NOT EXISTS a (x Int64) ENGINE = Memory;\n")
    migrate(empty, load_migrations(tmp_path))
    path.write_text("CREATE TABLE IF NOT EXISTS a (x Int32) ENGINE = Memory;\n")
    with pytest.raises(Fatal, match=r"0001_a\.sql was applied .* never edited"):
        migrate(empty, load_migrations(tmp_path))


def test_the_shipped_tables_are_fit_for_exactly_once_inserts(server: Clickhouse) -> None:
    assert problems(server) == []


def test_a_table_without_a_window_or_with_a_view_that_has_none_is_found(empty: Clickhouse) -> None:
    server = empty
    migrate(server, load_migrations(FOLDER))
    server.command("ALTER TABLE triggers_raw MODIFY SETTING non_replicated_deduplication_window = 10")
    server.command("CREATE TABLE copy (event_id String) ENGINE = MergeTree ORDER BY event_id")
    server.command("CREATE MATERIALIZED VIEW copier TO copy AS SELECT event_id FROM events_raw")
    server.command("DROP TABLE deliveries_raw")
    found = "; ".join(problems(server))
    assert "triggers_raw: non_replicated_deduplication_window is 10" in found
    assert "copy: non_replicated_deduplication_window is 0" in found
    assert "deliveries_raw does not exist" in found


def test_a_table_that_acknowledges_before_it_has_written_is_found(empty: Clickhouse) -> None:
    migrate(empty, load_migrations(FOLDER))
    empty.command("ALTER TABLE events_raw MODIFY SETTING fsync_after_insert = 0")
    empty.command("ALTER TABLE triggers_raw RESET SETTING fsync_part_directory")
    assert problems(empty) == [
        "events_raw: fsync_after_insert must be 1, or a power loss takes acknowledged rows away",
        "triggers_raw: fsync_part_directory must be 1, or a power loss takes acknowledged rows away",
    ]


@pytest.mark.parametrize("table", [*TARGETS, "rfm_thresholds", "corrections"])
def test_an_insert_is_on_disk_when_it_is_acknowledged(server: Clickhouse, table: str) -> None:
    def synced() -> tuple[int, int]:
        found = server.query_rows("SELECT event, value FROM system.events WHERE event IN ('FileSync', 'DirectorySync')")
        counts = {row["event"]: row["value"] for row in found}
        return counts.get("FileSync", 0), counts.get("DirectorySync", 0)

    texts = "SELECT name FROM system.columns WHERE database = {d:String} AND table = {t:String} AND type = 'String'"
    column = server.query_rows(texts, {"d": server.database, "t": table})[0]["name"]
    files, folders = synced()
    server.insert(table, [column], [["x"]], None)
    after = synced()
    # The data, its index and its checksums, and the names they stand under; tokens alone are one file.
    assert after[0] - files >= 3
    assert after[1] - folders >= 1


@pytest.mark.parametrize("table", TARGETS)
def test_an_insert_repeated_under_its_token_changes_nothing(server: Clickhouse, table: str) -> None:
    columns = server.query_rows(
        "SELECT name, type FROM system.columns WHERE database = {d:String} AND table = {t:String}",
        {"d": server.database, "t": table},
    )
    names = [row["name"] for row in columns]

    def data(first: int) -> list[list[object]]:
        return [[_sample(row["type"], first + i) for i in range(3)] for row in columns]

    for first, token, expected in ((0, "t/0-3", 3), (0, "t/0-3", 3), (10, "t/0-3", 3), (10, "t/3-6", 6)):
        # Only the token speaks, not the content: what a new version would write differently is not written twice.
        server.insert(table, names, data(first), token)
        assert one(server, f"SELECT count() FROM {table}") == expected


def _sample(kind: str, number: int) -> object:
    if kind.startswith("Array"):
        return [f"x{number}"]
    if "String" in kind:
        return f"x{number}"
    return number % 2 if kind == "UInt8" else AT + number if kind.startswith("DateTime") else number


def test_rows_of_two_months_are_inserted_once_although_a_month_is_a_part(server: Clickhouse) -> None:
    pairs = [event(i, "c", "phone:1") for i in range(4)]
    for record, _ in pairs[2:]:
        record.log_ms += 40 * 86_400_000
    insert(server, "touchpoints.resolved", *pairs, token="t")
    insert(server, "touchpoints.resolved", *pairs, token="t")
    assert one(server, "SELECT count() FROM events_raw") == 4


def test_rows_written_again_beyond_the_window_show_as_copies_and_collapse(server: Clickhouse) -> None:
    insert(server, "touchpoints.resolved", event(1, "c", "phone:1"), event(2, "c", "phone:1"), token="a")
    assert one(server, "SELECT sum(copies) FROM duplicates_daily") == 0
    insert(server, "touchpoints.resolved", event(1, "c", "phone:1"), token="b")
    assert one(server, "SELECT sum(copies) FROM duplicates_daily") == 1
    server.command("OPTIMIZE TABLE events_raw FINAL")
    assert one(server, "SELECT count() FROM events_raw") == 2
    assert one(server, "SELECT sum(copies) FROM duplicates_daily") == 0


def test_an_event_id_accepted_twice_shows_as_a_repeat(server: Clickhouse) -> None:
    insert(server, "touchpoints.resolved", event(1, "c", "phone:1"), event(2, "c", "phone:1", event_id="e1"))
    assert server.query_rows("SELECT sum(copies) AS copies, sum(repeats) AS repeats FROM duplicates_daily") == [
        {"copies": 0, "repeats": 1}
    ]


def customers_of(server: Clickhouse, view: str = "events", key: str = "event_id") -> dict[str, str]:
    return {row[key]: row["customer_id"] for row in server.query_rows(f"SELECT {key}, customer_id FROM {view}")}


def test_merge_split_and_erasure_show_in_every_query_at_once_whatever_arrives_first(server: Clickhouse) -> None:
    insert(server, "touchpoints.resolved", event(1, "A", "n:1"), event(2, "B", "n:2"), event(3, "D", "n:4"))
    links = change(1, 1, "linked", "A", ["n:1"]), change(2, 2, "linked", "B", ["n:2", "n:3"])
    insert(server, "identity.changes", *links, change(3, 3, "linked", "D", ["n:4"]))
    assert customers_of(server) == {"e1": "A", "e2": "B", "e3": "D"}
    # The later merge arrives before the earlier one: the higher g wins.
    insert(server, "identity.changes", change(5, 5, "merged", "D", ["n:4", "n:1", "n:2", "n:3"], from_id="A"))
    insert(server, "identity.changes", change(4, 4, "merged", "A", ["n:1", "n:2", "n:3"], from_id="B"))
    assert customers_of(server) == {"e1": "D", "e2": "D", "e3": "D"}
    insert(server, "identity.changes", change(6, 6, "split", "E", ["n:2", "n:3"], from_id="D"))
    assert customers_of(server) == {"e1": "D", "e2": "E", "e3": "D"}
    ended = {row["ended_id"]: row["customer_id"] for row in server.query_rows("SELECT * FROM ended_customers")}
    assert ended == {"A": "D", "B": "E"} or ended == {"A": "E", "B": "E"}
    insert(server, "identity.changes", change(7, 7, "erased", "D", ["n:4", "n:1"]))
    assert customers_of(server) == {"e2": "E"}
    assert customers_of(server, "identifiers", "node") == {"n:2": "E", "n:3": "E"}


def test_what_happened_under_a_number_stays_with_its_former_owner(server: Clickhouse) -> None:
    insert(
        server, "identity.changes", change(1, 1, "linked", "A", ["u:1", "p:1"]), change(2, 2, "linked", "B", ["u:2"])
    )
    insert(server, "identity.changes", change(3, 3, "moved", "B", ["p:1b", "p:1", "p:1"], from_id="A"))
    insert(server, "touchpoints.resolved", event(1, "A", "p:1"), event(2, "B", "p:1b"))
    assert customers_of(server) == {"e1": "A", "e2": "B"}
    renewed = {"identifier": "p:1", "current_node": "p:1b", "customer_id": "B", "since_g": 3}
    assert server.query_rows("SELECT * FROM renewed_identifiers") == [renewed]
    insert(server, "identity.changes", change(4, 4, "merged", "B", ["u:2", "p:1b", "u:1", "p:1"], from_id="A"))
    insert(server, "identity.changes", change(5, 5, "expired", "B", ["p:1c", "p:1b", "p:1"]))
    assert customers_of(server) == {"e1": "B", "e2": "B"}
    assert server.query_rows("SELECT customer_id, current_node FROM renewed_identifiers") == [
        {"customer_id": "", "current_node": "p:1c"}
    ]


def test_tags_triggers_and_deliveries_follow_the_merged_customer(server: Clickhouse) -> None:
    insert(server, "identity.changes", change(1, 1, "merged", "A", ["n:1", "n:2"], from_id="B"))
    insert(server, "identity.changes", change(2, 2, "merged", "C", ["n:3", "n:1", "n:2"], from_id="A"))
    change_value = {
        "customer_id": "B", "changed_at": AT, "occurred_at": AT, "kind": "event", "name": "x", "event_id": "e",
        "source": "s", "cause": "1.0.1", "tags_added": ["vip"], "tag_reasons": ["rich"], "tag_anchors": ["e"],
        "tags_removed": ["potential"], "stage_from": "prospect", "stage_to": "repeat",
    }  # fmt: skip
    insert(server, "profile.changes", (Record("profile.changes", 0, 1, b"B", b"", {}, AT), change_value))
    trigger = {
        "trigger_id": "t1", "rule": "welcome", "rule_version": "1", "customer_id": "B", "anchor": "e", "cause": "1.0.1",
        "event_id": "e", "name": "x", "fired_at": AT, "accepted_at": AT, "actions": b"[]", "profile": b"{}",
        "properties": b"{}",
    }  # fmt: skip
    insert(server, "triggers", (Record("triggers", 0, 1, b"B", b"", {}, AT), trigger))
    delivery = {
        "delivery_id": "d1", "trigger_id": "t1", "customer_id": "B", "rule": "welcome", "channel": "sink",
        "destination": "sink", "status": "failed", "attempts": 1, "error": "", "provider_id": "", "fired_at": AT,
        "accepted_at": AT, "finished_at": AT,
    }  # fmt: skip
    late = delivery | {"status": "delivered", "attempts": 2, "finished_at": AT + 5}
    insert(server, "deliveries", (Record("deliveries", 0, 1, b"B", b"", {}, AT), delivery))
    insert(server, "deliveries", (Record("deliveries", 0, 2, b"B", b"", {}, AT), late))
    assert server.query_rows("SELECT customer_id, tag, change, reason FROM tag_changes ORDER BY change") == [
        {"customer_id": "C", "tag": "vip", "change": "added", "reason": "rich"},
        {"customer_id": "C", "tag": "potential", "change": "removed", "reason": ""},
    ]
    assert customers_of(server, "stage_changes", "stage_to") == {"repeat": "C"}
    assert customers_of(server, "triggers", "trigger_id") == {"t1": "C"}
    assert server.query_rows("SELECT customer_id, status, attempts FROM deliveries") == [
        {"customer_id": "C", "status": "delivered", "attempts": 2}
    ]


def test_customers_shows_the_newest_snapshot_of_those_who_still_exist(server: Clickhouse) -> None:
    tags = b'[{"name":"vip","since":1750000000000,"reason":"rich"}]'
    insert(server, "profiles", snapshot(1, "A", 2, stage="repeat", tags=tags), snapshot(2, "B", 1))
    insert(server, "profiles", snapshot(3, "A", 1, stage="prospect"), snapshot(4, "B", 2, deleted=True))
    insert(server, "profiles", snapshot(5, "C", 7), (Record("profiles", 0, 6, b"C", b"", {}, AT), {}))
    assert server.query_rows("SELECT customer_id, stage, tags FROM customers") == [
        {"customer_id": "A", "stage": "repeat", "tags": ["vip"]}
    ]


def test_a_customer_ended_by_a_tombstone_stays_ended_whatever_arrives_late(server: Clickhouse) -> None:
    insert(server, "profiles", (Record("profiles", 0, 6, b"C", b"", {}, AT), {}))
    insert(server, "profiles", snapshot(5, "C", 7))
    assert server.query_rows("SELECT customer_id FROM customers") == []


def test_the_documented_columns_are_those_of_the_database(server: Clickhouse) -> None:
    text = (FOLDER / "README.md").read_text()
    assert with_columns(text, server) == text, "run: python -m services.profile.archive.columns"


def test_every_table_and_view_is_documented(server: Clickhouse) -> None:
    rows = server.query_rows("SELECT name FROM system.tables WHERE database = {d:String}", {"d": server.database})
    text = (FOLDER / "README.md").read_text()
    assert [row["name"] for row in rows if f"<!-- columns {row['name']} -->" not in text] == ["schema_migrations"]
