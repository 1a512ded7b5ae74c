"""Values for people: what may be personal is masked, whatever its field is called."""

import pytest

from cli.quality.masking import masked, shown


@pytest.mark.parametrize(
    ("field", "raw", "said"),
    [
        ("city", '"深圳市"', "深圳市"),
        ("traits.address.state", '"广东省"', "广东省"),
        ("province_code", '"440000"', "440000"),
        ("is_member", "true", "true"),
        ("phone", '"+8613912345678"', "+86139****5678"),
        ("email", '"li@example.com"', "l***@example.com"),
        ("name", '"李小明"', "****"),
        ("level", '"platinum"', "pl****um"),
        ("address", '{"street":"Long Lane 1"}', "{1 fields}"),
        ("hobbies", '["chess","tea"]', "[2 values]"),
        ("birth_year", "1984", "1****4"),
        ("city", "null", "none"),
        ("city", "", "none"),
    ],
)
def test_a_value_is_shown_only_where_it_says_nothing_of_a_person(field: str, raw: str, said: str) -> None:
    assert shown(field, raw) == said


def test_a_harmless_name_does_not_uncover_an_address_or_a_card_number() -> None:
    assert shown("city", '"li@example.com"') == "l***@example.com"
    assert shown("region", '"110105194912310021"') == "1101****0021"


@pytest.mark.parametrize("text", ["a", "ab", "abcd", "+86139", "a/b/cdefgh", "x@y", "13912345678", "李小明 的 电话"])
def test_at_least_half_of_a_masked_text_is_hidden(text: str) -> None:
    assert len(masked(text).replace("****", "")) <= len(text) / 2
