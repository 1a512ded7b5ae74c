"""`touchstream correction` on a real ClickHouse and the real graph: each step, what it leaves, and what it refuses.

Only the way through Kafka is left out: what is asked for goes to the graph at once. tests/e2e has the whole way.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from cli.correction import apply as applying
from cli.correction.steps import APPROVED, Step, load, save
from cli.corrections import Request
from cli.main import app
from services.chassis.clickhouse import Clickhouse
from services.chassis.errors import Retriable
from services.chassis.records import Record
from services.identity.adapters import load_policy
from services.identity.handler import RESOLVED
from tests.conformance.valkey_server import valkey_server
from tests.integration import archive_backends
from tests.integration.test_identity_history import ANNA, AT_MS, BERT, LAPTOP, World
from tests.property.identity.graph_lab import CODECS, KEY, KINDS, GraphLab
from tests.property.identity.naive_graph import Touch
from tests.property.identity.test_graph_properties import connect

WHY = ("--reason", "told us by phone")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clickhouse]:
    settings = archive_backends.settings_of(tmp_path_factory.mktemp("correction"))
    with archive_backends.clickhouse(settings) as url, archive_backends.database(url, "correction") as server:
        yield server


@pytest.fixture
def world(database: Clickhouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Anna and Bert, each with a profile that names a city."""
    archive_backends.truncate(database)
    policy = tmp_path / "identity.yaml"
    kinds = {kind: {"code": code, "known": known} for kind, (code, _, known) in KINDS.items()}
    policy.write_text(yaml.safe_dump({"kinds": kinds}, sort_keys=False), encoding="utf-8")
    with valkey_server(tmp_path, "no") as url:
        monkeypatch.setenv("TOUCHSTREAM_IDENTITY_POLICY", str(policy))
        monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_URL", database.url)
        monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_DATABASE", database.database)
        monkeypatch.setenv("TOUCHSTREAM_IDENTIFIER_KEY", KEY.decode())
        monkeypatch.setenv("TOUCHSTREAM_REDIS_URL", url)
        world = World(GraphLab(connect(url), load_policy(str(policy))), database)
        world.happens("event", ANNA)
        world.happens("event", BERT)
        for who in (ANNA, BERT):
            has_profile(world, who, city="上海市", city_code="310100")
        monkeypatch.setattr(applying, "state", lambda settings, one: states(world, one))
        yield world
        world.lab.client.close()


def has_profile(world: World, who: str, **traits: str) -> None:
    row: list[list[object]] = [[world.customer(who)], [1], [json.dumps(traits, ensure_ascii=False)]]
    world.server.insert("customers_raw", ("customer_id", "rev", "traits"), row, None)


def states(world: World, one: Request) -> None:
    """A touchpoint that only states something, decided and archived."""
    place = 0, len(world.lab.log[0])
    world.lab.touches[place] = Touch("event", one.identifiers, one.event_id, place)
    value = CODECS["touchpoint"].encode(
        {
            "event_id": one.event_id, "source": "operator", "type": one.kind, "name": "Corrected",
            "identifiers": list(one.identifiers), "occurred_at": one.occurred_ms, "received_at": AT_MS,
            "properties": json.dumps(one.properties).encode(), "traits": json.dumps(one.traits).encode(),
        }
    )  # fmt: skip
    world.lab.log[0].append(Record("touchpoints", *place, b"k", value, {}, AT_MS + place[1]))
    entry = world.lab.step(0)
    world.lab.take(entry)
    if entry is not None:
        world.nodes.append(one.identifiers[0])
        world._archive(entry.outputs)


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["correction", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result


def approve(id_: str, author: str, code: int = 0) -> Result:
    """Approval by somebody else who works under the same account, as on a counter's machine."""
    return run("approve", id_, "--author", author, "--same-account", "--yes", code=code)


def requested(*fields: str, who: str = ANNA) -> str:
    """A correction that Wang asks for; its id."""
    run("request", who, *fields, *WHY, "--author", "wang")
    return newest()["id"]


def all_of() -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("list", "--json").stdout.splitlines()]


def newest() -> dict[str, Any]:
    return all_of()[-1]


def stated(world: World, id_: str) -> list[tuple[str, dict[str, Any], str]]:
    """Customer, traits, and who approved, of the events that the correction became."""
    rows = world.server.query_rows("SELECT * FROM events WHERE event_id = {id:String}", {"id": id_})
    return [(r["customer_id"], json.loads(r["traits"]), json.loads(r["properties"])["approved_by"]) for r in rows]


def test_requested_approved_and_applied_it_is_one_event_and_three_rows(world: World) -> None:
    id_ = requested("city=深圳")
    assert (newest()["state"], stated(world, id_)) == ("requested", [])
    run("approve", id_, "--author", "WANG", "--yes", code=1)
    assert newest()["state"] == "requested", "who asked for it does not approve it"

    told = run("approve", id_, "--author", "li", "--yes", code=1).output
    assert "the account" in told, "one person with two names does not either"

    approve(id_, "li")

    assert stated(world, id_) == [(world.customer(ANNA), {"city": "深圳市", "city_code": "440300"}, "li")]
    rows = world.server.query_rows("SELECT step, author, customer_id FROM corrections ORDER BY at, step")
    anna = world.customer(ANNA)
    assert sorted((row["step"], row["author"], row["customer_id"]) for row in rows) == [
        ("applied", "li", anna), ("approved", "li", anna), ("requested", "wang", anna),
    ]  # fmt: skip
    approve(id_, "han", code=1)
    run("refuse", id_, "--author", "han", "--reason", "late", code=1)
    run("apply", id_, "--author", "han", code=1)
    assert len(stated(world, id_)) == 1


def test_an_application_that_was_cut_off_is_done_once_however_often_it_is_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = requested("city=深圳")

    def cut(settings: object, one: Request) -> None:
        states(world, one)
        raise Retriable("the answer is lost")

    with monkeypatch.context() as patch:
        patch.setattr(applying, "state", cut)
        approve(id_, "li", code=1)
    assert newest()["state"] == "approved"

    run("apply", id_, "--author", "han")

    assert newest()["state"] == "applied"
    assert len(stated(world, id_)) == 1
    (sent,) = [
        output for output in world.lab.sent if output.topic == RESOLVED and id_.encode() in (output.value or b"")
    ]
    assert dict(sent.headers)["kind"] == b"event"


def test_the_same_step_of_the_same_person_is_one_row(world: World) -> None:
    id_ = requested("city=深圳")
    step = Step(id_, APPROVED, "li", "root", world.customer(ANNA), ANNA, "[]", "")
    save(world.server, step)
    save(world.server, step)
    (one,) = load(world.server, id_)
    assert [row.step for row in one.steps] == ["requested", "approved"]


def test_a_refused_one_changes_nothing_and_stays_refused(world: World) -> None:
    id_ = requested("city=深圳")
    run("refuse", id_, "--author", "li", "--reason", "it is Shanghai")
    approve(id_, "han", code=1)
    run("apply", id_, code=1)
    assert (newest()["state"], stated(world, id_)) == ("refused", [])
    assert [one["id"] for one in all_of()] == [id_]
    assert run("list", "--json", "--state", "approved").stdout == ""


def test_it_follows_a_merge_and_reaches_nobody_else(world: World) -> None:
    merged = requested("city=深圳", who=BERT)
    world.happens("event", ANNA, LAPTOP)
    world.happens("event", BERT, LAPTOP)
    assert world.customer(ANNA) == world.customer(BERT)
    approve(merged, "li")
    assert [customer for customer, _, _ in stated(world, merged)] == [world.customer(ANNA)]

    parted = requested("city=北京", who=LAPTOP)
    world.happens("unlink", LAPTOP)
    result = approve(parted, "li", code=1)
    assert "refuse it and ask again" in result.output
    assert stated(world, parted) == []
    world.happens("erase", LAPTOP)
    assert "erased?" in approve(parted, "li", code=1).output


def test_what_is_not_valid_is_refused_with_its_rule_and_keeps_nothing(world: World) -> None:
    result = run("request", ANNA, "phone=12345", *WHY, "--author", "wang", code=1)
    assert "not asked for" in result.output
    run("request", "user_id:nobody-8888", "city=深圳", *WHY, "--author", "wang", code=1)
    run("request", ANNA, "city=上海", *WHY, "--author", "wang", code=1)
    assert all_of() == []
