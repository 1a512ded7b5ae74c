"""What an operator does by hand, on the whole stack: look at what was refused, mend it, correct who is whom."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cli.publish import partitions_of, publish
from deploy.local.settings import ROOT
from services.chassis.ids import partition_of
from services.chassis.records import Output
from services.chassis.testing.waiting import wait_for
from tests.e2e.conftest import RunningStack

pytestmark = pytest.mark.timeout(600)


def send(stack: RunningStack, *events: dict[str, Any]) -> httpx.Response:
    return httpx.post(f"{stack.ingest_url}/v1/batch", json={"batch": list(events)}, auth=("local", ""), timeout=30)


def resolve(stack: RunningStack, *identifiers: str) -> list[str | None]:
    lines = stack.must("resolve", stdin="\n".join(identifiers)).splitlines()
    return [json.loads(line)["customer_id"] for line in lines]


def test_a_refused_event_is_seen_mended_and_arrives_once(running_stack: RunningStack) -> None:
    broken = {"type": "track", "event": "Sales Visit Logged", "userId": "null", "messageId": "mend-1"}
    assert send(running_stack, broken).status_code == 400
    (shown,) = [
        one
        for line in running_stack.must("rejected", "--json", "--limit", "50").splitlines()
        if "mend-1" in (one := json.loads(line))["raw"]
    ]
    assert {reason["code"] for reason in shown["reasons"]} == {"identifier_placeholder", "identifier_missing"}
    assert shown["source"] == "local"
    resend = ("rejected", "resend", "--id", shown["id"])
    assert "accepted" in running_stack.must(*resend, "--edit", "userId=mended")
    assert "were sent again before" in running_stack.must(*resend)
    running_stack.settle()
    found = running_stack.query("SELECT name, count() FROM events WHERE event_id = 'mend-1' GROUP BY name")
    assert found == [("Sales Visit Logged", 1)]


def test_a_dead_letter_is_seen_and_put_back(running_stack: RunningStack) -> None:
    """Bytes that no version of identity reads: they come back as a second letter, which is all that can be asked."""
    bootstrap = running_stack.environ["TOUCHSTREAM_KAFKA_BOOTSTRAP"]
    key = b"user_id:" + b"0" * 32
    partition = partition_of(key, partitions_of(bootstrap, "touchpoints"))
    publish(bootstrap, [Output("touchpoints", partition, key, b"\x00\xffgarbage")])

    def letters() -> list[dict[str, Any]]:
        return [json.loads(line) for line in running_stack.must("dead", "--json", "--service", "identity").splitlines()]

    wait_for(lambda: len(letters()) == 1, "identity gave it up", 60)
    (letter,) = letters()
    assert (letter["topic"], letter["partition"], letter["key"]) == ("touchpoints", partition, key.decode())
    assert letter["value_base64"] == "AP9nYXJiYWdl"
    assert "back into touchpoints" in running_stack.must("dead", "resend", "--id", letter["id"])
    assert "were sent again before" in running_stack.must("dead", "resend", "--id", letter["id"])
    wait_for(lambda: len(letters()) == 2, "identity gave it up once more", 60)


def test_a_replay_under_a_stricter_policy_says_what_it_would_part_and_parts_it(
    running_stack: RunningStack, tmp_path: Path
) -> None:
    send(
        running_stack,
        {"type": "identify", "userId": "rp-1", "anonymousId": "rp-a1", "messageId": "rp-1"},
        {"type": "identify", "userId": "rp-1", "anonymousId": "rp-a2", "messageId": "rp-2"},
    )
    running_stack.settle()
    rules = yaml.safe_load((ROOT / "deploy/config/identity.yaml").read_text(encoding="utf-8"))
    rules["kinds"]["anonymous_id"]["limit"] = 1
    strict = tmp_path / "strict.yaml"
    strict.write_text(yaml.safe_dump(rules, sort_keys=False), encoding="utf-8")  # the order says how strong a kind is

    report = json.loads(running_stack.must("identity", "replay", "--json"))
    assert report["would_part"]["customers"] == report["would_merge"]["customers"] == 0
    left_out = json.loads(running_stack.must("identity", "replay", "--policy", str(strict), "--json"))["left_out"]
    assert left_out["identifiers"] >= 1, "others of this stack may have several, too"
    assert len(set(resolve(running_stack, "user_id:rp-1", "anonymous_id:rp-a1", "anonymous_id:rp-a2"))) == 1

    # As if it were in force: what is taken back needs no leave of the policy that the service runs under.
    environ, running_stack.environ = running_stack.environ, {
        **running_stack.environ, "TOUCHSTREAM_IDENTITY_POLICY": str(strict),
    }  # fmt: skip
    try:
        applied = json.loads(running_stack.must("identity", "replay", "--apply", "--yes", "--json"))["applied"]
    finally:
        running_stack.environ = environ
    assert (applied["unlinked"], applied["missed"]) == (left_out["identifiers"], [])
    user, first, second = resolve(running_stack, "user_id:rp-1", "anonymous_id:rp-a1", "anonymous_id:rp-a2")
    assert user == first != second


def test_unlink_parts_and_erase_forgets(running_stack: RunningStack) -> None:
    send(
        running_stack,
        {"type": "identify", "userId": "op-1", "anonymousId": "op-a1", "messageId": "op-1"},
        {"type": "track", "event": "Viewed", "anonymousId": "op-a2", "messageId": "op-2"},
        {"type": "identify", "userId": "op-1", "anonymousId": "op-a2", "messageId": "op-3"},
    )
    running_stack.settle()
    user, first, second = resolve(running_stack, "user_id:op-1", "anonymous_id:op-a1", "anonymous_id:op-a2")
    assert user == first == second

    assert f"parted from {user}" in running_stack.must("identity", "unlink", "anonymous_id:op-a2", "--yes")
    user, first, second = resolve(running_stack, "user_id:op-1", "anonymous_id:op-a1", "anonymous_id:op-a2")
    assert user == first != second
    assert "nothing changed" in running_stack.must("identity", "unlink", "anonymous_id:op-a2", "--yes")

    anna, parted = user, second
    where = ("anonymous_id:op-a2", "--from", anna, "--yes")
    running_stack.must("identity", "unlink", *where, code=1)
    told = running_stack.must(
        "identity", "link", "user_id:op-1", "anonymous_id:op-a2", "--author", "ann", "--reason", "the same", "--yes"
    )
    assert f"customer {parted} is part of {anna} now" in told
    assert f"parted from {anna}" in running_stack.must("identity", "unlink", *where, "--reason", "a till", "--yes")
    running_stack.must("identity", "unlink", "user_id:op-1", "anonymous_id:op-a2", "--yes", code=1)
    running_stack.settle()
    lines = running_stack.must("identity", "history", "anonymous_id:op-a2", "--json").splitlines()
    assert [(one["what"], one["reason"].partition(" ")[0]) for one in map(json.loads, lines)] == [
        ("linked", "track"), ("merged", "identify"), ("split", "unlinked"), ("merged", "linked"), ("linked", "linked"),
        ("split", "unlinked"), ("declined", "no_link:"),
    ]  # fmt: skip
    (second,) = resolve(running_stack, "anonymous_id:op-a2")
    assert running_stack.query("SELECT customer_id, count() FROM events WHERE event_id = 'op-2' GROUP BY 1") == [
        (second, 1)
    ]

    # Asked without an answer, nothing happens.
    running_stack.must("identity", "erase", "user_id:op-1", stdin="n\n", code=1)
    assert resolve(running_stack, "user_id:op-1") == [user]
    assert f"customer {user} erased" in running_stack.must("identity", "erase", "user_id:op-1", "--yes")
    assert resolve(running_stack, "user_id:op-1", "anonymous_id:op-a1", "anonymous_id:op-a2") == [None, None, second]
    running_stack.must("identity", "erase", "user_id:op-1", "--yes", code=1)
    running_stack.settle()
    assert running_stack.query(f"SELECT count() FROM customers WHERE customer_id = '{user}'") == [(0,)]
