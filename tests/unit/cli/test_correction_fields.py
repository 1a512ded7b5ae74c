"""What staff type becomes traits by ingest's own rules, or is refused with the field and the rule."""

from typing import Any

import pytest

from cli.correction.fields import RefusedError, changes, parse


def standard(*texts: str, profile: dict[str, Any] | None = None) -> dict[str, Any]:
    return {one.field: one.value for one in changes(parse(texts), profile or {}, "CN")}


def test_values_are_standardised_as_ingest_does_it() -> None:
    assert standard("phone=139 1234 5678", "city=深圳", "email=Li@EXAMPLE.com", "level=gold") == {
        "phone": "+8613912345678", "city": "深圳市", "city_code": "440300", "email": "Li@example.com", "level": "gold",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("phone=12345", "phone: phone_invalid"),
        ("phone=13800138000", "phone: identifier_placeholder"),
        ("email=nobody", "email: email_invalid"),
        ("id_card=110105194912310021", "id_card: resident_id_invalid"),
        ("city", "expected FIELD=VALUE"),
        ("=x", "expected FIELD=VALUE"),
        ("city=", "to have none, write city:=null"),
        ("points:=many", "points: no JSON"),
        ("points:=NaN", "points: no JSON"),
        ("$unset=city", "names with $"),
        ("note=\udcff", "cannot be written"),
        ("note=" + "x" * 20_000, "at most 16384"),
    ],
)
def test_what_is_invalid_is_refused_with_the_field_and_the_rule(text: str, says: str) -> None:
    with pytest.raises(RefusedError) as error:
        standard(text)
    assert says in str(error.value)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(RefusedError) as error:
        standard("phone=12345", "email=nobody")
    assert "phone_invalid" in str(error.value)
    assert "email_invalid" in str(error.value)


def test_a_field_given_twice_is_refused() -> None:
    with pytest.raises(RefusedError, match="city: given twice"):
        parse(["city=深圳", "city=广州"])


def test_a_landline_is_a_phone_number_though_it_identifies_nobody() -> None:
    assert standard("phone=010 6552 9988") == {"phone": "+861065529988"}


def test_json_gives_numbers_lists_and_nothing() -> None:
    assert standard("points:=7", 'tags:=["a"]', "nick:=null", profile={"nick": "x"}) == {
        "points": 7, "tags": ["a"], "nick": None,
    }  # fmt: skip


def test_what_the_profile_says_already_is_left_out_and_alone_refused() -> None:
    profile = {"city": "深圳市", "city_code": "440300", "level": "gold"}
    assert standard("city=深圳", "level=silver", profile=profile) == {"level": "silver"}
    with pytest.raises(RefusedError, match="says so already: city"):
        standard("city=440300", profile=profile)


def test_one_and_true_are_not_the_same() -> None:
    assert standard("is_member:=true", profile={"is_member": 1}) == {"is_member": True}


def test_a_city_that_has_no_code_takes_the_former_code_away() -> None:
    profile = {"city": "深圳市", "city_code": "440300"}
    assert standard("city=Atlantis", profile=profile) == {"city": "Atlantis", "city_code": None}


def test_a_change_keeps_what_was_and_what_was_typed() -> None:
    (one,) = changes(parse(["phone=139 1234 5678"]), {"phone": "+8613712345678"}, "CN")
    assert one.as_json() == {
        "field": "phone", "former": "+8613712345678", "value": "+8613912345678", "given": "139 1234 5678",
    }  # fmt: skip
