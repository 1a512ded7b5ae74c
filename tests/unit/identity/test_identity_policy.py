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
    assert (policy.kinds["external_userid"].scope, policy.kinds["openid"].scope) == ("corp", "app")
    assert policy.is_blocked("user_id", "NULL")
    assert policy.is_blocked("user_id", "0")
    assert not policy.verified, "nobody is believed unless it is said"


def test_defaults() -> None:
    policy = parse_policy({"kinds": KINDS})
    assert (policy.max_size, policy.window_ms, policy.bucket_ms) == (1_000, 24 * 3_600_000, 2 * 3_600_000)
    phone = policy.kinds["phone"]
    assert (phone.limit, phone.is_known, phone.may_merge, phone.ttl_days, phone.scope) == (0, False, True, 0, "")
    assert parse_policy({"kinds": {"user_id": {"code": 1, "unique": True}}}).kinds["user_id"].limit == 1


def test_blocked_and_unknown_and_empty_ones_identify_nobody() -> None:
    policy = parse_policy({"kinds": KINDS})
    assert policy.is_blocked("phone", "+8610000000000")
    assert policy.is_blocked("phone", "0")
    assert policy.is_blocked("fax", "1")
    assert policy.is_blocked("phone", "")
    assert not policy.is_blocked("phone", "+8613800138000")


def test_every_mistake_is_named_with_what_was_expected_and_found() -> None:
    text = refusal(
        {
            "kinds": {
                "user_id": {"code": 1, "limit": -1, "knwon": True, "unique": True},
                "phone": {"code": 1, "blocked": "x", "known": "certainly", "may_merge": 0},
                "a_name_of_seventeen": {"code": 256},
                "email": {"limit": 2, "unique": True, "blocked_patterns": ["(", 7]},
                "openid": None,
                "device_id": {"code": 7, "scope": "planet", "ttl_days": -3, "blocked": [None]},
            },
            "dedup_window_hours": "24",
            "dedup_bucket_hours": 0,
            "max_identifiers_per_customer": 70_000,
            "max_identifers": 5,
            "blocked": {"a": 1},
            "takeover_hold_days": True,
            "remembered_refusals": -1,
            "sources": {"crm": {"attributes": ["fax"], "verified": ["user_id"], "trusted": 1}, "shop": 7},
        }
    )
    for part in (
        "kinds.user_id.limit: expected a whole number from 0 to 60000, got -1",
        "kinds.user_id.knwon: unknown key, expected one of blocked, blocked_patterns, code,",
        "kinds: expected a code of its own for every kind, got [1, 1, 1, 1, 1, 7]",
        "kinds.phone.blocked: expected a list of values, got 'x'",
        "kinds.phone.known: expected true or false, got 'certainly'",
        "kinds.phone.may_merge: expected true or false, got 0",
        "kinds.a_name_of_seventeen.code: expected a whole number from 1 to 255, got 256",
        "kinds.a_name_of_seventeen: expected a name of at most 16 bytes, got 'a_name_of_seventeen'",
        "kinds.email.code: expected a whole number from 1 to 255, got 0",
        "kinds.email.limit: expected 1 or nothing where unique is true, got 2",
        "kinds.email.blocked_patterns: expected regular expressions (missing ), unterminated subpattern",
        "kinds.openid: expected a mapping, got None",
        "kinds.device_id.scope: expected one of corp, app, got 'planet'",
        "kinds.device_id.ttl_days: expected a whole number from 0 to 36500, got -3",
        "kinds.device_id.blocked: expected a list of values, got [None]",
        "dedup_window_hours: expected a whole number from 1 to 1000000, got '24'",
        "dedup_bucket_hours: expected a whole number from 1 to 1000000, got 0",
        "max_identifiers_per_customer: expected a whole number from 2 to 60000, got 70000",
        "max_identifers: unknown key, expected one of blocked, dedup_bucket_hours,",
        "blocked: expected a list of values, got {'a': 1}",
        "takeover_hold_days: expected a whole number from 0 to 3650, got True",
        "remembered_refusals: expected a whole number from 0 to 1000000, got -1",
        "sources.crm.attributes: expected some of user_id, phone, a_name_of_seventeen, email, openid, device_id, got",
        "sources.crm.verified: expected some of phone, email, got 'user_id'",
        "sources.crm.trusted: unknown key, expected one of attributes, verified, got 1",
        "sources.shop: expected a mapping, got 7",
    ):
        assert part in text, text


def test_a_kind_that_expires_cannot_be_taken_over() -> None:
    document = {"kinds": {"phone": {"code": 1, "ttl_days": 9}}, "sources": {"crm": {"verified": ["phone"]}}}
    assert "sources.crm.verified: expected kinds without ttl_days" in refusal(document)


def test_the_version_names_the_content() -> None:
    policy = parse_policy({"kinds": KINDS})
    assert policy.version == parse_policy({"kinds": dict(KINDS)}).version
    weaker = {name: KINDS[name] for name in reversed(KINDS)}
    assert policy.version != parse_policy({"kinds": weaker}).version, "the order of the kinds is their strength"
    assert policy.version != parse_policy({"kinds": KINDS, "takeover_hold_days": 31}).version


@pytest.mark.parametrize("document", [None, [], "kinds", {}, {"kinds": []}, {"kinds": {}}])
def test_what_is_no_policy_is_refused(document: object) -> None:
    assert "kinds" in refusal(document)


def test_a_number_that_is_a_truth_value_is_refused() -> None:
    assert "got True" in refusal({"kinds": KINDS, "dedup_window_hours": True})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"kinds: {", "while parsing"),
        (b"kinds: []", "kinds"),
        (b"\xff\xfe\xfa", "decode"),
        (None, "No such file"),
        (b"kinds: {}\nmerge: 1\nkinds: {}\n", "kinds: expected once, stands on line 1 and on line 3"),
    ],
)
def test_a_policy_file_with_a_mistake_stops_the_start_with_its_name(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    path = tmp_path / "identity.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Fatal, match=f"identity policy {path}: (.|\n)*{why}"):
        load_policy(str(path))
