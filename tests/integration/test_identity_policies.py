"""A change of the identity policy on a real Valkey: told once, by the first batch under it, in order with all else."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.chassis.records import Output, Record
from services.identity.adapters import Encoder, Graph
from services.identity.core.policy import MAX_BYTES, Policy, PolicyError, parse_policy
from services.identity.handler import CHANGES, Writer
from services.identity.policies import Adoption, Version, versions
from services.profile.archive.core.rows import identity_rows
from tests.conformance.valkey_server import valkey_server
from tests.property.identity.graph_lab import CODECS, KEY, TARGETS, GraphLab
from tests.property.identity.naive_graph import Touch
from tests.property.identity.test_graph_properties import connect

AT_MS = 1_750_000_000_000


def policy(limit: int) -> Policy:
    return parse_policy({"kinds": {"user_id": {"code": 1}, "phone": {"code": 2, "limit": limit}}})


class Lab(GraphLab):
    """As a process works that tells its policy."""

    def __init__(self, client: Any, policy: Policy) -> None:
        super().__init__(client, policy)
        self.start(policy)

    def start(self, policy: Policy) -> list[Output]:
        """New owners, under this policy; what they find unsent."""
        Adoption(self.client, policy).adopt()
        self.policy, self.graph = policy, Graph(self.ledger, policy, is_told=True)
        self.writer = Writer(policy, TARGETS, self.writer._registry)
        self.encode = Encoder(policy, KEY).encode
        return [output for number in self.claims for entry in self.claim(number) for output in entry.outputs]

    def decide(self, partition: int, *ids: str) -> list[Output]:
        """One touchpoint, decided and not sent."""
        offset = len(self.log[partition])
        self.append(Touch("event", ids, f"m{partition}.{offset}", (partition, offset), AT_MS + 10 * offset + partition))
        entry = self.step(partition)
        return entry.outputs if entry else []

    def happens(self, partition: int, *ids: str) -> list[str]:
        """The same, sent; kinds of changes."""
        outputs = self.decide(partition, *ids)
        self.sent += outputs
        return [change["kind"] for change in changes(outputs)]


def changes(outputs: list[Output]) -> list[dict[str, Any]]:
    return [CODECS["identity_change"].decode(output.value) for output in outputs if output.topic == CHANGES]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Policy], Lab]]:
    with valkey_server(tmp_path, "no") as url:
        client = connect(url)
        yield lambda policy: Lab(client, policy)
        client.close()


def test_the_first_batch_under_another_policy_tells_it_before_all_else(start: Callable[[Policy], Lab]) -> None:
    five, six = policy(5), policy(6)
    lab = start(five)
    assert versions(lab.client) == [], "nothing was decided under it yet"
    assert lab.happens(0, "user_id:a", "phone:1") == ["policy", "linked"]
    assert lab.happens(0, "user_id:a", "phone:2") == ["linked"]
    lab.start(five)
    assert lab.happens(1, "user_id:b") == ["linked"]
    lab.start(six)
    assert lab.happens(1, "user_id:c") == ["policy", "linked"]
    lab.start(five)
    assert lab.happens(2, "user_id:a") == ["policy"]

    found = changes(lab.sent)
    assert [one["g"] for one in found] == list(range(1, len(found) + 1))
    told = [one for one in found if one["kind"] == "policy"]
    assert [(one["nodes"], one["from_id"], one["cause"]) for one in told] == [
        ([five.version], "", "1.0.0"), ([six.version], five.version, "1.1.1"), ([five.version], six.version, "1.2.0"),
    ]  # fmt: skip
    assert [parse_policy(json.loads(one["reason"])).version for one in told] == [
        five.version,
        six.version,
        five.version,
    ]
    assert {(one["customer_id"], one["event_id"], one["source"]) for one in told} == {("", "", "")}
    assert versions(lab.client) == [
        Version(1, five.version, AT_MS, ""), Version(2, six.version, AT_MS + 11, five.version),
        Version(3, five.version, AT_MS + 2, six.version),
    ]  # fmt: skip


def test_a_policy_told_before_a_crash_is_sent_as_it_was_by_who_follows_under_another(
    start: Callable[[Policy], Lab],
) -> None:
    five, six = policy(5), policy(6)
    lab = start(five)
    decided = lab.decide(0, "user_id:a", "phone:1")
    unsent = lab.start(six)
    assert [(o.key, o.value, o.headers) for o in unsent] == [(o.key, o.value, o.headers) for o in decided]
    assert [one["nodes"] for one in changes(unsent) if one["kind"] == "policy"] == [[five.version]]


def test_a_batch_of_nothing_but_duplicates_tells_it_too(start: Callable[[Policy], Lab]) -> None:
    lab = start(policy(5))
    lab.happens(0, "user_id:a")
    lab.start(policy(6))
    lab.append(Touch("event", ("user_id:a",), "m0.0", (0, 1), AT_MS + 20))
    entry = lab.step(0)
    assert [one["kind"] for one in changes(entry.outputs if entry else [])] == ["policy"]


def test_a_change_of_policy_is_a_row_and_no_link(start: Callable[[Policy], Lab]) -> None:
    lab = start(policy(5))
    outputs = lab.decide(0, "user_id:a")
    told = changes(outputs)[:1]
    (told_output,) = [output for output in outputs if output.topic == CHANGES][:1]

    arrived = Record(CHANGES, 0, 0, told_output.key, told_output.value, dict(told_output.headers), AT_MS)
    rows, links = identity_rows([arrived], told)
    assert dict(zip(rows.columns, rows.data, strict=True))["kind"] == ["policy"]
    assert dict(zip(rows.columns, rows.data, strict=True))["batch"] == [1]
    assert len(links) == 0


def test_a_policy_too_large_to_be_told_is_refused() -> None:
    values = [f"user-{i:08}" for i in range(MAX_BYTES // 16)]
    with pytest.raises(PolicyError, match=f"expected at most {MAX_BYTES} bytes"):
        parse_policy({"kinds": {"user_id": {"code": 1, "blocked": values}}})
