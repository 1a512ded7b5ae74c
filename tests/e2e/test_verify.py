"""`touchstream verify` on the whole stack: all equal after merges, splits, duplicates, garbage and an erasure; every
damage is named.
"""

import json
import os
import random
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import pytest

from cli.publish import publish
from cli.verify.command import open_sources
from cli.verify.run import verify
from cli.verify.show import as_json
from deploy.local.settings import ROOT
from services.chassis.ids import stable_id, uuid_text
from services.chassis.kafka.offsets import end_offsets, read_range
from services.chassis.records import Entry, Output, pack_entry
from services.chassis.redis.client import RedisClient, sync_client
from services.chassis.testing.waiting import wait_for
from services.profile.core.customer_log import CustomerState
from services.profile.states import Packer
from tests.e2e.conftest import RunningStack
from tests.e2e.demo_stack import TOUCHSTREAM

pytestmark = pytest.mark.timeout(900)
PEOPLE, EVENTS = 60, 1_500
_states = Packer()
_encode = msgspec.msgpack.Encoder().encode


def events(seed: int) -> list[dict[str, Any]]:
    """A shop's day: people found by cookies of three devices, then by name; some orders; a few batches sent twice."""
    chance, found = random.Random(seed), []
    for number in range(EVENTS):
        person = chance.randrange(PEOPLE)
        event: dict[str, Any] = {
            "type": "track", "event": "Product Viewed", "anonymousId": f"v{seed}-{person}-{chance.randrange(3)}",
            "messageId": f"verify-{seed}-{number}",
        }  # fmt: skip
        if chance.random() < 0.1:
            event |= {"type": "identify", "userId": f"v{seed}-{person}"}
        elif chance.random() < 0.15:
            order = {"order_id": f"o{seed}-{number}", "total": chance.randrange(1, 90), "currency": "CNY"}
            event |= {"event": "Order Completed", "userId": f"v{seed}-{person}", "properties": order}
        found += [event] * (2 if chance.random() < 0.02 else 1)
    return found


def send(stack: RunningStack, batch: list[dict[str, Any]]) -> None:
    for at in range(0, len(batch), 500):
        part = {"batch": batch[at : at + 500]}
        httpx.post(f"{stack.ingest_url}/v1/batch", json=part, auth=("local", ""), timeout=60).raise_for_status()


class Verified:
    """A stack with a day's events in it, and what verify says of it."""

    def __init__(self, stack: RunningStack) -> None:
        self.stack = stack
        self.redis: RedisClient = sync_client(stack.environ["TOUCHSTREAM_REDIS_URL"])

    def look(self, patience_s: float = 15.0) -> dict[str, Any]:
        """What `verify --json` would print; called here, which saves the start of a process each time."""
        with open_sources(patience_s, self.stack.environ) as sources:
            found: dict[str, Any] = json.loads(json.dumps(as_json(verify(sources, lambda *step: None), 0.0)))
            return found

    def is_equal(self) -> None:
        """Nothing differs any more."""
        assert self.differences() == {}

    def differences(self) -> dict[str, dict[str, Any]]:
        """What differs, by what it is."""
        hops: Any = self.look(4.0)["hops"]
        return {one["what"]: one for hop in hops for one in hop["differences"]}

    def command(self, sql: str) -> None:
        """A statement in ClickHouse."""
        self.stack.query(sql)

    def customer(self) -> tuple[str, bytes, CustomerState]:
        """A customer who has bought: id, key and state in profile's Redis."""
        for key in self.redis.scan_iter("{profile:*}:c:*"):
            state = _states.decode(self.redis.get(key))
            if any(part.purchase for part in state.parts.values()):
                return key.decode().rpartition(":")[2], key, state
        raise AssertionError("nobody has bought")


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verified]:
    """A stack of its own: what is damaged here would make other tests fail."""
    stack = RunningStack(tmp_path_factory.mktemp("stack"))
    try:
        stack.must("up", "--detach")
        send(stack, events(1))
        stack.settle()
        stack.must("identity", "erase", "user_id:v1-0", "--yes")
        for device in range(3):
            stack.must("identity", "unlink", f"anonymous_id:v1-1-{device}", "--yes")
        garbage = Output("touchpoints", 0, b"anybody", b"no touchpoint")
        publish(stack.environ["TOUCHSTREAM_KAFKA_BOOTSTRAP"], [garbage])
        send(stack, [{"type": "track", "event": "Late", "userId": "v1-0", "messageId": "verify-late"}])
        stack.settle()
        yield Verified(stack)
    finally:
        stack.end()


def hop(found: dict[str, Any], name: str, what: str = "") -> dict[str, Any]:
    return next(one for one in found["hops"] if one["hop"] == name and what in one["what"])


def test_a_day_of_merges_duplicates_splits_garbage_and_an_erasure_is_equal_at_every_hop(verified: Verified) -> None:
    found = json.loads(verified.stack.must("verify", "--json"))
    first = hop(found, "touchpoints → identity")
    assert first["expected"] == first["got"] > EVENTS
    wanted = r"1,500 events, 1 dead letters, \d+ client duplicates, 1 for erased identifiers, 4 operations"
    assert re.search(wanted, first["note"])
    assert hop(found, "dead letters")["note"] == "identity 1"
    assert all(one["expected"] == one["got"] for one in found["hops"]), found
    assert hop(found, "identity → touchpoints.resolved")["got"] > EVENTS  # the hand-overs of the merges too
    assert hop(found, "relay")["got"] > 2 * EVENTS


def test_while_events_come_in_nothing_differs(verified: Verified) -> None:
    for seed in (2, 3):
        send(verified.stack, events(seed))
        assert verified.look()["equal"]  # does not wait until they are worked off
    verified.stack.settle()
    verified.is_equal()


def test_rows_deleted_doubled_and_altered_in_clickhouse_are_named(verified: Verified) -> None:
    p, gone, twice = verified.stack.query(
        "SELECT log_partition, min(log_offset), max(log_offset) FROM events_raw GROUP BY 1 LIMIT 1"
    )[0]
    other = verified.stack.query(
        f"SELECT min(log_offset) FROM events_raw WHERE log_partition = {p} AND log_offset > {gone}"
    )[0][0]
    where = f"WHERE log_partition = {p} AND log_offset IN ({gone}, {twice}, {other})"
    verified.command(f"CREATE TABLE kept_rows ENGINE = MergeTree ORDER BY tuple() AS SELECT * FROM events_raw {where}")
    verified.command(f"DELETE FROM events_raw WHERE log_partition = {p} AND log_offset IN ({gone}, {other})")
    verified.command("SYSTEM STOP MERGES events_raw")  # a merge would mend what is planted here
    verified.command(f"INSERT INTO events_raw SELECT * FROM kept_rows WHERE log_offset = {twice}")
    verified.command(f"INSERT INTO events_raw SELECT * REPLACE (n + 1 AS n) FROM kept_rows WHERE log_offset = {other}")
    try:
        found = verified.differences()
        assert found["rows missing in events_raw"]["examples"] == [f"touchpoints.resolved/{p} offset {gone}"]
        doubled = found["rows that are in events_raw more than once"]
        assert doubled["examples"] == [f"touchpoints.resolved/{p} offset {twice}"]
        altered = found["rows of events_raw that differ from their record"]
        assert altered["examples"] == [f"touchpoints.resolved/{p} offset {other}"]
    finally:
        verified.command("SYSTEM START MERGES events_raw")
        verified.command(f"DELETE FROM events_raw {where}")
        verified.command("INSERT INTO events_raw SELECT * FROM kept_rows")
        verified.command("DROP TABLE kept_rows")
    verified.is_equal()


@pytest.mark.parametrize(
    "table", ["triggers_raw", "deliveries_raw", "identity_changes_raw", "tag_changes_raw", "stage_changes_raw"]
)
def test_a_missing_row_of_every_table_is_named(verified: Verified, table: str) -> None:
    p, offset = verified.stack.query(f"SELECT log_partition, log_offset FROM {table} ORDER BY 1, 2 LIMIT 1")[0]
    where = f"WHERE log_partition = {p} AND log_offset = {offset}"
    verified.command(f"CREATE TABLE kept_{table} ENGINE = MergeTree ORDER BY tuple() AS SELECT * FROM {table} {where}")
    verified.command(f"DELETE FROM {table} {where}")
    try:
        missing = verified.differences()[f"rows missing in {table}"]
        assert missing["examples"][0].endswith(f"/{p} offset {offset}")
    finally:
        verified.command(f"INSERT INTO {table} SELECT * FROM kept_{table}")
        verified.command(f"DROP TABLE kept_{table}")
    verified.is_equal()


def test_a_customer_altered_in_redis_is_named(verified: Verified) -> None:
    customer_id, key, state = verified.customer()
    before = verified.redis.get(key)
    part = next(iter(state.parts.values()))
    part.events += 1
    verified.redis.set(key, _encode(state))
    try:
        shown = verified.stack.must("verify", "--patience", "4", code=1)
        assert "do: ClickHouse has another snapshot than Redis" in shown
        (name,) = verified.differences()["customers whose snapshot in ClickHouse differs from Redis"]["examples"]
        assert re.fullmatch(rf"{customer_id}: events (\d+) in Redis, \d+ in ClickHouse", name)
    finally:
        verified.redis.set(key, before)
    verified.is_equal()


def test_a_customer_that_redis_lost_is_named(verified: Verified) -> None:
    customer_id, key, _ = verified.customer()
    before = verified.redis.get(key)
    verified.redis.delete(key)
    try:
        assert verified.differences()["customers in ClickHouse that Redis does not have"]["examples"] == [customer_id]
    finally:
        verified.redis.set(key, before)
    verified.is_equal()


def test_numbers_that_the_graph_gave_out_and_nobody_got_are_named(verified: Verified) -> None:
    key = next(verified.redis.scan_iter("{identity}:c:*"))
    before, changes = verified.redis.get(key), verified.redis.hget("{identity}:counters", "g")
    verified.redis.set(key, (int.from_bytes(before[:4]) + 1).to_bytes(4) + before[4:])
    verified.redis.hincrby("{identity}:counters", "g", 1)
    try:
        found = verified.differences()
        (name,) = found["customers whose records profile has not all worked"]["examples"]
        assert name.startswith(uuid_text(key[-16:]))
        assert found["changes of the graph that are not in identity.changes"]["examples"] == [f"g {int(changes) + 1}"]
    finally:
        verified.redis.set(key, before)
        verified.redis.hset("{identity}:counters", "g", changes)
    verified.is_equal()


def test_what_lies_in_redis_and_nobody_fetches_is_named(verified: Verified) -> None:
    nobody = "00000000-0000-5000-8000-000000000000"
    entry = pack_entry(Entry([Output("triggers", 0, b"k", b"v")]))
    planted = ("{profile:0}:give:1.0.0.0:" + nobody, "{rules:1}:outbox:1", "{profile:1}:waits:1")
    verified.redis.set(planted[0], b"\x92\x80\xc0")
    verified.redis.rpush(planted[1], entry)
    verified.redis.hset(planted[2], nobody, "{profile:0}:give:1.0.0.9:" + nobody)
    try:
        found = verified.differences()
        assert found["hand-overs that nobody takes"]["examples"] == [planted[0]]
        assert found["outboxes with entries that are not sent"]["examples"] == ["{rules:1}:outbox:1: 1 entries"]
        assert nobody in found["customers that wait for a hand-over"]["examples"][0]
    finally:
        verified.redis.delete(planted[0])
        verified.redis.lrem(planted[1], 0, entry)
        verified.redis.hdel(planted[2], nobody)
    verified.is_equal()


def test_a_delivery_that_notify_forgot_is_named(verified: Verified) -> None:
    trigger_id, p, offset = verified.stack.query(
        "SELECT t.trigger_id, d.log_partition, d.log_offset FROM triggers_raw AS t"
        " INNER JOIN deliveries_raw AS d ON d.trigger_id = t.trigger_id ORDER BY 1 LIMIT 1"
    )[0]
    where = f"WHERE log_partition = {p} AND log_offset = {offset}"
    delivery_id = str(verified.stack.query(f"SELECT delivery_id FROM deliveries_raw {where}")[0][0])
    assert delivery_id in {stable_id(str(trigger_id), str(k)) for k in range(5)}
    key = f"{{notify}}:d:{delivery_id}"
    state = verified.redis.hgetall(key)
    verified.command(f"CREATE TABLE kept ENGINE = MergeTree ORDER BY tuple() AS SELECT * FROM deliveries_raw {where}")
    verified.command(f"DELETE FROM deliveries_raw {where}")
    try:
        # notify knows that it ended, and no outcome of it is there …
        (name,) = verified.differences()["deliveries that ended without a record in ClickHouse"]["examples"]
        assert name == f"delivery {delivery_id} of trigger {trigger_id}"
        verified.redis.delete(key)
        # … and then it knows nothing of it.
        (name,) = verified.differences()["deliveries that neither ended nor wait in notify"]["examples"]
        assert name == f"delivery {delivery_id} of trigger {trigger_id}"
    finally:
        verified.redis.hset(key, mapping=state)
        verified.command("INSERT INTO deliveries_raw SELECT * FROM kept")
        verified.command("DROP TABLE kept")
    verified.is_equal()


@contextmanager
def frozen(stack: RunningStack, name: str) -> Iterator[None]:
    """A service that does nothing for a while, shorter than its session; then it is killed and started anew."""
    process = stack.process(name)
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("service", "topic", "what"),
    [
        ("profile", "touchpoints.resolved", "records of which profile made nothing"),
        ("identity", "touchpoints", "touchpoints of which nothing came"),
    ],
)
def test_a_record_that_was_skipped_is_named(verified: Verified, service: str, topic: str, what: str) -> None:
    stack, bootstrap = verified.stack, verified.stack.environ["TOUCHSTREAM_KAFKA_BOOTSTRAP"]
    before = end_offsets(bootstrap, [topic])
    with frozen(stack, service):
        send(stack, [{"type": "track", "event": "Lost", "anonymousId": "skipped", "messageId": f"skip-{service}"}])
        wait_for(lambda: end_offsets(bootstrap, [topic]) != before, "the record is in the topic")
        (partition,) = [p for (_, p), end in end_offsets(bootstrap, [topic]).items() if end > before[topic, p]]
        offset = before[topic, partition]
        stack.must(
            "rebase", "--service", service, "--topic", topic, "--partition", str(partition), "--to", str(offset + 1),
            "--yes",
        )  # fmt: skip
    stack.settle()
    (name,) = verified.differences()[what]["examples"]
    assert name.startswith(f"{topic}/{partition} offset {offset}")


def test_records_that_no_service_wrote_are_named(verified: Verified) -> None:
    """The last one: a forged number stays in the channel."""
    bootstrap = verified.stack.environ["TOUCHSTREAM_KAFKA_BOOTSTRAP"]

    def forged(topic: str, partition: int, ahead: int) -> Output:
        """A record of the partition once more, with a number beyond its writer's last."""
        records = read_range(bootstrap, topic, partition, 0, ends[topic, partition] - 1)
        one = next(one for one in records if one.headers.get("when", b"Viewed")[:1] != b"\x1f")
        source = one.headers["seq"].partition(b":")[0]
        last = max(int(r.headers["seq"][len(source) + 1 :]) for r in records if r.headers["seq"].startswith(source))
        headers = {**one.headers, "seq": b"%b:%d" % (source, last + ahead)}
        return Output(topic, partition, one.key, one.value, list(headers.items()))

    topics = ("touchpoints.resolved", "profile.changes", "triggers")
    ends = end_offsets(bootstrap, topics)
    publish(bootstrap, [forged(topics[0], 1, 1), forged(topics[1], 1, 1), forged(topics[2], 1, 7)])
    found = verified.differences()
    assert f"again at touchpoints.resolved/1 offset {ends[topics[0], 1]}" in _first(found, "events that stand in")
    assert f"again at 1 offset {ends[topics[0], 1]}" in _first(found, "numbers that stand in a customer's log twice")
    assert f"again at profile.changes/1 offset {ends[topics[1], 1]}" in _first(
        found, "records of which profile made two"
    )
    holes = found["numbers of the relay missing in a topic"]
    assert holes["count"] == 6
    assert holes["examples"][0].startswith("triggers/1: ")


def _first(found: dict[str, dict[str, Any]], what: str) -> str:
    return str(next(one for name, one in found.items() if name.startswith(what))["examples"][0])


def test_what_cannot_be_looked_at_is_told_from_a_difference(verified: Verified) -> None:
    environ = {**verified.stack.environ, "TOUCHSTREAM_KAFKA_BOOTSTRAP": "127.0.0.1:1"}
    done = subprocess.run([TOUCHSTREAM, "verify"], env=environ, cwd=ROOT, text=True, capture_output=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("verify could not look: Kafka at 127.0.0.1:1 does not answer")
