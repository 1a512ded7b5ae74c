"""`touchstream quality` on a real engine, over events that ingest itself has standardised."""

import json
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from services.chassis.clickhouse import Clickhouse
from services.chassis.clock import now_ms
from services.chassis.records import Record
from services.ingest.core.model import Accepted, Arrival
from services.ingest.core.source import Source
from services.ingest.core.touchpoint import judge
from services.profile.archive.core.rows import event_rows, identity_rows
from tests.integration import archive_backends

DAY_MS = 86_400_000
KEYS = """
sources:
  shop:
    rules:
      - {event: Order Completed, required: [properties.coupon, userId]}
    keys: [{sha256: "%s"}]
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clickhouse]:
    settings = archive_backends.settings_of(tmp_path_factory.mktemp("quality"))
    with archive_backends.clickhouse(settings) as url, archive_backends.database(url, "quality") as server:
        yield server


@pytest.fixture
def server(database: Clickhouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clickhouse:
    archive_backends.truncate(database)
    keys = tmp_path / "keys.yaml"
    keys.write_text(KEYS % ("0" * 64))
    monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_URL", database.url)
    monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_DATABASE", database.database)
    monkeypatch.setenv("TOUCHSTREAM_INGEST_WRITE_KEYS", str(keys))
    return database


def save(server: Clickhouse, *messages: tuple[str, str, dict[str, Any]], ago_days: float = 0) -> None:
    """(source, customer, message) each, as ingest accepts it."""
    now = now_ms() - int(ago_days * DAY_MS)
    records, values = [], []
    for number, (source, customer, message) in enumerate(messages):
        raw = json.dumps({"messageId": f"e{number}"} | message).encode()
        found = judge(raw, Arrival(Source(source, zone=UTC), now), lambda: "")
        assert isinstance(found, Accepted), found
        touchpoint = msgspec.structs.asdict(found.touchpoint)
        places = {"n": number, "node": f"n:{customer}", "place_generation": now, "place_partition": 0,
                  "place_offset": number, "batch": 0}  # fmt: skip
        values.append(touchpoint | places)
        records.append(Record("touchpoints.resolved", 0, number, customer.encode(), b"", {}, now))
    (rows,) = event_rows(records, values)
    server.insert(rows.table, rows.columns, rows.data, None)


def merge(server: Clickhouse, into: str, of: str) -> None:
    value = {
        "g": 1, "batch": 0, "kind": "merged", "customer_id": into, "from_id": of, "nodes": [f"n:{into}", f"n:{of}"],
        "reason": "", "cause": "", "event_id": "", "source": "", "occurred_at": 0, "accepted_at": 0,
    }  # fmt: skip
    for rows in identity_rows([Record("identity.changes", 0, 1, into.encode(), b"", {}, 0)], [value]):
        server.insert(rows.table, rows.columns, rows.data, None)


def identify(user: str, moment: str = "", **traits: Any) -> dict[str, Any]:
    return {"type": "identify", "userId": user, "traits": traits} | ({"timestamp": moment} if moment else {})


def order(user: str, **properties: object) -> dict[str, Any]:
    return {"type": "track", "event": "Order Completed", "userId": user, "properties": properties}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["quality", *arguments], env={"COLUMNS": "200"})


def lines(*arguments: str) -> list[dict[str, Any]]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_completeness_counts_events_and_customers_of_each_source(server: Clickhouse) -> None:
    save(
        server, ("shop", "a", identify("1", phone="13912345678", city="")), ("shop", "b", identify("2")),
        ("shop", "a", order("1", total=5, coupon="X")), ("shop", "b", order("2", total=5, coupon="")),
        ("crm", "a", identify("1", "", **{"$set_once": {"channel": "fair"}})),
    )  # fmt: skip
    found = {(one["source"], one["kind"], one["field"], one["of"]): one for one in lines("completeness")}
    assert set(found) == {
        ("shop", "identifier", "user_id", ""), ("shop", "identifier", "phone", ""), ("shop", "trait", "phone", ""),
        ("shop", "required", "properties.coupon", "Order Completed"), ("shop", "required", "userId", "Order Completed"),
        ("crm", "identifier", "user_id", ""), ("crm", "trait", "channel", ""),
    }  # fmt: skip
    phone = found["shop", "trait", "phone", ""]
    assert (phone["events"], phone["of_events"], phone["events_share"]) == (1, 4, 0.25)
    assert (phone["customers"], phone["of_customers"], phone["customers_share"]) == (1, 2, 0.5)
    assert phone["first_seen"] == phone["last_seen"] is not None
    coupon = found["shop", "required", "properties.coupon", "Order Completed"]
    assert (coupon["events"], coupon["of_events"], coupon["customers"], coupon["of_customers"]) == (1, 2, 1, 2)
    assert found["shop", "required", "userId", "Order Completed"]["events_share"] == 1


def test_completeness_of_one_source_and_of_the_last_days(server: Clickhouse) -> None:
    save(server, ("shop", "a", identify("1", level="gold")), ("crm", "a", identify("1", level="gold")), ago_days=10)
    save(server, ("shop", "a", identify("1", nick="x")))
    assert {one["source"] for one in lines("completeness", "--source", "crm")} == {"crm"}
    recent = {(one["source"], one["field"]) for one in lines("completeness", "--days", "3") if one["events"]}
    assert recent == {("shop", "user_id"), ("shop", "nick")}
    unknown = run("completeness", "--source", "shpo")
    assert unknown.exit_code == 1
    assert "there are crm, shop" in unknown.stderr


def test_a_required_field_that_never_came_says_so(server: Clickhouse) -> None:
    save(server, ("shop", "a", order("1", total=5)))
    shown = run("completeness")
    assert "properties.coupon of Order Completed" in shown.stdout
    assert "never" in shown.stdout


def test_two_sources_that_differ_now_are_a_conflict_that_the_later_event_time_decides(server: Clickhouse) -> None:
    save(
        server,
        ("crm", "a", identify("1", "2026-03-01T00:00:00Z", city="北京", name="Li Lei")),
        ("shop", "b", identify("1", "2026-01-01T00:00:00Z", city="上海", name="Li Lei", phone="13912345678")),
        ("till", "b", identify("1", "2026-02-01T00:00:00Z", phone="13712345678")),
        ("shop", "c", identify("9", "2026-02-01T00:00:00Z", city="广州")),
    )
    assert [(one["customer_id"], one["trait"]) for one in lines("conflicts")] == [("b", "phone")]
    merge(server, "a", "b")
    found = {(one["customer_id"], one["trait"]): one for one in lines("conflicts")}
    assert set(found) == {("a", "city"), ("a", "city_code"), ("a", "phone")}
    city = found["a", "city"]
    assert [(one["source"], one["value"]) for one in city["statements"]] == [("crm", "北京市"), ("shop", "上海市")]
    assert (city["winner"], city["why"]) == ("crm", "later by event time (2026-03-01T00:00:00.000Z)")
    assert [one["value"] for one in found["a", "phone"]["statements"]] == ["+86137****5678", "+86139****5678"]
    assert {one["trait"] for one in lines("conflicts", "--source", "till")} == {"phone"}


def test_what_a_source_said_before_or_took_back_is_no_conflict(server: Clickhouse) -> None:
    save(
        server,
        ("crm", "a", identify("1", "2026-01-01T00:00:00Z", level="gold", tier="1")),
        ("shop", "a", identify("1", "2026-01-02T00:00:00Z", level="silver", tier="2", **{"$set_once": {"tier": "9"}})),
        ("crm", "a", identify("1", "2026-01-03T00:00:00Z", level="silver", **{"$unset": ["tier"]})),
    )
    assert lines("conflicts") == []
    assert "nothing found" in run("conflicts").stdout


def test_the_winner_is_the_one_that_profile_chooses(server: Clickhouse) -> None:
    """Equal times: the higher event id counts, and a null takes part."""
    save(
        server, ("crm", "a", identify("1", "2026-01-01T00:00:00Z", level="b")),
        ("shop", "a", identify("1", "2026-01-01T00:00:00Z", level="a")),
        ("till", "a", identify("1", "2026-01-01T00:00:00Z", level=None)),
    )  # fmt: skip
    (one,) = lines("conflicts")
    assert [said["source"] for said in one["statements"]] == ["till", "shop", "crm"]
    assert one["statements"][0]["value"] == "none"
    assert one["why"].startswith("the same event time")


def test_the_table_of_conflicts_says_what_it_leaves_out_and_shows_no_name(server: Clickhouse) -> None:
    for user in "abc":
        save(server, ("crm", user, identify(user, name="Han Meimei")), ("shop", user, identify(user, name="Mei Han")))
    shown = run("conflicts", "--limit", "2")
    assert shown.exit_code == 0, shown.output
    assert "1 more (--limit, --json)" in shown.stdout
    assert "Meimei" not in shown.stdout


def test_standardised_tells_changed_refused_and_clamped_apart(server: Clickhouse) -> None:
    save(
        server,
        ("shop", "a", identify("1", phone="139 1234 5678", city="深圳", email="Li@EXAMPLE.com")),
        ("shop", "a", identify("1", phone="+8613912345678", id_card="11010519491231002x", email="nobody at all")),
        ("shop", "b", identify("2", "1971-01-01T00:00:00Z", phone="12345", id_card="110105194912310021")),
        ("shop", "b", identify("2", address={"state": "广东", "city": "深圳市"})),
    )
    found = {one["field"]: one for one in lines("standardised")}
    counts = {field: (one["values"], one["changed"], one["invalid"], one["clamped"]) for field, one in found.items()}
    assert counts == {
        "traits.phone": (3, 1, 1, 0), "traits.city": (1, 1, 0, 0), "traits.email": (2, 1, 1, 0),
        "traits.id_card": (2, 1, 1, 0), "timestamp": (0, 0, 0, 1), "traits.address.state": (0, 1, 0, 0),
    }  # fmt: skip
    assert found["traits.city"]["examples"] == ["深圳 → 深圳市"]
    assert found["timestamp"]["examples"] == ["1971-01-01T00:00:00Z clamped"]
    assert found["traits.phone"]["examples"] == ["139****678 → +86139****5678", "1****5 refused"]
    said = " ".join(example for one in found.values() for example in one["examples"])
    for secret in ("1234", "11010519491231002", "nobody at all", "Li@"):
        assert secret not in said


def test_the_tables_are_for_people(server: Clickhouse) -> None:
    assert "nothing found" in run("standardised").stdout
    save(server, ("shop", "a", identify("1", phone="139 1234 5678")))
    assert "139****678 → +86139****5678" in run("standardised").stdout
    assert "source shop" in run("completeness").stdout


def test_without_clickhouse_it_is_one_sentence(server: Clickhouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_URL", "http://127.0.0.1:1")
    for command in ("completeness", "conflicts", "standardised"):
        result = run(command)
        assert result.exit_code == 1
        assert "ClickHouse at http://127.0.0.1:1" in result.stderr
        assert "Traceback" not in result.output
