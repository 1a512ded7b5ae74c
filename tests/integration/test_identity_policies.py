"""The version of the policy on a real Valkey: told once, by whoever first works under it."""

from pathlib import Path

import pytest

from services.chassis.redis.client import sync_client
from services.identity.core.policy import Policy, parse_policy
from services.identity.policies import Adoption, Version, versions
from tests.conformance.valkey_server import valkey_server


def policy(limit: int) -> Policy:
    return parse_policy({"kinds": {"phone": {"code": 4, "limit": limit}}})


def test_another_policy_is_written_with_its_moment_and_the_same_one_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    five, six = policy(5), policy(6)
    with valkey_server(tmp_path, "no") as url:
        client = sync_client(url)
        assert versions(client) == []
        for one, now_ms in ((five, 10), (five, 20), (six, 30), (six, 40), (five, 50)):
            adoption = Adoption(client, one)
            adoption.adopt(now_ms)
            adoption.adopt(now_ms + 5)
        assert versions(client) == [
            Version(1, five.version, 10, ""), Version(2, six.version, 30, five.version),
            Version(3, five.version, 50, six.version),
        ]  # fmt: skip
        client.close()
    assert capsys.readouterr().out.count("policy.changed") == 3
