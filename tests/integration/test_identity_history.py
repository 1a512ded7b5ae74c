"""What the graph decided, in ClickHouse: its views say after every touchpoint what the graph says; histories."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from services.chassis.clickhouse import Clickhouse
from services.chassis.records import Output, Record
from services.identity.handler import CHANGES, RESOLVED
from services.profile.archive.core.rows import event_rows, header_fields, identity_rows
from tests.conformance.valkey_server import valkey_server
from tests.integration import archive_backends
from tests.property.identity.graph_lab import CODECS, KEY, GraphLab, policy
from tests.property.identity.naive_graph import Touch
from tests.property.identity.test_graph_properties import connect

ANNA, BERT = "user_id:anna-1111-2222", "user_id:bert-3333-4444"
WATCH = "device_id:watch-99990000"
LAPTOP, TABLET, PHONE = "device_id:laptop-55556666", "device_id:tablet-77778888", "phone:+8613912345678"
VISITOR = "anonymous_id:visitor-5555-6666"
AT_MS, DAY_MS = 1_750_000_000_000, 86_400_000


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clickhouse]:
    settings = archive_backends.settings_of(tmp_path_factory.mktemp("history"))
    with archive_backends.clickhouse(settings) as url, archive_backends.database(url, "identity_history") as server:
        yield server


@dataclass
class World:
    """The real graph, whose decisions go through archive's own rows into ClickHouse."""

    lab: GraphLab
    server: Clickhouse
    nodes: list[str] = field(default_factory=list)  # the node of every event so far
    days: int = 0
    is_looked_at: bool = True  # the views, after every touchpoint: slow

    def happens(
        self, kind: str, *ids: str, is_pair: bool = False, founder: str = "", verified: tuple[str, ...] = (),
        days_later: int = 0, author: str = "",
    ) -> list[str]:  # fmt: skip
        """One touchpoint: decided, archived, and the views looked at; the kinds of its changes.

        verified: kinds, by a source that is believed.
        """
        offset = len(self.lab.log[0])
        self.days += days_later
        at_ms = AT_MS + self.days * DAY_MS + offset
        touch = Touch(kind, ids, f"m{offset}", (0, offset), at_ms, False, is_pair, founder, verified, author=author)
        self.lab.append(touch)
        entry = self.lab.step(0)
        self.lab.take(entry)
        outputs = entry.outputs if entry else []
        names = self.lab.names()
        headers = [dict(output.headers) for output in outputs if output.topic == RESOLVED]
        self.nodes += [names[one["node"].decode()] for one in headers if one["kind"] == b"event"]
        self._archive(outputs, at_ms)
        if self.is_looked_at:
            self.agrees()
        return [CODECS["identity_change"].decode(o.value)["kind"] for o in outputs if o.topic == CHANGES]

    def _archive(self, outputs: list[Output], at_ms: int = AT_MS) -> None:
        first = len(self.lab.sent)
        records = [
            Record(o.topic, o.partition, first + i, o.key, o.value, dict(o.headers), at_ms)
            for i, o in enumerate(outputs)
        ]
        events = [r for r in records if r.topic == RESOLVED and r.headers["kind"] == b"event"]
        values = [CODECS["touchpoint"].decode(r.value) | header_fields(r.headers) for r in events]
        changes = [r for r in records if r.topic == CHANGES]
        told = [CODECS["identity_change"].decode(r.value) for r in changes]
        for rows in [*event_rows(events, values), *identity_rows(changes, told)]:
            if rows.data and rows.data[0]:
                self.server.insert(rows.table, rows.columns, rows.data, None)

    def agrees(self) -> None:
        """Whose every event and every identifier is, by the views and by the graph."""
        names = self.lab.names()
        home, customers, _ = self.lab.stored()
        rows = self.server.query_rows("SELECT customer_id, node FROM events")
        assert sorted((row["customer_id"], names[row["node"]]) for row in rows) == sorted(
            (home[x], x) for x in self.nodes if x in home
        )
        rows = self.server.query_rows("SELECT node, customer_id FROM identifiers")
        assert {names[row["node"]]: row["customer_id"] for row in rows} == home
        ended = {row["ended_id"]: row["customer_id"] for row in self.server.query_rows("SELECT * FROM ended_customers")}
        assert not ended.keys() & customers.keys(), "somebody who exists is said to have ended"
        assert set(ended.values()) <= {"", *customers}, "an ended customer leads to somebody who is there"

    def concludes(self, customer: str, tag: str) -> None:
        """profile has given a customer a tag."""
        self.server.insert("tag_changes_raw", ("customer_id", "tag", "change"), [[customer], [tag], ["added"]], None)

    def tags(self) -> set[tuple[str, str]]:
        return {(row["customer_id"], row["tag"]) for row in self.server.query_rows("SELECT * FROM tag_changes")}

    def customer(self, identifier: str) -> str:
        return self.lab.stored()[0][identifier]

    def history(self, subject: str) -> list[dict[str, object]]:
        result = CliRunner().invoke(app, ["identity", "history", subject, "--json"])
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def world(database: Clickhouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    archive_backends.truncate(database)
    monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_URL", database.url)
    monkeypatch.setenv("TOUCHSTREAM_CLICKHOUSE_DATABASE", database.database)
    monkeypatch.setenv("TOUCHSTREAM_IDENTIFIER_KEY", KEY.decode())
    with valkey_server(tmp_path, "no") as url:
        lab = GraphLab(connect(url), policy())
        yield World(lab, database)
        lab.client.close()


def test_views_follow_a_merge_a_split_and_a_second_merge_at_once(world: World) -> None:
    world.happens("event", ANNA, LAPTOP)
    world.happens("event", LAPTOP)
    world.happens("event", PHONE, TABLET)
    anna, other = world.customer(ANNA), world.customer(PHONE)
    world.happens("event", LAPTOP, TABLET)
    assert world.customer(PHONE) == anna

    world.happens("unlink", LAPTOP, TABLET, is_pair=True, founder=ANNA)
    parted = world.customer(PHONE)
    assert world.customer(LAPTOP) == anna
    assert parted not in (anna, other), "an id never comes back"
    (ended,) = world.server.query_rows("SELECT * FROM ended_customers")
    assert ended == {"ended_id": other, "customer_id": parted}

    world.happens("event", TABLET)
    world.happens("event", LAPTOP, TABLET)
    assert world.customer(PHONE) == anna
    world.happens("unlink", TABLET)
    assert len({world.customer(x) for x in (ANNA, TABLET, PHONE)}) == 3
    world.happens("erase", LAPTOP)
    world.happens("event", PHONE, TABLET)


def test_what_was_concluded_before_a_merge_follows_who_is_parted_again(world: World) -> None:
    world.happens("event", ANNA, LAPTOP)
    world.happens("event", PHONE, TABLET)
    anna, other = world.customer(ANNA), world.customer(PHONE)
    world.concludes(other, "vip")
    world.happens("event", LAPTOP, TABLET)
    world.concludes(anna, "loyal")
    assert world.tags() == {(anna, "vip"), (anna, "loyal")}
    world.happens("unlink", LAPTOP, TABLET, is_pair=True)
    assert world.tags() == {(world.customer(PHONE), "vip"), (anna, "loyal")}
    world.happens("link", PHONE, ANNA)
    assert world.tags() == {(anna, "vip"), (anna, "loyal")}


def test_a_history_tells_an_identifiers_life_from_its_first_link_to_its_end(world: World) -> None:
    world.happens("event", PHONE, TABLET)
    other = world.customer(PHONE)
    world.happens("event", ANNA, LAPTOP)
    world.happens("event", BERT, LAPTOP)
    world.happens("event", LAPTOP, TABLET)
    world.happens("unlink", PHONE, founder=ANNA)
    world.happens("unlink", LAPTOP, TABLET, is_pair=True)
    world.happens("erase", PHONE)
    told = world.history(PHONE)
    assert [(one["what"], one["event_id"], one["stayed"]) for one in told] == [
        ("linked", "m0", False), ("merged", "m3", False), ("declined", "m4", False), ("split", "m5", True),
        ("erased", "m6", False),
    ]  # fmt: skip
    assert told[0]["identifiers"] == ["phone:+86139****5678", "device_id:tab****888"]
    assert {told[0]["customer_id"], told[-1]["customer_id"], told[1]["customer_id"]} == {other}
    assert told[2]["other_id"] == told[1]["other_id"], "Anna's customer had ended"
    (conflict,) = [one for one in world.history(BERT) if one["what"] == "conflict"]
    reason = "unique user_id, two values are never one customer"
    assert (conflict["reason"], conflict["event_id"], conflict["source"]) == (reason, "m2", "shop")


def test_the_history_of_a_number_goes_on_with_who_took_it_over(world: World) -> None:
    world.happens("event", ANNA, PHONE)
    world.happens("event", BERT, PHONE, verified=("phone",))
    world.happens("event", ANNA, LAPTOP)
    world.happens("event", TABLET)
    world.happens("event", BERT, TABLET)
    world.happens("event", PHONE, WATCH)
    world.happens("unlink", PHONE, BERT, is_pair=True)
    anna, bert = world.customer(ANNA), world.customer(BERT)
    told = world.history(PHONE)
    assert [(one["what"], one["event_id"], one["stayed"]) for one in told] == [
        ("linked", "m0", False), ("moved", "m1", False), ("merged", "m4", False), ("unlinked", "m6", False),
        ("split", "m6", False),
    ]  # fmt: skip
    assert (told[1]["customer_id"], told[1]["other_id"], told[0]["customer_id"]) == (bert, anna, anna)
    assert told[4]["other_id"] == bert
    assert {name for one in told for name in one["identifiers"] if name.startswith("phone")} == {"phone:+86139****5678"}

    world.happens("erase", ANNA)
    world.happens("event", PHONE, TABLET)
    told = world.history(PHONE)[5:]
    assert [one["what"] for one in told] == ["merged"], "the erasure of Anna ends what was under her, not the number"
    assert world.customer(f"{PHONE}~1") == bert


def test_the_history_of_an_identifier_goes_on_after_it_was_not_seen_for_too_long(world: World) -> None:
    world.happens("event", ANNA, VISITOR)
    world.happens("event", BERT, VISITOR, days_later=3)
    world.happens("event", TABLET)
    world.happens("event", VISITOR, TABLET)
    told = world.history(VISITOR)
    anna, bert = world.customer(ANNA), world.customer(BERT)
    assert [(one["what"], one["customer_id"]) for one in told] == [
        ("linked", anna), ("expired", anna), ("linked", bert), ("merged", bert),
    ]  # fmt: skip
    assert {name for one in told for name in one["identifiers"] if name.startswith("anon")} == {
        "anonymous_id:visi****6666"
    }


def test_a_customers_history_ends_where_it_became_part_of_another(world: World) -> None:
    world.happens("event", ANNA)
    world.happens("event", TABLET)
    anna, other = world.customer(ANNA), world.customer(TABLET)
    world.happens("event", ANNA, TABLET)
    assert [one["what"] for one in world.history(other)] == ["linked", "merged"]
    assert [one["what"] for one in world.history(anna.upper())] == ["linked", "merged"]
    shown = CliRunner().invoke(app, ["identity", "history", other], env={"COLUMNS": "200"})
    assert "became part of customer" in shown.stdout
    assert TABLET.partition(":")[2] not in shown.stdout, "masked"


def test_nobody_has_no_history(world: World) -> None:
    for subject, text in (
        (PHONE, "nothing is known of phone:+86139****5678"),
        ("6f1c2d5e-8a3b-5c7d-9e0f-1a2b3c4d5e6f", "nothing is known of 6f1c2d5e"),
        ("fax:1", "unknown kind fax"),
    ):
        result = CliRunner().invoke(app, ["identity", "history", subject])
        assert result.exit_code == 1
        assert text in result.output
