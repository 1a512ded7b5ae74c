"""The reason of a change: who asked for it and why, or which guard said no."""

from typing import Any

import msgspec
import pytest

from services.identity.core.reasons import MAX_AUTHOR_CHARS, MAX_REASON_CHARS, asked_of, guard_text, reason_text


def touchpoint(kind: str, properties: object = None) -> dict[str, Any]:
    return {"type": kind, "source": "operator", "properties": msgspec.json.encode(properties or {})}


def test_a_guard_is_told_with_the_kind_it_is_about() -> None:
    assert guard_text("unique:1", {1: "user_id"}) == "unique user_id, two values are never one customer"
    assert guard_text("cluster_size", {}) == "cluster_size, larger than a customer may be"
    assert guard_text("other_customer", {}) == "other_customer"
    assert guard_text("", {}) == ""


def test_an_event_is_the_reason_unless_a_guard_is() -> None:
    assert reason_text("", touchpoint("identify", {"author": "x"})) == "identify of operator"
    assert reason_text("limit", touchpoint("identify")) == "limit"


def test_a_request_by_a_person_tells_author_and_reason() -> None:
    given = {"author": " ann ", "reason": "same birthday: 1990"}
    assert reason_text("", touchpoint("link", given)) == "linked by ann: same birthday: 1990"
    assert reason_text("limit", touchpoint("link", given)) == "limit: linked by ann: same birthday: 1990"
    assert reason_text("", touchpoint("refuse", {"author": "ann"})) == "refused by ann"
    assert reason_text("", touchpoint("unlink", {"reason": "号码已转让"})) == "unlinked by operator: 号码已转让"


@pytest.mark.parametrize("properties", [{}, {"author": 7, "reason": None}, {"author": " "}])
def test_a_request_that_tells_nothing_is_told_by_its_source(properties: object) -> None:
    assert reason_text("", touchpoint("erase", properties)) == "erase of operator"


def test_properties_that_cannot_be_read_tell_nothing() -> None:
    assert reason_text("", touchpoint("link") | {"properties": b"[1"}) == "link of operator"


def test_a_long_reason_is_cut() -> None:
    text = reason_text("", touchpoint("link", {"author": "a" * 999, "reason": "r" * 9_999}))
    assert text == "linked by " + "a" * MAX_AUTHOR_CHARS + ": " + "r" * MAX_REASON_CHARS


@pytest.mark.parametrize("kind", ["link", "refuse", "unlink", "erase"])
@pytest.mark.parametrize("guard", ["", "limit"])
@pytest.mark.parametrize("properties", [{}, {"author": "ann", "reason": "x: link of y\nz"}])
def test_what_was_told_can_be_told_again(kind: str, guard: str, properties: object) -> None:
    told = reason_text(guard, touchpoint(kind, properties))
    again = {"type": kind, "source": "operator", "asked": asked_of(told)}
    assert reason_text(guard, again) == told
