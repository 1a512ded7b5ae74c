"""A customer stays small in Redis: the aim of tests/bench/state_bytes, at a size that a test has time for."""

import pytest

from tests.bench.state_bytes import measure

AIM_BYTES = 1_024


@pytest.mark.parametrize("kind", ["known", "visitor", "reader"])
def test_identity_and_profile_keep_a_customer_of_fifty_events_in_a_kilobyte(kind: str) -> None:
    value = measure(60, 50, kind)[4]
    assert value <= AIM_BYTES


def test_events_do_not_make_a_customer_grow_who_buys_nothing() -> None:
    few, many = measure(4, 400, "reader")[4], measure(4, 3_200, "reader")[4]
    assert many <= 1.15 * few
