"""Identifiers: what counts as one, what is a placeholder, which order they come in."""

from decimal import Decimal

import pytest

from services.ingest.core.identifiers import PLACEHOLDERS, Identifiers, identifier_text, is_placeholder
from services.ingest.core.source import Source


@pytest.mark.parametrize(
    "value",
    [
        "null", "NULL", "undefined", "anonymous", "0", "-1", "none", "NaN", "n/a", "unknown", "test", "000", "0-0",
        "00000000-0000-0000-0000-000000000000", "11111111111", "ffffffff-ffff-ffff-ffff-ffffffffffff", "xxxxxxxxxxxx",
        "[object Object]", "(not set)", "9774d56d682e549c", "-", "",
    ],
)  # fmt: skip
def test_placeholders_identify_nobody(value: str) -> None:
    assert is_placeholder(value)


@pytest.mark.parametrize("value", ["1", "8888", "1111111", "u-0", "10", "-12", "0a", "11111111112", "Anonymous Coward"])
def test_short_or_unusual_ids_are_no_placeholders(value: str) -> None:
    assert not is_placeholder(value)


def test_placeholders_are_lower_case_and_stripped() -> None:
    assert all(word == word.strip().lower() and word for word in PLACEHOLDERS)


@pytest.mark.parametrize(
    ("value", "text"),
    [(42, "42"), (Decimal("17850.0"), "17850"), (" u1 ", "u1"), ("0042", "0042"), ("张三", "张三")],
)
def test_ids_become_text(value: object, text: str) -> None:
    assert identifier_text(value) == text


@pytest.mark.parametrize(
    "value", [True, 1.5, Decimal("1.5"), [], {}, "a\x00b", "x" * 257, 10**30, Decimal("1E+300"), None]
)
def test_what_is_no_id_gives_none(value: object) -> None:
    assert identifier_text(value) is None


def test_the_strongest_kind_comes_first_whatever_the_order_of_arrival() -> None:
    found = Identifiers(Source("s", app_id="wx1", corp_id="ww1"))
    for kind, value in [
        ("anonymous_id", "a"), ("device_id", "d"), ("openid", "o"), ("email", "e@x.cn"), ("phone", "+86139"),
        ("external_userid", "wm"), ("union_id", "un"), ("user_id", "u"),
    ]:  # fmt: skip
        found.add(kind, value, kind)
    assert found.ranked() == [
        "user_id:u", "union_id:un", "external_userid:ww1/wm", "phone:+86139", "email:e@x.cn", "openid:wx1/o",
        "device_id:d", "anonymous_id:a",
    ]  # fmt: skip


def test_a_repeated_identifier_stands_once() -> None:
    found = Identifiers(Source("s"))
    found.add("user_id", "7", "userId")
    found.add("user_id", 7, "previousId")
    assert found.ranked() == ["user_id:7"]


def test_openid_without_its_app_is_refused_with_the_field_that_is_missing() -> None:
    found = Identifiers(Source("s"))
    found.add("openid", "oABC", "traits.openid")
    assert found.ranked() == []
    assert [(p.code, p.field) for p in found.problems] == [("scope_missing", "traits.openid")]


def test_the_scope_in_the_message_wins_over_the_default_of_the_source() -> None:
    found = Identifiers(Source("s", app_id="wx-default"))
    found.add("openid", "oABC", "traits.openid", "wx-own")
    assert found.ranked() == ["openid:wx-own/oABC"]


def test_device_uuids_are_compared_without_case() -> None:
    found = Identifiers(Source("s"))
    found.add("device_id", "6D92078A-8246-4BA4-AE5B-76104861E7DC", "context.device.id")
    found.add("device_id", "AbCdEf0123456789", "context.device.id")
    assert found.ranked() == ["device_id:6d92078a-8246-4ba4-ae5b-76104861e7dc", "device_id:AbCdEf0123456789"]
