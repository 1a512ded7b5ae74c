"""`touchstream identity replay` on a real engine and the real script: what a policy would do, and making it so."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from cli.corrections import Request
from cli.main import app
from cli.reresolve import command
from services.chassis.clickhouse import Clickhouse
from services.chassis.records import Record
from services.identity.adapters import Graph, load_policy
from services.identity.handler import CHANGES
from tests.conformance.valkey_server import valkey_server
from tests.integration import archive_backends
from tests.integration.test_identity_history import ANNA, AT_MS, BERT, LAPTOP, PHONE, TABLET, VISITOR, World
from tests.property.identity.graph_lab import CODECS, KEY, KINDS, PARTITIONS, GraphLab
from tests.property.identity.naive_graph import Touch
from tests.property.identity.test_graph_properties import connect

UNIQUE = "unique user_id, two values are never one customer"
WATCH, OTHER_PHONE = "device_id:watch-99990000", "phone:+8613800138000"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clickhouse]:
    settings = archive_backends.settings_of(tmp_path_factory.mktemp("replay"))
    with archive_backends.clickhouse(settings) as url, archive_backends.database(url, "identity_replay") as server:
        yield server


class Policies:
    """Policy files; `strict` as in graph_lab, others with what is said."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, name: str, ttl_days: int = 1, believes: tuple[str, ...] = ("phone",), **limits: Any) -> str:
        """ttl_days: of anonymous ids; believes: of which kinds source `shop` says what is verified."""
        kinds: dict[str, Any] = {
            kind: {"code": code, "limit": limits.get(kind, limit), "known": known}
            for kind, (code, limit, known) in KINDS.items()
        }
        for kind, values in limits.get("blocked", {}).items():
            kinds[kind]["blocked"] = values
        kinds["anonymous_id"]["ttl_days"] = ttl_days
        rules = {"kinds": kinds, "sources": {"shop": {"verified": list(believes)}}, "takeover_hold_days": 1}
        path = self._folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(rules, sort_keys=False), encoding="utf-8")
        return str(path)


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    return Policies(tmp_path)


@pytest.fixture
def world(database: Clickhouse, tmp_path: Path, policies: Policies, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    archive_backends.truncate(database)
    with valkey_server(tmp_path, "no") as url:
        force(monkeypatch, policies.file("in force"))
        monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_URL", database.url)
        monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_DATABASE", database.database)
        monkeypatch.setenv("TOUCHSTREAM_IDENTIFIER_KEY", KEY.decode())
        monkeypatch.setenv("TOUCHSTREAM_REDIS_URL", url)
        lab = GraphLab(connect(url), load_policy(policies.file("in force")))
        yield World(lab, database)
        lab.client.close()


def force(monkeypatch: pytest.MonkeyPatch, file: str, world: World | None = None) -> None:
    """The policy in force from now on; of the graph, too."""
    monkeypatch.setenv("TOUCHSTREAM_IDENTITY_POLICY", file)
    if world is not None:
        lab = world.lab
        lab.policy, lab.graph = load_policy(file), Graph(lab.ledger, load_policy(file))
        for number in range(PARTITIONS):
            lab.claim(number)


def asks(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Corrections go into the graph, as through Kafka."""

    def send(_: object, asked: Sequence[Request]) -> Mapping[str, list[dict[str, Any]]]:
        told: dict[str, list[dict[str, Any]]] = {}
        for one in asked:
            place = 0, len(world.lab.log[0])
            world.lab.touches[place] = Touch(one.kind, one.identifiers, one.event_id, place)
            value = CODECS["touchpoint"].encode(
                {
                    "event_id": one.event_id, "source": "operator", "type": one.kind, "name": "Requested",
                    "identifiers": list(one.identifiers), "occurred_at": AT_MS, "received_at": AT_MS,
                    "properties": json.dumps(one.properties).encode(),
                }
            )  # fmt: skip
            world.lab.log[0].append(Record("touchpoints", *place, b"k", value, {}, AT_MS + place[1]))
            entry = world.lab.step(0)
            world.lab.take(entry)
            outputs = entry.outputs if entry is not None else []
            told[one.event_id] = [CODECS["identity_change"].decode(o.value) for o in outputs if o.topic == CHANGES]
            world._archive(outputs)
        return told

    monkeypatch.setattr(command, "correct_all", send)


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["identity", "replay", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result


def told(*arguments: str) -> dict[str, Any]:
    return json.loads(run("--json", *arguments).stdout)


def live(world: World) -> set[frozenset[str]]:
    return {frozenset(ids) for _, ids in world.lab.stored()[1].values()}


def story(world: World) -> None:
    """Anna and Bert share a laptop; two phones a tablet; a person has corrected things."""
    world.happens("event", ANNA, LAPTOP)
    world.happens("event", BERT, LAPTOP)
    world.happens("event", PHONE, TABLET)
    world.happens("event", OTHER_PHONE, TABLET)
    world.happens("event", WATCH, TABLET)
    world.happens("unlink", WATCH, TABLET, is_pair=True)
    world.happens("link", BERT, WATCH)
    world.happens("event", TABLET)


def test_under_the_policy_in_force_nothing_would_be_otherwise(world: World) -> None:
    story(world)
    world.happens("erase", PHONE)
    report = told()
    assert (report["customers_now"], report["customers_then"]) == (2, 2)
    assert report["touchpoints"] == 9
    for key in ("would_merge", "would_part"):
        assert report[key] == {"customers": 0, "into": 0, "examples": []}
    assert report["refusals_gone"]["count"] == report["refusals_new"]["count"] == 0
    assert report["left_out"]["identifiers"] == report["newly_known"]["identifiers"] == 0


def test_a_looser_policy_would_merge_and_end_a_conflict(world: World, policies: Policies) -> None:
    story(world)
    report = told("--policy", policies.file("loose", user_id=0))
    merge = report["would_merge"]
    assert (merge["customers"], merge["into"]) == (2, 1)
    assert {one["customer_id"] for one in merge["examples"][0]} == {world.customer(ANNA), world.customer(BERT)}
    assert report["refusals_gone"]["examples"] == [
        {"kind": "conflict", "guard": UNIQUE, "identifiers": ["user_id:ber****444", "device_id:lap****666"]}
    ]
    text = run("--policy", policies.file("loose", user_id=0)).stdout
    assert "would merge: 2 customers into 1" in text
    assert "anna-1111" not in text, "masked"


def test_a_stricter_policy_would_part_and_a_blocked_value_identify_nobody(world: World, policies: Policies) -> None:
    story(world)
    report = told("--policy", policies.file("strict", phone=1))
    assert (report["would_part"]["customers"], report["would_part"]["into"]) == (1, 2)
    assert report["refusals_new"]["examples"][0]["guard"] == UNIQUE.replace("user_id", "phone")
    report = told("--policy", policies.file("blocking", blocked={"device_id": [TABLET.partition(":")[2]]}))
    assert (report["left_out"]["identifiers"], report["touchpoints_of_nobody"]) == (1, 1)
    assert report["would_part"]["into"] == 2


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("loose", {"user_id": 0}),
        ("strict", {"phone": 1}),
        ("both", {"user_id": 0, "phone": 1}),
        ("blocking", {"blocked": {"device_id": [TABLET.partition(":")[2]]}}),
    ],
)
def test_applied_the_graph_is_as_the_report_says_and_a_second_time_nothing_is_left(
    world: World, policies: Policies, monkeypatch: pytest.MonkeyPatch, name: str, limits: dict[str, Any]
) -> None:
    story(world)
    file = policies.file(name, **limits)
    assert "is not in force" in run("--policy", file, "--apply", "--yes", code=1).output
    force(monkeypatch, file, world)
    asks(monkeypatch, world)
    report = told("--apply", "--yes")
    assert report["applied"]["missed"] == []
    assert report["applied"]["unlinked"] + report["applied"]["linked"] > 0
    world.agrees()
    again = told("--apply", "--yes")
    assert again["would_merge"]["customers"] == again["would_part"]["customers"] == 0
    assert again["requests_left_out"] > 0, "what a replay has corrected is not history"
    reasons = {str(one["reason"]) for x in (ANNA, WATCH, TABLET) for one in world.history(x)}
    shown = f"policy {file} ({load_policy(file).version})"
    assert reasons & {f"linked by replay: {shown}", f"unlinked by replay: {shown}"}
    assert len(live(world)) == again["customers_then"] + again["left_out"]["identifiers"]


def renewing_story(world: World) -> None:
    """Bert takes Anna's number over; a visitor is not seen for days and comes back as somebody else."""
    world.happens("event", ANNA, PHONE)
    world.happens("event", ANNA, VISITOR)
    world.happens("event", BERT, PHONE, verified=("phone",))
    world.happens("event", PHONE, WATCH)
    world.happens("event", VISITOR, TABLET, days_later=3)


def test_what_was_taken_over_or_has_expired_is_so_again_under_the_same_policy(world: World) -> None:
    renewing_story(world)
    report = told()
    assert report["customers_now"] == report["customers_then"] == 3
    assert world.customer(PHONE) != world.customer(f"{PHONE}~1")
    for key in ("would_merge", "would_part"):
        assert report[key]["customers"] == 0
    assert report["refusals_gone"]["count"] == report["refusals_new"]["count"] == 0
    assert report["left_out"]["identifiers"] == report["newly_known"]["identifiers"] == 0


def test_where_nobody_is_believed_and_nothing_expires_everything_is_the_first_owners(
    world: World, policies: Policies
) -> None:
    renewing_story(world)
    report = told("--policy", policies.file("lasting", ttl_days=0, believes=()))
    # Bert's number is Anna's still, and with it the watch; the visitor, and with it the tablet.
    assert (report["would_merge"]["customers"], report["would_merge"]["into"]) == (3, 1)
    assert (report["would_part"]["customers"], report["would_part"]["into"]) == (1, 2)
    assert report["left_out"]["identifiers"] == report["newly_known"]["identifiers"] == 0


@pytest.mark.parametrize("user_ids", [0, 1])
def test_applied_later_nodes_follow_and_no_former_one_is_asked_for(
    world: World, policies: Policies, monkeypatch: pytest.MonkeyPatch, user_ids: int
) -> None:
    renewing_story(world)
    force(monkeypatch, policies.file("lasting", user_id=user_ids, ttl_days=0, believes=()), world)
    asks(monkeypatch, world)
    report = told("--apply", "--yes")
    assert report["applied"]["missed"] == []
    world.agrees()
    again = told("--apply", "--yes")
    assert again["would_merge"]["customers"] == again["would_part"]["customers"] == 0
    assert len(live(world)) == again["customers_then"] == 1 + user_ids
    assert world.customer(f"{PHONE}~1") == world.customer(f"{VISITOR}~1") == world.customer(ANNA)
    assert (world.customer(BERT) == world.customer(ANNA)) == (user_ids == 0)


def test_what_would_be_taken_over_only_then_is_told_as_new(
    world: World, policies: Policies, monkeypatch: pytest.MonkeyPatch
) -> None:
    force(monkeypatch, policies.file("lasting", ttl_days=0, believes=()), world)
    renewing_story(world)
    report = told("--policy", policies.file("renewing"))
    assert report["newly_known"]["identifiers"] == 2
    assert (report["would_part"]["customers"], report["would_part"]["into"]) == (1, 3)


def test_what_the_graph_refuses_is_said_with_its_reason(
    world: World, policies: Policies, monkeypatch: pytest.MonkeyPatch
) -> None:
    story(world)
    # The file says so, the service still runs under the old one.
    force(monkeypatch, policies.file("loose", user_id=0))
    asks(monkeypatch, world)
    report = told("--apply", "--yes")
    (missed,) = report["applied"]["missed"]
    assert (missed["why"], missed["count"], report["applied"]["linked"]) == (f"the graph says no: {UNIQUE}", 1, 0)


def test_another_redis_is_used_only_when_it_is_empty(world: World, tmp_path: Path) -> None:
    story(world)
    before = world.lab.dump()
    url = world.lab.client.connection_pool.connection_kwargs["port"]
    assert "not empty" in run("--scratch", f"redis://127.0.0.1:{url}/0", code=1).output
    assert world.lab.dump() == before
    (tmp_path / "empty").mkdir()
    with valkey_server(tmp_path / "empty", "no") as empty:
        assert told("--scratch", empty)["touchpoints"] == 8
        client = connect(empty)
        assert client.dbsize() == 0
        client.close()
