"""`touchstream customers` and `customer show` on a real engine: the fixed interface, now and as of a past day."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli import customers as commands
from cli.customer_facts import iso
from cli.main import app
from services.chassis.clickhouse import Clickhouse
from services.chassis.clock import now_ms
from services.chassis.records import Record
from services.profile.archive.core.rows import customer_rows, event_rows, identity_rows
from services.profile.core.calendar import DAY_MS, Calendar
from tests.integration import archive_backends

CALENDAR = Calendar("Asia/Shanghai")
NOON = DAY_MS // 2
FIELDS = ["customer_id", "identifiers", "traits", "first_seen", "last_seen", "rfm", "stage", "tags", "events"]
RFM = ["recency_days", "frequency", "monetary_minor", "r", "f", "m", "thresholds_version"]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clickhouse]:
    settings = archive_backends.settings_of(tmp_path_factory.mktemp("customers"))
    with archive_backends.clickhouse(settings) as url, archive_backends.database(url, "customers_cli") as server:
        yield server


@pytest.fixture
def server(database: Clickhouse, monkeypatch: pytest.MonkeyPatch) -> Clickhouse:
    archive_backends.truncate(database)
    monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_URL", database.url)
    monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_DATABASE", database.database)
    return database


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def lines(*arguments: str) -> list[dict[str, Any]]:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def at(day: str, offset_ms: int = NOON) -> int:
    """Ms of a moment of a business day."""
    from datetime import date

    return CALENDAR.start_ms((date.fromisoformat(day) - date(1970, 1, 1)).days) + offset_ms


def save_events(server: Clickhouse, *events: tuple[str, str, int, str, int]) -> None:
    """(customer, node, ms, event name, amount minor) each."""
    records, values = [], []
    for number, (customer, node, ms, name, amount) in enumerate(events):
        records.append(Record("touchpoints.resolved", 0, number, customer.encode(), b"", {}, ms))
        values.append({
            "event_id": f"e{number}", "type": "track", "name": name, "occurred_at": ms, "received_at": ms,
            "source": "shop",
            "order_id": f"o{number}" if amount else "", "amount_minor": amount, "currency": "CNY" if amount else "",
            "identifiers": ["phone:+8613800000000"], "properties": b"{}", "traits": b'{"city":"Xi\'an"}',
            "context": b"{}", "originals": b"{}", "flags": 0, "n": number, "node": node, "place_generation": 1,
            "place_partition": 0, "place_offset": number, "batch": 0,
        })  # fmt: skip
    (rows,) = event_rows(records, values)
    server.insert(rows.table, rows.columns, rows.data, None)


def save_customer(server: Clickhouse, customer: str, **changes: object) -> None:
    value: dict[str, object] = {
        "customer_id": customer, "rev": 1, "n": 1, "deleted": False, "first_seen": at("2025-01-01"),
        "last_seen": at("2025-03-01"), "stage": "repeat", "stage_since": at("2025-02-01"),
        "tags": b'[{"name":"vip","since":1735700400000,"until":1735786800000,"reason":"rich"}]',
        "traits": b'{"city":"Xian"}',
        "identifiers": ["phone:+86138****0000"], "nodes": ["n:1"], "recency_days": 3, "frequency": 2,
        "monetary_minor": 12900, "currency": "CNY", "r": 4, "f": 5, "m": 3, "thresholds_version": 7, "events": 9,
        "updated_at": now_ms(),
    }  # fmt: skip
    record = Record("profiles", 0, 1, customer.encode(), b"", {}, 0)
    (rows,) = customer_rows([record], [value | changes])
    server.insert(rows.table, rows.columns, rows.data, None)


def test_customers_now_have_exactly_the_fields_of_the_interface(server: Clickhouse) -> None:
    save_customer(server, "b")
    save_customer(server, "a", rev=3, events=10)
    save_customer(server, "gone", deleted=True)
    first, second = lines("customers", "--json")
    assert (first["customer_id"], second["customer_id"]) == ("a", "b")
    assert list(first) == FIELDS
    assert list(first["rfm"]) == RFM
    assert first["first_seen"] == "2025-01-01T04:00:00.000Z"
    moments = {"since": "2025-01-01T03:00:00.000Z", "until": "2025-01-02T03:00:00.000Z"}
    assert first["tags"] == [{"name": "vip", **moments, "reason": "rich"}]
    assert first["traits"] == {"city": "Xian"}
    assert first["rfm"]["thresholds_version"] == 7


def test_a_tag_that_time_does_not_end_has_no_until(server: Clickhouse) -> None:
    save_customer(server, "a", tags=b'[{"name":"vip","since":1735700400000,"until":0,"reason":"rich"}]')
    (one,) = lines("customers", "--json")
    assert one["tags"][0]["until"] is None


def test_as_of_a_day_a_tag_says_until_when_it_would_hold(server: Clickhouse) -> None:
    save_events(server, ("a", "n:1", at("2011-12-01"), "Order Completed", 100))
    (one,) = lines("customers", "--as-of", "2011-12-09", "--json")
    (tag,) = [tag for tag in one["tags"] if tag["name"] == "new_customer"]
    assert tag["until"] == iso(at("2012-01-01", 0))


def test_recency_grows_with_the_days_since_the_snapshot(server: Clickhouse) -> None:
    save_customer(server, "a", updated_at=now_ms() - 10 * DAY_MS)
    save_customer(server, "b", updated_at=now_ms() - 10 * DAY_MS, recency_days=-1)
    assert [one["rfm"]["recency_days"] for one in lines("customers", "--json")] == [13, -1]


def test_recency_in_an_export_grows_with_the_days_since_the_snapshot_too(server: Clickhouse) -> None:
    held = {"tags": json.dumps([{"name": "segment:win_back", "since": NOON, "until": 0, "reason": "quiet"}]).encode()}
    save_customer(server, "a", updated_at=now_ms() - 10 * DAY_MS, **held)
    save_customer(server, "b", updated_at=now_ms() - 10 * DAY_MS, recency_days=-1, **held)
    found = lines("segments", "export", "win_back", "--format", "jsonl")
    assert [one["recency_days"] for one in found] == [13, -1]


def test_as_of_a_day_counts_exactly_what_happened_by_its_end(server: Clickhouse) -> None:
    save_events(
        server,
        ("a", "n:1", at("2011-12-01"), "Order Completed", 100),
        ("a", "n:1", at("2011-12-09", DAY_MS - 1), "Order Completed", 250),
        ("a", "n:1", at("2011-12-10", 0), "Order Completed", 999),
        ("b", "n:2", at("2011-12-08"), "Product Viewed", 0),
        ("c", "n:3", at("2011-12-10"), "Order Completed", 50),
    )
    first, second = lines("customers", "--as-of", "2011-12-09", "--json")
    assert list(first) == FIELDS
    assert (first["customer_id"], first["events"], first["stage"]) == ("a", 2, "repeat")
    assert first["rfm"] == {
        "recency_days": 0, "frequency": 2, "monetary_minor": 350, "r": 1, "f": 1, "m": 1, "thresholds_version": 0,
    }  # fmt: skip
    assert first["traits"] == {"city": "Xi'an"}
    assert (second["customer_id"], second["stage"], second["rfm"]["recency_days"]) == ("b", "prospect", -1)


def test_as_of_a_day_the_scores_are_quintiles_of_that_days_buyers(server: Clickhouse) -> None:
    buyers = [(f"c{n}", f"n:{n}", at("2011-12-09") - n * DAY_MS, "Order Completed", (10 - n) * 100) for n in range(10)]
    save_events(server, *buyers)
    found = {one["customer_id"]: one["rfm"] for one in lines("customers", "--as-of", "2011-12-09", "--json")}
    assert [found[f"c{n}"]["r"] for n in range(10)] == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]
    assert [found[f"c{n}"]["m"] for n in range(10)] == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1]


def test_as_of_a_day_later_merges_apply_and_identifiers_are_masked(server: Clickhouse) -> None:
    save_events(server, ("a", "n:1", at("2011-12-01"), "Registered", 0), ("b", "n:2", at("2011-12-02"), "Logged In", 0))
    merged = {
        "g": 1, "batch": 0, "kind": "merged", "customer_id": "a", "from_id": "b", "nodes": ["n:1", "n:2"], "reason": "",
        "cause": "", "event_id": "", "source": "", "occurred_at": 0, "accepted_at": 0,
    }  # fmt: skip
    for rows in identity_rows([Record("identity.changes", 0, 1, b"a", b"", {}, 0)], [merged]):
        server.insert(rows.table, rows.columns, rows.data, None)
    save_customer(server, "a")
    (one,) = lines("customers", "--as-of", "2011-12-09", "--json")
    assert (one["customer_id"], one["events"], one["identifiers"]) == ("a", 2, ["phone:+86138****0000"])


def test_a_date_that_is_none_is_refused(server: Clickhouse) -> None:
    assert run("customers", "--as-of", "9.12.2011").exit_code == 2


def test_the_table_is_for_people_and_says_what_it_leaves_out(server: Clickhouse) -> None:
    for number in range(3):
        save_customer(server, f"customer-{number}")
    shown = run("customers", "--limit", "2").output
    assert "customer-0" in shown
    assert "129.00 CNY" in shown
    assert "and 1 more" in shown


def test_show_finds_a_customer_by_any_identifier(server: Clickhouse, monkeypatch: pytest.MonkeyPatch) -> None:
    save_customer(server, "a")
    save_events(server, ("a", "n:1", at("2025-03-01"), "Order Completed", 12900))
    monkeypatch.setattr(commands, "resolve", lambda identifiers: ["a" for _ in identifiers])
    (found,) = lines("customer", "show", "phone:+8613800000000", "--json")
    assert list(found) == FIELDS
    card = run("customer", "show", "phone:+8613800000000").output
    for text in ("customer a", "phone:+86138****0000", "vip", "rich", "R4 F5 M3", "Order Completed"):
        assert text in card


@pytest.mark.parametrize(("known", "says"), [(None, "nobody is known"), ("elsewhere", "not yet in ClickHouse")])
def test_show_says_why_there_is_nothing_to_show(
    server: Clickhouse, monkeypatch: pytest.MonkeyPatch, known: str | None, says: str
) -> None:
    monkeypatch.setattr(commands, "resolve", lambda identifiers: [known])
    result = run("customer", "show", "phone:+8613800000000")
    assert result.exit_code == 1
    assert says in result.stderr


def test_without_clickhouse_it_is_one_sentence(server: Clickhouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_URL", "http://127.0.0.1:1")
    result = run("customers", "--json")
    assert result.exit_code == 1
    assert "ClickHouse at http://127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.output
