"""Single values to their standard form: phones, e-mails, money, times, regions."""

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from services.ingest.core.mail import standardise_email
from services.ingest.core.money import currency_code, exponent_of, parse_amount, to_minor
from services.ingest.core.phone import Phone, standardise_phone
from services.ingest.core.regions import Region, find_city, find_province
from services.ingest.core.times import correct_skew, is_plausible, parse_time

NOW = 1_795_312_800_000


@pytest.mark.parametrize(
    "text",
    ["13912345678", "+8613912345678", "139 1234 5678", "139-1234-5678", "86 13912345678", "008613912345678",
     "（+86）13912345678", "１３９１２３４５６７８"],
)  # fmt: skip
def test_a_chinese_mobile_number_has_one_form(text: str) -> None:
    assert standardise_phone(text, "CN") == Phone("+8613912345678", True)


def test_a_landline_is_valid_but_not_mobile() -> None:
    assert standardise_phone("010-82868285", "CN") == Phone("+861082868285", False)


def test_the_region_decides_how_a_national_number_is_read() -> None:
    assert standardise_phone("(650) 253-0000", "US") == Phone("+16502530000", True)
    assert standardise_phone("6502530000", "CN") is None


@pytest.mark.parametrize(
    "text", ["", "12345", "11111111111", "19912345", "call 13912345678", "139123456789", "+", "x" * 99]
)
def test_what_no_numbering_plan_knows_is_no_phone(text: str) -> None:
    assert standardise_phone(text, "CN") is None


@pytest.mark.parametrize(
    ("text", "email"),
    [
        ("Li.Lei@Example.COM", "Li.Lei@example.com"), ("a+b_c-d@x.cn", "a+b_c-d@x.cn"),
        ("o'neil@example.com", "o'neil@example.com"), ("li@例子.公司", "li@例子.公司"),
    ],
)  # fmt: skip
def test_only_the_domain_of_an_email_loses_its_case(text: str, email: str) -> None:
    assert standardise_email(text) == email


@pytest.mark.parametrize(
    "text",
    ["", "li", "li@", "@x.cn", "li@x", "li@@x.cn", "a..b@x.cn", ".a@x.cn", "li@-x.cn", "li@x.cn ", "Li <li@x.cn>",
     "a" * 65 + "@x.cn", "li@localhost", "li@" + "a" * 300 + ".cn", "x" * 100_000 + "@"],
)  # fmt: skip
def test_bad_addresses_are_none(text: str) -> None:
    assert standardise_email(text) is None


@pytest.mark.parametrize(
    ("value", "currency", "minor"),
    [
        (Decimal("129.90"), "CNY", 12990), ("1,299.00", "CNY", 129900), ("¥19.9", "CNY", 1990), (100, "JPY", 100),
        ("1.2345", "KWD", 1235), (Decimal("59.980000000000004"), "CNY", 5998), ("0.005", "USD", 1), ("-5", "USD", -500),
        (Decimal("1E+3"), "CNY", 100000), (0, "CNY", 0),
    ],
)  # fmt: skip
def test_amounts_become_whole_minor_units(value: object, currency: str, minor: int) -> None:
    amount = parse_amount(value)
    assert amount is not None
    assert to_minor(amount, currency) == minor


@pytest.mark.parametrize(
    "value", ["12,50", "1.299,00", "free", "", "1e9999", True, None, [], "NaN", "Infinity", "1" * 65, 1.5]
)
def test_what_is_no_amount_is_none(value: object) -> None:
    assert parse_amount(value) is None


def test_amounts_beyond_64_bits_are_none() -> None:
    assert to_minor(Decimal(10) ** 17, "CNY") is None
    assert to_minor(Decimal(2**63 - 1), "JPY") == 2**63 - 1


def test_currencies_have_their_iso_4217_exponent() -> None:
    assert [exponent_of(code) for code in ("CNY", "JPY", "KWD", "CLF")] == [2, 0, 3, 4]
    assert [currency_code(text) for text in ("cny", " RMB ", "元", "￥", "XYZ", "")] == [
        "CNY",
        "CNY",
        "CNY",
        "CNY",
        None,
        None,
    ]


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-22T02:00:00Z", "2026-11-22T10:00:00.000+08:00", "2026-11-22 02:00:00", "20261122T020000Z",
        1_795_312_800, "1795312800", 1_795_312_800_000, "1795312800000", 1_795_312_800_000_000,
        Decimal("1795312800.0004"), "2026/11/22 2:00", "2026-11-22T02:00:00.000000000Z",
    ],
)  # fmt: skip
def test_every_usual_form_of_a_time_is_the_same_moment(value: object) -> None:
    assert parse_time(value) == NOW == int(datetime(2026, 11, 22, 2, tzinfo=UTC).timestamp()) * 1000


def test_a_time_without_offset_is_of_the_zone_of_its_source() -> None:
    assert parse_time("2026-11-22 10:00:00", ZoneInfo("Asia/Shanghai")) == NOW


@pytest.mark.parametrize(
    "value", ["", "yesterday", "2026-13-01", "12", -5, True, [], None, "9" * 30, "2026-11-22T25:00:00Z"]
)
def test_what_is_no_time_is_none(value: object) -> None:
    assert parse_time(value) is None


def test_a_wrong_client_clock_is_corrected_by_when_it_sent() -> None:
    an_hour = 3_600_000
    assert correct_skew(NOW + an_hour - 5_000, NOW + an_hour, NOW) == NOW - 5_000
    assert correct_skew(NOW - 7, None, NOW) == NOW - 7


def test_plausible_is_after_2000_and_not_far_ahead() -> None:
    assert is_plausible(NOW + 1000, NOW, 1000)
    assert not is_plausible(NOW + 1001, NOW, 1000)
    assert not is_plausible(946_684_799_999, NOW, 1000)


@pytest.mark.parametrize("text", ["北京", "北京市", " 北京市 ", "110000", "11", "Beijing", "beijing"])
def test_a_province_has_one_name_and_code(text: str) -> None:
    assert find_province(text) == Region("110000", "北京市")


def test_every_province_is_found_by_full_name_short_name_and_code() -> None:
    assert find_province("新疆") == find_province("新疆维吾尔自治区") == find_province("650000")
    assert [find_province(p).code for p in ("广西", "内蒙古", "香港", "台湾", "澳门", "陕西", "山西")] == [  # type: ignore[union-attr]
        "450000", "150000", "810000", "710000", "820000", "610000", "140000",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "code", "name"),
    [
        ("深圳", "440300", "深圳市"), ("吉林", "220200", "吉林市"), ("恩施", "422800", "恩施土家族苗族自治州"),
        ("延边", "222400", "延边朝鲜族自治州"), ("阿里", "542500", "阿里地区"), ("上海", "310100", "上海市"),
        ("仙桃市", "429004", "仙桃市"), ("大连市", "210200", "大连市"),
    ],
)  # fmt: skip
def test_a_city_has_one_name_and_code(text: str, code: str, name: str) -> None:
    assert find_city(text) == Region(code, name)


def test_unknown_regions_are_none() -> None:
    assert find_province("California") is None
    assert find_city("Springfield") is None
    assert find_city("") is None
