"""What a touchpoint record becomes before it is folded."""

import pytest

from services.profile.core.contribution import ContributionError, contribution, mask
from services.profile.core.fold import fold
from services.profile.core.state import encode
from tests.unit.profile.profile_builders import CONFIG

RECORD = {
    "event_id": "e-1",
    "source": "shop",
    "type": "identify",
    "name": "Identified",
    "identifiers": ["user_id:u-1234567890", "phone:+8613812345678"],
    "occurred_at": 1_000,
    "received_at": 2_000,
    "order_id": "",
    "amount_minor": 0,
    "currency": "",
    "traits": b'{"name":"Li Lei"}',
    "properties": b"{}",
    "flags": 1,
}


def test_a_record_becomes_an_event_with_masked_identifiers():
    event = contribution(RECORD, "1.0.7")
    assert (event.event_id, event.type, event.place, event.occurred_at) == ("e-1", "identify", "1.0.7", 1_000)
    assert event.traits == {"name": "Li Lei"}
    assert event.identifiers == (mask("user_id:u-1234567890"), mask("phone:+8613812345678"))
    assert event.flags == 1


def test_a_time_far_ahead_of_its_arrival_is_taken_back_to_a_day_ahead():
    assert contribution(RECORD | {"occurred_at": 10**13}, "1.0.7").occurred_at == 2_000 + 86_400_000


def test_traits_that_are_no_object_are_poison():
    with pytest.raises(ContributionError, match=r"1\.0\.7: traits"):
        contribution(RECORD | {"traits": b"[1, 2]"}, "1.0.7")


def test_a_number_beyond_64_bits_is_kept_as_text():
    raw = b'{"card":62220212345678901234567,"deep":[{"n":99999999999999999999}],"fits":9223372036854775807,"b":true}'
    event = contribution(RECORD | {"traits": raw}, "1.0.7")
    assert event.traits["card"] == "62220212345678901234567"
    assert event.traits["deep"] == [{"n": "99999999999999999999"}]
    assert event.traits["fits"] == 2**63 - 1
    assert event.traits["b"] is True
    encode(fold(None, event, CONFIG))


@pytest.mark.parametrize(
    ("identifier", "masked"),
    [
        ("phone:+8613812345678", "phone:+86138****5678"),
        ("email:lilei@example.com", "email:l***@example.com"),
        ("user_id:u-1234567890", "user_id:u-1****890"),
        ("anonymous_id:5f0c2d1e-aaaa-4bbb-8ccc-123456789abc", "anonymous_id:5f0c****9abc"),
        ("external_userid:corp1/wmABCDEFGHIJ", "external_userid:corp1/wmA****HIJ"),
        ("user_id:abc", "user_id:****"),
        ("phone:12345", "phone:1****5"),
    ],
)
def test_a_masked_identifier_shows_at_most_its_ends(identifier, masked):
    assert mask(identifier) == masked
