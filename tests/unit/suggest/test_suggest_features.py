"""Traits and masked identifiers as the row that is compared."""

from typing import Any

import pytest

from cli.suggest.features import Features, birth_of, features_of, local_part


def row(masked: tuple[str, ...] = (), **traits: Any) -> Features:
    return features_of("c", traits, masked)


@pytest.mark.parametrize(
    "text", ["2001-02-03", "2001/2/3", "20010203", "2001.02.03", "2001年2月3日", "2001-02-03T00:00:00Z"]
)
def test_a_birthday_is_read_however_it_is_written(text: str) -> None:
    assert birth_of(text) == "2001-02-03"


@pytest.mark.parametrize("text", ["", "02-03", "2001-02-30", "1900-01-01", "0001-01-01", "soon"])
def test_what_is_no_birthday_is_unknown(text: str) -> None:
    assert birth_of(text) is None


def test_day_and_month_are_exchanged_only_where_that_is_another_day() -> None:
    assert row(birthday="1985-03-02").birth_turned == "1985-02-03"
    assert row(birthday="1985-03-03").birth_turned is None
    assert row(birthday="1985-03-13").birth_turned is None


def test_the_identity_card_tells_the_birthday_when_nobody_else_does() -> None:
    assert row(resident_id="11010519491231002X").birth == "1949-12-31"
    assert row(resident_id="11010519491231002X", birthday="1950-01-01").birth == "1950-01-01"


def test_a_phone_has_its_last_digits() -> None:
    found = row(phone="+86 138-1234-5678")
    assert (found.phone, found.phone8, found.phone7, found.phone4) == ("8613812345678", "12345678", "2345678", "5678")


def test_a_masked_phone_still_shows_its_last_four() -> None:
    found = row(("email:a***@example.com", "phone:+86138****5678"))
    assert (found.phone, found.phone7, found.phone4) == (None, None, "5678")


@pytest.mark.parametrize("email", ["a.b-c@x.de", "ABC+shop@x.de", "a_b.c@other.org"])
def test_the_same_mailbox_has_one_local_part(email: str) -> None:
    assert row(email=email).email_local == "abc"


def test_what_is_no_mailbox_has_no_local_part() -> None:
    assert local_part("nobody") is None
    assert row(email="nobody").email is None


def test_a_city_code_tells_its_province() -> None:
    found = row(city_code="440300", city="深圳市")
    assert (found.city, found.province) == ("440300", "440000")


def test_a_nested_address_counts_where_nothing_else_is_stated() -> None:
    found = row(address={"city": "Erlangen", "postalCode": "91054", "state": "Bayern"})
    assert (found.city, found.province, found.postcode) == ("erlangen", "bayern", "91054")
    assert row(address={"city": "Erlangen"}, city="Bonn").city == "bonn"


def test_nobody_is_compared_on_what_is_not_known() -> None:
    assert row(name="", birthday=None, phone=True, email=["x"]) == Features("c")
