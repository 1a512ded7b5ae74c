"""Values for people: what may be personal is masked, whatever its field is called."""

import json

import pytest

from cli.quality.masking import HARMLESS, masked, shown


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


@pytest.mark.parametrize(
    ("field", "raw", "said"),
    [
        ("city", '"13912345678"', "13****78"),
        ("state", '"张伟 13912345678"', "****"),
        ("city", '"张伟"', "****"),
        ("city", '"王小明家"', "****"),
        ("city_code", '"1391234"', "1****4"),
        ("city_code", '"440300"', "440300"),
        ("region_code", "440300", "440300"),
        ("state_code", '"999999"', "9****9"),
        ("region", '"Guangdong"', "Guangdong"),
        ("country", '"CN"', "CN"),
        ("country", '"Zhang Wei"', "Zh****ei"),
        ("language", '"zh-Hans-CN"', "zh-Hans-CN"),
        ("locale", '"13912345678"', "13****78"),
        ("time_zone", '"Asia/Shanghai"', "Asia/Shanghai"),
        ("timezone", '"Zhang/Wei"', "Zh****ei"),
        ("currency", '"CNY"', "CNY"),
        ("currency", '"13912345678"', "13****78"),
        ("timestamp", '"2026-01-02T03:04:05+08:00"', "2026-01-02T03:04:05+08:00"),
        ("timestamp", "2026-01-02 03:04:05.000", "2026-01-02 03:04:05.000"),
        ("originalTimestamp", "1767323045000", "1767323045000"),
        ("timestamp", "13912345678", "13****78"),
        ("timestamp", '"2026-01-02 13912345678"', "2026****5678"),
        ("properties.total", "1299.5", "1299.5"),
        ("amount", "-59", "-59"),
        ("amount", "13912345678", "13****78"),
        ("value", "13912345.678", "139****678"),
        ("value", '"13912345678"', "13****78"),
        ("value", '"张伟"', "****"),
        ("revenue", '"59.00"', "5****0"),
        ("note", '"Li Lei 李雷 and some more"', "****"),
    ],
)
def test_a_name_says_only_which_values_may_be_harmless(field: str, raw: str, said: str) -> None:
    assert shown(field, raw) == said


@pytest.mark.parametrize("field", sorted(HARMLESS))
@pytest.mark.parametrize(
    "text", ["13912345678", "+86 139 1234 5678", "139-1234-5678", "张伟", "Zhang Wei", "021-6888777"]
)
def test_under_no_name_a_phone_number_or_a_name_is_shown_whole(field: str, text: str) -> None:
    for raw in (json.dumps(text), text):
        assert text not in shown(field, raw)


def test_a_harmless_name_does_not_uncover_an_address_or_a_card_number() -> None:
    assert shown("city", '"li@example.com"') == "l***@example.com"
    assert shown("region", '"110105194912310021"') == "1101****0021"


@pytest.mark.parametrize("text", ["a", "ab", "abcd", "+86139", "a/b/cdefgh", "x@y", "13912345678", "李小明 的 电话"])
def test_at_least_half_of_a_masked_text_is_hidden(text: str) -> None:
    assert len(masked(text).replace("****", "")) <= len(text) / 2
