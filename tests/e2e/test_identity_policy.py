"""The identity policy on a running stack: quarantine and release, another policy and what tells of it afterwards."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.local import pidfile
from deploy.local.settings import ROOT
from services.chassis.testing.waiting import wait_for
from services.identity.adapters import load_policy
from tests.e2e.conftest import RunningStack

pytestmark = pytest.mark.timeout(600)
USER, FIRST, SECOND, THIRD, FOURTH = "user_id:rel-1", *(f"anonymous_id:rel-a{i}" for i in range(1, 5))


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "identity.yaml"
    write(path, max_identifiers_per_customer=3)
    return path


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, policy: Path) -> Iterator[RunningStack]:
    """A stack of its own: its identity is ended, and its rules change."""
    stack = RunningStack(tmp_path_factory.mktemp("stack"))
    stack.environ["TOUCHSTREAM_IDENTITY_POLICY"] = str(policy)
    try:
        stack.must("up", "--detach")
        yield stack
        stack.must("down")
    finally:
        stack.end()


def write(path: Path, limit: int = 200, **rules: Any) -> None:
    """The shipped policy with other rules; `limit`: anonymous ids of a customer."""
    shipped = yaml.safe_load((ROOT / "deploy/config/identity.yaml").read_text(encoding="utf-8"))
    shipped["kinds"]["anonymous_id"]["limit"] = limit
    path.write_text(yaml.safe_dump(shipped | rules, sort_keys=False), encoding="utf-8")


def sees(stack: RunningStack, message_id: str, visitor: str) -> None:
    """Somebody logs in as the customer with a visitor's id; worked off."""
    event = {
        "type": "identify", "userId": USER.partition(":")[2], "anonymousId": visitor.partition(":")[2],
        "messageId": message_id,
    }  # fmt: skip
    answer = httpx.post(f"{stack.ingest_url}/v1/batch", json={"batch": [event]}, auth=("local", ""), timeout=30)
    assert answer.status_code == 200, answer.text
    stack.settle()


def resolve(stack: RunningStack, *identifiers: str) -> list[str | None]:
    lines = stack.must("resolve", stdin="\n".join(identifiers)).splitlines()
    return [json.loads(line)["customer_id"] for line in lines]


def kinds(stack: RunningStack, event_id: str) -> list[str]:
    """What the graph said of an event, in order."""
    rows = stack.query(f"SELECT kind FROM identity_changes WHERE event_id = '{event_id}' ORDER BY g")
    return [str(kind) for (kind,) in rows]


def test_a_customer_who_is_too_large_grows_again_when_a_person_releases_him(stack: RunningStack) -> None:
    assert "no policy yet" in stack.must("identity", "policies")
    sees(stack, "rel-1", FIRST)
    sees(stack, "rel-2", SECOND)
    sees(stack, "rel-3", THIRD)
    assert kinds(stack, "rel-3") == ["quarantined", "blocked"]
    (user, third) = resolve(stack, USER, THIRD)
    assert user is not None
    assert third is None

    stack.must("identity", "release", "nobody", "--yes", code=2)
    stack.must("identity", "release", user, stdin="n\n", code=1)
    sees(stack, "rel-4", THIRD)
    assert resolve(stack, THIRD) == [None], "asked without an answer, nothing happens"

    told = stack.must("identity", "release", user, "--author", "ann", "--reason", "a family", "--yes")
    assert f"customer {user} released" in told
    assert "nothing changed" in stack.must("identity", "release", user, "--yes")
    sees(stack, "rel-5", THIRD)
    assert resolve(stack, THIRD) == [user]
    rows = stack.query("SELECT customer_id, reason FROM identity_changes WHERE kind = 'released'")
    assert rows == [(user, "released by ann: a family")]
    lines = stack.must("identity", "history", user, "--json").splitlines()
    assert {"quarantined", "released"} <= {json.loads(line)["what"] for line in lines}


def test_another_policy_counts_from_the_restart_on_and_sql_says_which_held_when(
    stack: RunningStack, policy: Path
) -> None:
    first = load_policy(str(policy)).version
    write(policy, limit=3)
    second = load_policy(str(policy)).version
    identity = stack.process("identity")
    assert identity is not None
    pidfile.end(identity, 10.0)

    def is_back() -> bool:
        now = stack.process("identity")
        return now is not None and now.pid != identity.pid

    wait_for(is_back, "the supervisor starts identity again", 60)
    sees(stack, "rel-6", FOURTH)

    assert kinds(stack, "rel-6") == ["blocked"]
    assert resolve(stack, USER, FOURTH)[1] is None, "the customer has three already"
    listed = [line.split() for line in stack.must("identity", "policies").splitlines()]
    assert [(line[0], line[-1]) for line in listed] == [("1", first), ("2", second)]
    rows = stack.query("SELECT number, version, replaced FROM identity_policies ORDER BY number")
    assert rows == [(1, first, ""), (2, second, first)]
    held = """
        SELECT event_id, argMax(version, p.batch) FROM events_raw AS e CROSS JOIN identity_policies AS p
        WHERE p.batch <= e.batch AND event_id IN ('rel-5', 'rel-6') GROUP BY event_id ORDER BY event_id
    """
    assert stack.query(held) == [("rel-5", first), ("rel-6", second)]
    (rules,) = stack.query(f"SELECT rules FROM identity_policies WHERE version = '{second}'")
    assert json.loads(str(rules[0]))["kinds"]["anonymous_id"]["limit"] == 3
