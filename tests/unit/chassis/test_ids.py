"""Ids: what several services, releases and other people's programs must compute alike, pinned by value."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.clock import now_ms
from services.chassis.ids import digest, node_of, node_text, partition_of, stable_id, uuid_text
from services.chassis.testing.clock import FakeClock

KEY = b"touchstream-local"


def test_digests_never_change() -> None:
    assert digest("phone", "+8613800138000", KEY).hex() == "a60c8f41411bb33a74986e98ecd39b94"
    assert node_of("phone:+8613800138000", KEY) == "phone:a60c8f41411bb33a74986e98ecd39b94"
    assert stable_id("welcome", "1", "1.0.7") == "2e2122b302d65b56ad2036d7e217f97c"


def test_equal_values_of_two_kinds_or_two_deployments_differ() -> None:
    found = {digest("phone", "1", KEY), digest("email", "1", KEY), digest("phone", "1", b"another deployment")}
    assert len(found) == 3


def test_a_value_may_hold_colons() -> None:
    assert node_of("openid:app/a:b", KEY) == node_text("openid", digest("openid", "app/a:b", KEY))


@pytest.mark.parametrize("text", ["", "phone", "phone:", ":value"])
def test_an_identifier_without_kind_or_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="kind:value"):
        node_of(text, KEY)


def test_partitions_are_those_of_librdkafkas_consistent_partitioner() -> None:
    # crc32 of "123456789" is its published check value.
    assert partition_of(b"123456789", 64) == 0xCBF43926 % 64
    assert {partition_of(b"%d" % i, 4) for i in range(100)} == {0, 1, 2, 3}


# Without the separator, and without surrogates, which are no characters.
PARTS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1)


@given(PARTS, PARTS)
def test_other_parts_give_another_id(parts: list[str], other: list[str]) -> None:
    assert (stable_id(*parts) == stable_id(*other)) == (parts == other)


def test_half_a_character_has_no_id() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        stable_id("\ud800")


@given(st.uuids())
def test_uuid_text_is_the_canonical_form(value: uuid.UUID) -> None:
    assert uuid_text(value.bytes) == str(value)


def test_clocks_speak_milliseconds() -> None:
    clock = FakeClock(1_000)
    clock.advance(500)
    assert clock() == 1_500
    clock.advance(-700)
    assert clock() == 800
    assert 1_700_000_000_000 < now_ms() < 10_000_000_000_000
