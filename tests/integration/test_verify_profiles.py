"""`touchstream verify profiles` on one deployment: equal after merges, splits and erasures; every damage is named."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec
import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.verify.profiles.command import open_sources
from cli.verify.profiles.run import Comparison, Report
from services.profile.core.customer_log import CustomerState
from services.profile.states import Packer
from tests.integration.rebuild_backends import deployed
from tests.integration.rebuild_lab import Lab

pytestmark = pytest.mark.timeout(600)
_states = Packer()
_encode = msgspec.msgpack.Encoder().encode


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A shop's story in it, every service at rest."""
    with deployed(tmp_path_factory.mktemp("state")) as lab:
        lab.start()
        for seed in range(3):
            lab.story(seed, 200)
            lab.work()
        yield lab


def look(ids: list[str] | None = None) -> Report:
    with open_sources(5.0) as sources:
        return Comparison(sources, lambda step: None).run(ids)


def found(report: Report) -> dict[str, set[str]]:
    """Customer → fields that differ."""
    fields: dict[str, set[str]] = {}
    for one in report.differences:
        fields.setdefault(one.customer_id, set()).add(f"{one.where}: {one.field}")
    return fields


def buyer(lab: Lab) -> tuple[str, bytes, CustomerState]:
    """A customer who has bought: id, key and state."""
    for key in sorted(lab.redis.scan_iter("{profile:*}:c:*")):
        state = _states.decode(lab.redis.get(key))  # type: ignore[arg-type]
        if state.conclusion and state.conclusion.tags and any(part.purchase for part in state.parts.values()):
            return key.decode().rpartition(":")[2], key, state
    raise AssertionError("nobody has bought")


def altered(lab: Lab, customer_id: str, column: str, value: str) -> Callable[[], None]:
    """The customer's row in ClickHouse with one column changed, as a hand would do it; gives the way back."""
    lab.clickhouse.command("CREATE TABLE IF NOT EXISTS kept AS customers_raw")
    lab.clickhouse.command("TRUNCATE TABLE kept")
    where = f"WHERE customer_id = '{customer_id}'"
    lab.clickhouse.command(f"INSERT INTO kept SELECT * FROM customers_raw FINAL {where}")
    lab.clickhouse.command(f"DELETE FROM customers_raw {where}")
    lab.clickhouse.command(f"INSERT INTO customers_raw SELECT * REPLACE ({value} AS {column}) FROM kept")

    def back() -> None:
        lab.clickhouse.command(f"DELETE FROM customers_raw {where}")
        lab.clickhouse.command("INSERT INTO customers_raw SELECT * FROM kept")

    return back


def test_all_customers_are_what_their_events_come_to(lab: Lab) -> None:
    report = look()
    assert found(report) == {}
    (row,) = lab.clickhouse.query_rows(
        "SELECT (SELECT count() FROM customers) AS customers, count() AS events FROM events"
    )
    assert (report.customers, report.events) == (row["customers"], row["events"])
    assert report.customers > 30
    assert report.events > 300
    assert (report.waiting, report.unjudged, report.has_redis) == (0, 0, True)


@pytest.mark.parametrize(
    ("column", "value", "field"),
    [
        ("events", "events + 1", "events"),
        ("frequency", "frequency + 1", "frequency"),
        ("monetary_minor", "monetary_minor - 1", "monetary_minor"),
        ("r", "r + 1", "r"),
        ("stage", "'churned'", "stage"),
        ("first_seen", "first_seen + INTERVAL 1 MILLISECOND", "first_seen"),
        ("traits", "'{\"shoe\":46}'", "trait shoe"),
        ("nodes", "arrayPushBack(nodes, 'phone:ff')", "nodes"),
    ],
)
def test_a_value_that_somebody_changed_in_clickhouse_is_found(lab: Lab, column: str, value: str, field: str) -> None:
    customer_id, _, _ = buyer(lab)
    back = altered(lab, customer_id, column, value)
    try:
        report = look()
    finally:
        back()
    assert f"clickhouse: {field}" in found(report)[customer_id]
    assert found(report).keys() == {customer_id}
    assert look([customer_id]).is_equal


def test_nobody_is_called_equal_while_clickhouse_does_not_get_on(lab: Lab) -> None:
    customer_id, _, _ = buyer(lab)
    back = altered(lab, customer_id, "events", "events + 1")
    try:
        with open_sources(5.0) as sources:
            standing = replace(sources, arrive=lambda: False)
            report = Comparison(standing, lambda step: None).run()
    finally:
        back()
    assert (found(report), report.unjudged, report.is_equal) == ({}, 1, False)


def test_a_tag_that_was_taken_away_or_added_is_found(lab: Lab) -> None:
    customer_id, _, state = buyer(lab)
    assert state.conclusion is not None
    gone = min(state.conclusion.tags)
    for value in ("'[]'", """'[{"name":"churned","since":1,"reason":"by hand"}]'"""):
        back = altered(lab, customer_id, "tags_json", value)
        try:
            fields = found(look())[customer_id]
        finally:
            back()
        assert f"clickhouse: tag {gone}" in fields
        assert ("clickhouse: tag churned" in fields) == ("churned" in value)


def test_a_part_that_somebody_changed_in_redis_is_found(lab: Lab) -> None:
    customer_id, key, state = buyer(lab)
    before = lab.redis.get(key)
    assert isinstance(before, bytes)
    node, part = next((node, part) for node, part in state.parts.items() if part.purchase)
    part.counters["Order Completed"].total += 1
    lab.redis.set(key, _encode(state))
    try:
        report = look()
    finally:
        lab.redis.set(key, before)
    assert {one.customer_id for one in report.differences} == {customer_id}
    by_sql, by_folds = sorted(report.differences, key=lambda one: one.field)
    assert (by_folds.where, by_folds.field) == ("redis", f"part {node}: counters Order Completed")
    assert (by_sql.where, by_sql.field) == ("redis", "counter Order Completed (ever, 365, 90 days)")
    assert (by_folds.by, by_sql.by) == ("folds", "sql")
    assert by_folds.live != by_folds.computed
    assert by_sql.live != by_sql.computed


def test_a_customer_that_only_one_side_knows_is_found(lab: Lab) -> None:
    customer_id, key, _ = buyer(lab)
    before = lab.redis.get(key)
    assert isinstance(before, bytes)
    lab.redis.delete(key)
    try:
        assert found(look()) == {customer_id: {"redis: profile"}}
    finally:
        lab.redis.set(key, before)
    back = altered(lab, customer_id, "customer_id", "'nobody'")
    try:
        fields = found(look())
    finally:
        lab.clickhouse.command("DELETE FROM customers_raw WHERE customer_id = 'nobody'")
        back()
    assert fields[customer_id] == {"clickhouse: profile"}
    assert "clickhouse: events" in fields["nobody"]


def test_a_profile_that_stayed_behind_its_events_is_found(lab: Lab) -> None:
    """An event that profile never took in: its log goes on in ClickHouse, its profile does not."""
    customer_id, _, _ = buyer(lab)
    back = altered(lab, customer_id, "n", "n - 1")
    try:
        assert customer_id in found(look())
    finally:
        back()


def test_what_goes_on_meanwhile_is_no_difference(lab: Lab) -> None:
    """Events are archived after the profiles were read, and profiles after the events."""
    lab.story(7, 100)
    lab.work("identity", "profile", "rules")
    with open_sources(0.2) as sources:
        sources.arrive = lambda: lab.work() is None
        report = Comparison(sources, lambda step: None).run()
    assert found(report) == {}
    assert report.unjudged == 0


def test_partitions_are_those_of_the_log_whatever_the_settings_say(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the local stack, whose 2 partitions no variable names, nobody was in Redis."""
    monkeypatch.delenv("TOUCHSTREAM_PARTITIONS")
    report = look()
    assert (report.has_redis, found(report)) == (True, {})


def test_without_redis_clickhouse_alone_is_compared(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOUCHSTREAM_REDIS_URL", "redis://127.0.0.1:1/0")
    report = look()
    assert (report.has_redis, found(report)) == (False, {})


def test_the_command_says_so_in_its_exit_code(lab: Lab) -> None:
    customer_id, _, _ = buyer(lab)
    told = CliRunner().invoke(app, ["verify", "profiles", "--sample", "10", "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["customers"] == 10
    back = altered(lab, customer_id, "events", "events + 1")
    try:
        told = CliRunner().invoke(app, ["verify", "profiles", "--customer", customer_id, "--patience", "0.5"])
    finally:
        back()
    assert told.exit_code == 1
    assert f"{customer_id}  events" in told.stdout
