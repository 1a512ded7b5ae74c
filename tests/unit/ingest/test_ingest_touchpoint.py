"""A message becomes a touchpoint, or a list of everything that is wrong with it."""

import json
from typing import Any

import pytest

from services.ingest.core.model import (
    FLAG_CLAMPED,
    FLAG_EVENT_CLOCK,
    FLAG_IMPORT,
    FLAG_PUBLIC,
    Accepted,
    Arrival,
    Refused,
    Touchpoint,
)
from services.ingest.core.problems import CODES, REFUSALS
from services.ingest.core.source import FieldRules, Source
from services.ingest.core.touchpoint import judge

NOW = 1_795_312_800_000  # 2026-11-22T02:00:00Z
SOURCE = Source("shop")


def decide(message: Any, source: Source = SOURCE, type_: str = "", is_import: bool = False, **shared: Any) -> Any:
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    return judge(raw, Arrival(source, NOW, type_, is_import, **shared), lambda: "new-id")


def accept(message: Any, *args: Any, **kwargs: Any) -> Touchpoint:
    verdict = decide(message, *args, **kwargs)
    assert isinstance(verdict, Accepted), verdict
    return verdict.touchpoint


def refuse(message: Any, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
    verdict = decide(message, *args, **kwargs)
    assert isinstance(verdict, Refused), verdict
    return [(problem.code, problem.field) for problem in verdict.problems]


def remarks(message: Any, *args: Any, **kwargs: Any) -> list[tuple[str, str]]:
    verdict = decide(message, *args, **kwargs)
    assert isinstance(verdict, Accepted), verdict
    return [(problem.code, problem.field) for problem in verdict.remarks]


def track(**fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Product Viewed", "userId": "u1", "messageId": "m1"} | fields


def test_a_track_call_keeps_name_properties_and_context() -> None:
    touchpoint = accept(track(properties={"price": 19.90, "sku": "A"}, context={"ip": "1.2.3.4"}))
    assert (touchpoint.event_id, touchpoint.source, touchpoint.type) == ("m1", "shop", "track")
    assert touchpoint.name == "Product Viewed"
    assert json.loads(touchpoint.properties) == {"price": 19.9, "sku": "A"}
    assert json.loads(touchpoint.context) == {"ip": "1.2.3.4"}
    assert (touchpoint.occurred_at, touchpoint.received_at, touchpoint.flags) == (NOW, NOW, 0)
    assert touchpoint.originals == b"{}"


@pytest.mark.parametrize(
    ("kind", "name"),
    [("identify", "Identified"), ("page", "Page Viewed"), ("screen", "Screen Viewed"), ("group", "Group Joined")],
)
def test_calls_without_a_name_of_their_own_have_a_fixed_one(kind: str, name: str) -> None:
    assert accept({"type": kind, "anonymousId": "a1"}).name == name


def test_the_endpoint_says_the_type_of_its_messages() -> None:
    assert accept({"userId": "u1"}, type_="identify").type == "identify"
    assert accept(track(type="page"), type_="track").type == "track"


def test_a_message_without_id_gets_one() -> None:
    assert accept(track(messageId=None)).event_id == "new-id"


def test_every_problem_is_reported_and_not_only_the_first() -> None:
    message = {"type": "track", "event": " ", "messageId": 5, "userId": "null", "properties": [], "timestamp": "soon"}
    assert refuse(message) == [
        ("event_missing", "event"),
        ("message_id_invalid", "messageId"),
        ("not_an_object", "properties"),
        ("time_invalid", "timestamp"),
        ("identifier_missing", "userId"),
        ("identifier_placeholder", "userId"),
    ]


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"nul", b'{"a":\xff}', b"[1]", b'"x"', b"[" * 5000, b'{"traits":{"a":1e999999999999}}']
)
def test_bytes_that_are_no_json_object_are_refused(raw: bytes) -> None:
    assert refuse(raw)[0][0] in ("json_malformed", "not_an_object")


def test_an_event_above_the_limit_is_refused_unread() -> None:
    assert refuse(track(properties={"x": "y" * 40_000})) == [("event_too_large", "")]


def test_half_an_emoji_does_not_spoil_an_event() -> None:
    touchpoint = accept(rb'{"type":"track","event":"A\ud83d","userId":"u1","properties":{"t":"\\ud83d \ud83d\ude00"}}')
    assert touchpoint.name == "A\ufffd"
    assert json.loads(touchpoint.properties) == {"t": "\\ud83d 😀"}


def test_numbers_keep_their_digits() -> None:
    touchpoint = accept(b'{"type":"track","event":"E","userId":"u1","properties":{"a":0.10,"b":12345678901234567890}}')
    assert touchpoint.properties == b'{"a":0.10,"b":12345678901234567890}'


def test_traits_may_stand_at_the_top_or_under_context() -> None:
    top = accept({"type": "identify", "userId": "u1", "traits": {"name": "Li", "age": 3}})
    both = accept(
        {"type": "identify", "userId": "u1", "traits": {"age": 3}, "context": {"traits": {"name": "Li", "age": 4}}}
    )
    assert json.loads(top.traits) == json.loads(both.traits) == {"name": "Li", "age": 3}
    assert both.context == b"{}"


def test_identifiers_are_read_from_traits_devices_and_external_ids() -> None:
    touchpoint = accept(
        {
            "type": "identify", "userId": "u1", "anonymousId": "a1",
            "traits": {"phone": "139 1234 5678", "email": "Li@X.cn", "unionid": "oUnion", "openid": "oOpen",
                       "app_id": "wx1", "external_userid": "wmA", "corp_id": "ww1"},
            "context": {
                "device": {"id": "dev-1"}, "externalIds": [{"id": "13812345678", "type": "phone"}, {"id": 1}, 7],
            },
        }
    )  # fmt: skip
    assert touchpoint.identifiers == [
        "user_id:u1", "union_id:oUnion", "external_userid:ww1/wmA", "phone:+8613912345678", "phone:+8613812345678",
        "email:Li@x.cn", "openid:wx1/oOpen", "device_id:dev-1", "anonymous_id:a1",
    ]  # fmt: skip


def test_standardised_traits_keep_their_originals() -> None:
    touchpoint = accept(
        {"type": "identify", "userId": "u1",
         "traits": {"phone": "139 1234 5678", "city": "深圳", "province": "广东", "id_card": "11010519491231002x",
                    "address": {"state": "北京", "city": "北京", "street": "x"}}}
    )  # fmt: skip
    assert json.loads(touchpoint.traits) == {
        "phone": "+8613912345678", "city": "深圳市", "city_code": "440300",
        "province": "广东省", "province_code": "440000", "id_card": "11010519491231002X",
        "address": {"state": "北京市", "state_code": "110000", "city": "北京市", "city_code": "110100", "street": "x"},
    }  # fmt: skip
    assert json.loads(touchpoint.originals) == {
        "traits.phone": "139 1234 5678", "traits.city": "深圳", "traits.province": "广东",
        "traits.id_card": "11010519491231002x", "traits.address.state": "北京", "traits.address.city": "北京",
    }  # fmt: skip


def test_regions_of_other_countries_stay_as_they_are() -> None:
    traits = {"country": "US", "state": "Jilin", "city": "吉林"}
    assert json.loads(accept({"type": "identify", "userId": "u1", "traits": traits}).traits) == traits


def test_invalid_values_are_set_aside_with_a_remark() -> None:
    message = {
        "type": "identify", "userId": "u1",
        "traits": {"phone": "123", "email": "nobody", "id_card": "110105194912310021", "mobile": "13800138000",
                   "name": "Li"},
    }  # fmt: skip
    touchpoint = accept(message)
    assert touchpoint.identifiers == ["user_id:u1"]
    assert json.loads(touchpoint.traits) == {"name": "Li"}
    assert json.loads(touchpoint.originals)["traits.phone"] == "123"
    assert remarks(message) == [
        ("phone_invalid", "traits.phone"), ("email_invalid", "traits.email"), ("resident_id_invalid", "traits.id_card"),
        ("identifier_placeholder", "traits.mobile"),
    ]  # fmt: skip


def test_a_source_may_refuse_invalid_values() -> None:
    strict = Source("erp", rules=FieldRules({}, refuses_invalid=True))
    assert refuse({"type": "identify", "userId": "u1", "traits": {"phone": "123"}}, strict) == [
        ("phone_invalid", "traits.phone")
    ]


def test_only_mobile_numbers_identify_and_only_where_the_source_says_so() -> None:
    message = {"type": "identify", "userId": "u1", "traits": {"phone": "010-82868285"}}
    assert accept(message).identifiers == ["user_id:u1"]
    assert remarks(message) == [("phone_not_mobile", "traits.phone")]
    shared = Source("family", phone_identifies=False)
    assert accept({"type": "identify", "userId": "u1", "traits": {"phone": "13912345678"}}, shared).identifiers == [
        "user_id:u1"
    ]


def test_the_traits_of_a_group_are_not_the_persons() -> None:
    touchpoint = accept(
        {"type": "group", "userId": "u1", "groupId": "g1", "traits": {"email": "info@corp.cn", "phone": "13912345678"}}
    )
    assert touchpoint.identifiers == ["user_id:u1"]
    assert touchpoint.traits == b"{}"
    assert json.loads(touchpoint.properties) == {
        "traits": {"email": "info@corp.cn", "phone": "13912345678"}, "group_id": "g1",
    }  # fmt: skip


def test_an_alias_links_the_anonymous_id_that_came_before() -> None:
    assert accept({"type": "alias", "userId": "u1", "previousId": "a1"}).identifiers == [
        "user_id:u1",
        "anonymous_id:a1",
    ]


def test_an_alias_of_an_older_user_id_is_told_by_the_sources_pattern() -> None:
    import re

    source = Source("shop", user_id_pattern=re.compile(r"u\d+"))
    assert accept({"type": "alias", "userId": "u2", "previousId": "u1"}, source).identifiers == [
        "user_id:u2",
        "user_id:u1",
    ]
    assert accept({"type": "alias", "userId": "u2", "previousId": "a1"}, source).identifiers == [
        "user_id:u2",
        "anonymous_id:a1",
    ]


@pytest.mark.parametrize("fields", [{"userId": "u1"}, {"userId": "u1", "previousId": "null"}, {"previousId": "a1"}, {}])
def test_an_alias_of_one_id_is_refused(fields: dict[str, str]) -> None:
    assert ("alias_incomplete", "previousId") in refuse({"type": "alias"} | fields)


def test_the_clock_of_the_client_is_corrected_and_the_original_kept() -> None:
    touchpoint = accept(track(timestamp="2026-11-22T03:00:00Z", sentAt="2026-11-22T03:00:10Z"))
    assert touchpoint.occurred_at == NOW - 10_000
    assert json.loads(touchpoint.originals) == {"timestamp": "2026-11-22T03:00:00Z"}


def test_the_batch_says_when_it_was_sent_for_messages_that_do_not() -> None:
    assert accept(track(timestamp="2026-11-22T03:00:00Z"), sent_at="2026-11-22T03:00:10Z").occurred_at == NOW - 10_000


def test_an_import_keeps_its_times_and_is_flagged() -> None:
    touchpoint = accept(track(timestamp="2011-06-01T08:00:00Z", sentAt="2026-11-22T03:00:00Z"), is_import=True)
    assert touchpoint.occurred_at == 1_306_915_200_000
    assert touchpoint.flags == FLAG_IMPORT


def test_history_with_its_own_clock_says_so() -> None:
    touchpoint = accept(track(timestamp="2011-06-01T08:00:00Z"), is_import=True, has_clock=True)
    assert touchpoint.flags == FLAG_IMPORT | FLAG_EVENT_CLOCK


@pytest.mark.parametrize("timestamp", ["1999-12-31T23:59:59Z", "2026-11-23T02:00:01Z", 1_000_000_000])
def test_implausible_times_become_the_receipt_with_the_original_kept(timestamp: object) -> None:
    touchpoint = accept(track(timestamp=timestamp))
    if timestamp == 1_000_000_000:
        assert touchpoint.occurred_at == 1_000_000_000_000
        return
    assert (touchpoint.occurred_at, touchpoint.flags) == (NOW, FLAG_CLAMPED)
    assert json.loads(touchpoint.originals) == {"timestamp": timestamp}


def test_a_purchase_has_amount_currency_and_order() -> None:
    order = {"orderId": 17, "total": "1,129.90", "revenue": 1000, "currency": "rmb"}
    touchpoint = accept(track(event="Order Completed", properties=order))
    assert (touchpoint.order_id, touchpoint.amount_minor, touchpoint.currency) == ("17", 112_990, "CNY")
    assert json.loads(touchpoint.originals) == {"properties.currency": "rmb"}


def test_revenue_or_value_stand_in_for_a_missing_total() -> None:
    for field in ("revenue", "value", "amount"):
        touchpoint = accept(track(event="Order Completed", properties={field: 5, "currency": "JPY"}))
        assert (touchpoint.amount_minor, touchpoint.currency) == (5, "JPY")


@pytest.mark.parametrize("name", ["Order Completed", "Order Line Completed", "Order Updated", "Order Refunded"])
def test_amounts_of_orders_their_lines_updates_and_refunds_are_money(name: str) -> None:
    assert accept(track(event=name, properties={"total": "12.50", "order_id": "o1"})).amount_minor == 1250


def test_an_amount_of_nothing_is_told_from_no_amount() -> None:
    assert accept(track(event="Order Updated", properties={"total": 0, "order_id": "o1"})).currency == "CNY"
    assert accept(track(event="Order Updated", properties={"order_id": "o1"})).currency == ""


def test_a_cancellation_takes_no_amount() -> None:
    assert accept(track(event="Order Cancelled", properties={"total": 5, "order_id": "o1"})).amount_minor == 0


def test_prices_of_other_events_are_not_money() -> None:
    touchpoint = accept(track(properties={"value": 100, "order_id": "o1"}))
    assert (touchpoint.amount_minor, touchpoint.currency, touchpoint.order_id) == (0, "", "o1")


def test_a_refund_is_positive_whatever_its_sign() -> None:
    message = track(event="Order Refunded", properties={"total": -12.5})
    assert accept(message).amount_minor == 1250
    assert remarks(message) == [("amount_negative_refund", "properties.total")]


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"total": -1}, "amount_invalid"),
        ({"total": "much"}, "amount_invalid"),
        ({"total": 1, "currency": "XYZ"}, "currency_unknown"),
    ],
)
def test_a_purchase_whose_money_is_not_understood_is_refused(properties: dict[str, Any], code: str) -> None:
    assert [c for c, _ in refuse(track(event="Order Completed", properties=properties))] == [code]


def test_required_fields_are_those_of_the_source() -> None:
    rules = FieldRules(
        {"Order Completed": ("properties.order_id", "properties.total|properties.revenue"), "*": ("timestamp",)}
    )
    source = Source("erp", rules=rules)
    assert refuse(track(event="Order Completed"), source) == [
        ("field_missing", "timestamp"), ("field_missing", "properties.order_id"), ("field_missing", "properties.total"),
    ]  # fmt: skip
    good = track(event="Order Completed", timestamp=NOW, properties={"order_id": 1, "revenue": 0})
    assert accept(good, source).amount_minor == 0


def test_a_required_value_that_is_invalid_counts_as_missing() -> None:
    source = Source("crm", rules=FieldRules({"Identified": ("traits.phone",)}))
    found = refuse({"type": "identify", "userId": "u1", "traits": {"phone": "12"}}, source)
    assert found == [("field_missing", "traits.phone"), ("phone_invalid", "traits.phone")]


def test_a_public_key_is_flagged() -> None:
    assert accept(track(), Source("web", is_public=True)).flags == FLAG_PUBLIC


def test_a_type_beyond_the_keys_rights_is_refused() -> None:
    assert refuse({"type": "erase", "userId": "u1"}) == [("type_not_allowed", "type")]
    assert refuse({"type": "link", "userId": "u1", "anonymousId": "a1"}) == [("type_not_allowed", "type")]
    assert refuse({"type": "refuse", "userId": "u1", "anonymousId": "a1"}) == [("type_not_allowed", "type")]
    assert refuse({"type": "extract", "userId": "u1"}) == [("type_unknown", "type")]


def test_page_and_screen_keep_name_category_and_integrations() -> None:
    touchpoint = accept(
        {"type": "page", "anonymousId": "a1", "name": "Home", "category": "Top", "integrations": {"X": False}}
    )
    assert json.loads(touchpoint.properties) == {"name": "Home", "category": "Top"}
    assert json.loads(touchpoint.context) == {"integrations": {"X": False}}


def test_the_context_of_a_batch_is_that_of_its_events() -> None:
    touchpoint = accept(track(context={"ip": "2"}), context={"ip": "1", "locale": "zh-CN"})
    assert json.loads(touchpoint.context) == {"ip": "2", "locale": "zh-CN"}


def test_consent_travels_with_the_touchpoint() -> None:
    consent = {"purposes": {"marketing": True}, "at": "2026-11-22T02:00:00Z", "notice": "v3"}
    assert json.loads(accept(track(context={"consent": consent})).context) == {"consent": consent}


def test_every_code_has_an_explanation_and_is_either_refusal_or_remark() -> None:
    assert all(text for text in CODES.values())
    assert len(CODES) > len(REFUSALS)
