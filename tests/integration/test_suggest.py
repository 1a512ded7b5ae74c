"""`touchstream identity suggest` on a real engine: who is suggested among strangers, relatives and namesakes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from cli.suggest import command
from services.chassis.clickhouse import Clickhouse
from services.chassis.clock import now_ms
from services.chassis.ids import node_of
from services.chassis.records import Record
from services.profile.archive.core.rows import customer_rows, identity_rows
from tests.bench.suggest_people import people
from tests.integration import archive_backends

KEY = "key of the suggestions' test"
STRANGERS = 3_000
SHENZHEN, BEIJING = "440300", "110100"
PLANTED: dict[str, dict[str, Any]] = {
    # One person each.
    "li-han": {"name": "李小明", "birthday": "1990-05-14", "city_code": SHENZHEN, "phone": "+8613800010001"},
    "li-latin": {"name": "Xiaoming Li", "birthday": "1990-05-14", "city_code": SHENZHEN, "phone": "+8613900020002"},
    "anna": {"name": "Anna Schmidt", "birthday": "1985-03-02", "email": "anna.schmidt7@gmail.com"},
    "anna-again": {"name": "Anna Schmitt", "birthday": "1985-02-03", "email": "annaschmidt7+shop@gmail.com"},
    "wang": {"first_name": "建国", "last_name": "王", "birthday": "1971/7/9", "phone": "+8613712345678"},
    "wang-typo": {"name": "王建国", "birthday": "1971-07-09", "phone": "+8613712345679"},
    # Two people each.
    "father": {"name": "John Weatherby", "birthday": "1955-01-20", "postcode": "91054", "city": "Erlangen"},
    "son": {"name": "John Weatherby", "birthday": "1986-09-03", "postcode": "91054", "city": "Erlangen"},
    "twin": {"name": "陈浩", "birthday": "1999-12-24", "city_code": BEIJING},
    "other-twin": {"name": "陈杰", "birthday": "1999-12-24", "city_code": BEIJING},
    "zhang-1": {"name": "张伟", "city_code": BEIJING, "birthday": "1980-02-11"},
    "zhang-2": {"name": "张伟", "city_code": BEIJING, "birthday": "1991-10-30"},
    "zhang-3": {"name": "张伟", "city_code": BEIJING},
    # One person by all that is compared, kept apart all the same.
    "staff-1": {"name": "Zoltan Kovacs", "birthday": "1977-04-05", "city": "Pecs"},
    "staff-2": {"name": "Zoltan Kovacs", "birthday": "1977-04-05", "city": "Pecs"},
    "refused-1": {"name": "Ingrid Bergman", "birthday": "1966-08-29", "city": "Kiruna"},
    "refused-2": {"name": "Ingrid Bergman", "birthday": "1966-08-29", "city": "Kiruna"},
}
ONE_PERSON = [("anna", "anna-again"), ("li-han", "li-latin"), ("wang", "wang-typo")]
USERS = {"staff-1": "user_id:17", "staff-2": "user_id:18"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clickhouse]:
    settings = archive_backends.settings_of(tmp_path_factory.mktemp("suggest"))
    with archive_backends.clickhouse(settings) as url, archive_backends.database(url, "suggest") as server:
        _save_customers(server)
        yield server


@pytest.fixture
def server(database: Clickhouse, monkeypatch: pytest.MonkeyPatch) -> Clickhouse:
    monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_URL", database.url)
    monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_DATABASE", database.database)
    monkeypatch.setenv("TOUCHSTREAM_IDENTIFIER_KEY", KEY)
    return database


def _save_customers(server: Clickhouse) -> None:
    strangers = dict(people(STRANGERS, seed=7).customers)
    records, values = [], []
    for number, (customer, traits) in enumerate((strangers | PLANTED).items()):
        identifier = USERS.get(customer, f"anonymous_id:{customer}")
        values.append({
            "customer_id": customer, "rev": 1, "n": 1, "deleted": False, "first_seen": 0, "last_seen": 0, "stage": "",
            "stage_since": 0, "tags": b"[]", "traits": json.dumps(traits).encode(), "identifiers": [identifier],
            "nodes": [node_of(identifier, KEY.encode())], "recency_days": -1, "frequency": 0, "monetary_minor": 0,
            "currency": "", "r": 0, "f": 0, "m": 0, "thresholds_version": 0, "events": 1, "updated_at": now_ms(),
        })  # fmt: skip
        records.append(Record("profiles", 0, number, customer.encode(), b"", {}, 0))
    (rows,) = customer_rows(records, values)
    server.insert(rows.table, rows.columns, rows.data, None)
    nodes = [node_of(f"anonymous_id:{customer}", KEY.encode()) for customer in ("refused-1", "refused-2")]
    refused = {
        "g": 1, "batch": 0, "kind": "refused", "customer_id": "refused-1", "from_id": "refused-2", "nodes": nodes,
        "reason": "refused by 王芳", "cause": "", "event_id": "", "source": "operator", "occurred_at": 0,
        "accepted_at": 0,
    }  # fmt: skip
    for rows in identity_rows([Record("identity.changes", 0, 1, b"refused-1", b"", {}, 0)], [refused]):
        server.insert(rows.table, rows.columns, rows.data, None)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["identity", "suggest", *arguments], env={"COLUMNS": "200"})


def suggested(*arguments: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """By the planted customers: what is suggested of them."""
    result = run("--json", *arguments)
    assert result.exit_code == 0, result.output
    found = [json.loads(line) for line in result.stdout.splitlines()]
    pairs = {tuple(sorted(side["customer_id"] for side in one["customers"])): one for one in found}
    return {pair: one for pair, one in pairs.items() if set(pair) & set(PLANTED)}


def test_one_person_is_suggested_and_relatives_and_namesakes_are_not(server: Clickhouse) -> None:
    assert sorted(suggested()) == ONE_PERSON


def test_a_suggestion_says_what_speaks_for_it_and_against_it(server: Clickhouse) -> None:
    found = suggested()["li-han", "li-latin"]
    assert found["score"] > 0.99
    reasons = {one["comparison"]: (one["says"], one["weight"]) for one in found["reasons"]}
    assert reasons["name"][0].startswith("the same in another order, script or with the same sound")
    assert reasons["birthday"][0] == "the same, nobody else has it"
    assert reasons["phone"] == ("different", pytest.approx(-0.3, abs=0.5))
    assert found["not_known"] == ["e_mail"]
    assert found["customers"][0] == {"customer_id": "li-han", "identifiers": ["anonymous_id:li-han"]}


def test_relatives_and_namesakes_are_far_from_being_suggested(server: Clickhouse) -> None:
    scores = {pair: one["score"] for pair, one in suggested("--min-score", "0.01").items()}
    for pair in (("father", "son"), ("other-twin", "twin"), ("zhang-1", "zhang-2"), ("zhang-1", "zhang-3")):
        assert scores.get(pair, 0) < 0.5, pair


def test_who_was_refused_or_has_another_user_id_is_left_out_at_any_score(server: Clickhouse) -> None:
    found = suggested("--min-score", "0.01")
    assert ("refused-1", "refused-2") not in found
    assert ("staff-1", "staff-2") not in found


def test_the_list_is_for_people_and_says_what_it_leaves_out(server: Clickhouse) -> None:
    shown = run("--limit", "1")
    assert shown.exit_code == 0, shown.output
    for text in ("bits", "  for      ", "more (--limit, --json)", "customers, ", "is taken for one person"):
        assert text in shown.stdout


def test_more_customers_than_it_is_made_for_are_compared_only_when_told_to(
    server: Clickhouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "MANY_CUSTOMERS", 1_000)
    result = run("--limit", "1")
    assert result.exit_code == 1
    assert "customers need at least 0.4 GB of memory here, and minutes: --yes" in result.stderr
    result = run("--limit", "1", "--yes")
    assert result.exit_code == 0, result.output
    assert "more (--limit, --json)" in result.stdout
    assert "need at least 0.4 GB" in result.stderr


def test_a_score_of_one_is_no_trouble(server: Clickhouse) -> None:
    assert set(suggested("--min-score", "1")) <= set(ONE_PERSON)


def test_without_clickhouse_it_is_one_sentence(server: Clickhouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_URL", "http://127.0.0.1:1")
    result = run("--json")
    assert result.exit_code == 1
    assert "ClickHouse at http://127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.output
