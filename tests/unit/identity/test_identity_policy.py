"""The policy file: every mistake at once, and the shipped one is right."""

from pathlib import Path

import pytest

from services.chassis.errors import Fatal
from services.identity.adapters import load_policy
from services.identity.core.policy import PolicyError, parse_policy

REPO = Path(__file__).resolve().parents[3]
KINDS = {"user_id": {"code": 1, "limit": 1, "known": True}, "phone": {"code": 4, "blocked": ["+8610000000000", 0]}}


def refusal(document: object) -> str:
    with pytest.raises(PolicyError) as caught:
        parse_policy(document)
    return str(caught.value)


def test_the_shipped_policy_knows_all_kinds_in_their_order() -> None:
    policy = load_policy(str(REPO / "deploy/config/identity.yaml"))
    assert list(policy.kinds) == [
        "user_id", "union_id", "external_userid", "phone", "email", "openid", "device_id", "anonymous_id",
    ]  # fmt: skip
    assert policy.kinds["user_id"].limit == 1
    assert not policy.kinds["anonymous_id"].is_known
    assert policy.by_code[4] == "phone"


def test_defaults() -> None:
    policy = parse_policy({"kinds": KINDS})
    assert (policy.max_size, policy.window_ms, policy.bucket_ms) == (1_000, 24 * 3_600_000, 2 * 3_600_000)
    assert (policy.kinds["phone"].limit, policy.kinds["phone"].is_known) == (0, False)


def test_blocked_and_unknown_and_empty_ones_identify_nobody() -> None:
    policy = parse_policy({"kinds": KINDS})
    assert policy.is_blocked("phone", "+8610000000000")
    assert policy.is_blocked("phone", "0")
    assert policy.is_blocked("fax", "1")
    assert policy.is_blocked("phone", "")
    assert not policy.is_blocked("phone", "+8613800138000")


def test_every_mistake_is_named() -> None:
    text = refusal(
        {
            "kinds": {
                "user_id": {"code": 1, "limit": -1, "knwon": True},
                "phone": {"code": 1, "blocked": "x", "known": "certainly"},
                "a_name_of_seventeen": {"code": 256},
                "email": {"limit": 2},
                "openid": None,
            },
            "dedup_window_hours": "24",
            "dedup_bucket_hours": 0,
            "max_identifiers_per_customer": 70_000,
            "max_identifers": 5,
        }
    )
    for part in (
        "kinds.user_id.limit: expected a whole number ≥ 0, got -1",
        "kinds.user_id.knwon: unknown key",
        "kinds: two kinds have the same code",
        "kinds.phone.blocked: expected a list",
        "kinds.phone.known: expected true or false, got 'certainly'",
        "kinds.a_name_of_seventeen.code: at most 255",
        "kinds.a_name_of_seventeen: a name has at most 16 bytes",
        "kinds.email.code: expected a whole number ≥ 1, got 0",
        "kinds.openid: expected a mapping, got None",
        "dedup_window_hours: expected a whole number ≥ 1, got '24'",
        "dedup_bucket_hours: expected a whole number ≥ 1, got 0",
        "max_identifiers_per_customer: at most 60000",
        "max_identifers: unknown key",
    ):
        assert part in text


@pytest.mark.parametrize("document", [None, [], "kinds", {}, {"kinds": []}, {"kinds": {}}])
def test_what_is_no_policy_is_refused(document: object) -> None:
    assert "kinds" in refusal(document)


def test_a_number_that_is_a_truth_value_is_refused() -> None:
    assert "got True" in refusal({"kinds": KINDS, "dedup_window_hours": True})


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"kinds: {", "while parsing"), (b"kinds: []", "kinds"), (b"\xff\xfe\xfa", "decode"), (None, "No such file")],
)
def test_a_policy_file_with_a_mistake_stops_the_start_with_its_name(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    path = tmp_path / "identity.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Fatal, match=f"identity policy {path}: (.|\n)*{why}"):
        load_policy(str(path))
