"""The `if`: what is refused when the rule is checked, what it sees, and what happens when a value is missing."""

import json
from zoneinfo import ZoneInfo

import cel
import msgspec
import pytest

from services.rules.core.cel_check import ConditionRefused
from services.rules.core.cel_source import FUNCTIONS, METHODS, scan
from services.rules.core.condition import Condition, ConditionFailed
from services.rules.core.model import Change

SHANGHAI = ZoneInfo("Asia/Shanghai")
HOUR_MS = 3_600_000
MONDAY_NOON_UTC_MS = 1_769_428_800_000  # 2026-01-26T12:00:00Z, 20:00 in Shanghai
PROFILE = {
    "customer_id": "c1",
    "traits": {"city": "Shanghai", "age": 31, "plan": None},
    "tags": {"vip": {"since": MONDAY_NOON_UTC_MS - 48 * HOUR_MS, "reason": "top"}},
    "stage": "loyal",
    "rfm": {"recency_days": 2, "frequency": 0, "monetary_minor": 129_900, "r": 5, "f": 4, "m": 4},
    "counts": {"Order Completed": 4, "Page Viewed": 1},
    "first_seen": MONDAY_NOON_UTC_MS - 1_000 * HOUR_MS,
    "last_seen": MONDAY_NOON_UTC_MS,
}


def change(profile: object = PROFILE, properties: object = None, **fields: object) -> Change:
    values = {
        "customer_id": "c1", "kind": "event", "cause": "0.1.2", "name": "Cart Viewed", "source": "shop",
        "type": "track", "occurred_at": MONDAY_NOON_UTC_MS - HOUR_MS, "accepted_at": MONDAY_NOON_UTC_MS,
        "changed_at": MONDAY_NOON_UTC_MS + 5, "profile": json.dumps(profile).encode(),
        "properties": json.dumps(properties or {}).encode(), **fields,
    }  # fmt: skip
    return Change(**values)  # type: ignore[arg-type]


def holds(expression: str, of: Change | None = None) -> bool:
    return Condition(expression).holds(of or change(), SHANGHAI)


@pytest.mark.parametrize(
    "expression",
    [
        "profile.rfm.m >= 4 && profile.stage == 'loyal'",
        "'vip' in profile.tags",
        "!('at_risk' in profile.tags)",
        "profile.tags.exists(name, name.startsWith('v'))",
        "profile['traits']['city'].contains('hang')",
        "profile.traits.age > 30.5",
        "has(profile.traits.city) && !has(profile.traits.street)",
        "profile.counts['Order Completed'] == 4 && !('Nothing' in profile.counts)",
        "profile.counts.size() == 2",
        "event.name == 'Cart Viewed' && event.type == 'track' && event.source == 'shop' && !event.first",
        "now - event.occurred_at == duration('1h')",
        "now == event.accepted_at && profile.last_seen == now",
        "now - profile.tags.vip.since == duration('48h')",
        "now - profile.first_seen > duration('999h')",
        "now.getHours() == 20 && now.getDayOfWeek() == 1",
        "profile.customer_id == 'c1' // a comment",
        "profile.traits.plan == null",
    ],
)
def test_a_condition_sees_profile_event_and_now(expression: str) -> None:
    assert holds(expression)


def test_a_condition_sees_the_properties_of_the_event() -> None:
    cart = change(properties={"total": 99.5, "items": [{"price": 10}, {"price": 120}]})
    assert holds("event.properties.items.exists(item, item.price > 100) && event.properties.total < 100", cart)
    assert not holds("size(event.properties.items) > 2", cart)


def test_when_time_passed_now_is_the_moment_it_was_noticed() -> None:
    tick = change(kind="tick", name="", accepted_at=0, changed_at=MONDAY_NOON_UTC_MS, properties=None)
    assert holds("now.getMinutes() == 0 && event.name == '' && size(event.properties) == 0", tick)


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("profile.traits.street == 'x'", "missing_field"),
        ("event.properties.items[3] == 1", "missing_field"),
        ("profile.traits.city > 5", "type"),
        ("profile.traits.city", "type"),
        ("profile.rfm.monetary_minor / profile.rfm.frequency > 5", "arithmetic"),
        ("int(profile.traits.city) > 5", "value"),
    ],
)
def test_a_condition_without_a_value_says_what_kind_of_failure_it_was(expression: str, kind: str) -> None:
    with pytest.raises(ConditionFailed) as failed:
        holds(expression, change(properties={"items": [1]}))
    assert failed.value.kind.value == kind
    assert str(failed.value) == kind, "the text is logged and must hold nothing of the customer"


def test_bytes_that_are_no_json_fail_like_any_other_value() -> None:
    with pytest.raises(ConditionFailed, match="value"):
        holds("profile.stage == 'loyal'", msgspec.structs.replace(change(), profile=b"{"))


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("profil.rfm.m > 1", (1, 1, "`profil`")),
        ("true ||\n  evnt.name == 'x'", (2, 3, "`evnt`")),
        ("true || profile.stages == 'x'", (1, 9, "`profile.stages`")),
        ("true || profile['rfm'].mm > 1", (1, 9, "`profile.rfm.mm`")),
        ("event.propertys.a == 1", (1, 1, "`event.propertys`")),
        ("now.year > 2", (1, 1, "`now.year`")),
        ("lenght(profile.traits) > 1", (1, 1, "`lenght`")),
        ("profile.traits.city.lower() == 'x'", (1, 21, "`lower`")),
        ("duration('30d') > duration('1h')", (1, 1, "`duration('30d')`")),
        ("timestamp('noon') < now", (1, 1, "`timestamp('noon')`")),
        ("profile.traits.city.matches('(')", (1, 21, "`matches('(')`")),
        ("profile.rfm.m > '3'", (1, 1, "values whose types do not go together")),
        ("now > 5", (1, 1, "values whose types do not go together")),
        ("size(profile.rfm.m) > 1", (1, 1, "`size` on values it is not made for")),
        ("profile.stage", (1, 1, "a result of type str")),
        ("profile.rfm.m >", (1, 16, "its end")),
        ("a b", (1, 3, "extraneous input 'b'")),
        ("(" * 500, (1, 97, "more than 96 levels of nesting")),
        ("true" + " && true" * 300, (1, 1, "2404 characters")),
        (
            "event.properties.a.all(x, event.properties.b.all(y, x == y))",
            (1, 46, "`all`"),
        ),
    ],
)
def test_a_wrong_expression_is_refused_with_its_place(expression: str, found: tuple[int, int, str]) -> None:
    with pytest.raises(ConditionRefused) as refused:
        Condition(expression)
    assert refused.value.mistakes[0][:3] == found


def test_several_wrong_names_are_found_together() -> None:
    with pytest.raises(ConditionRefused) as refused:
        Condition("profil.x && evnt.y && foo()")
    assert [mistake[2] for mistake in refused.value.mistakes] == ["`profil`", "`evnt`", "`foo`"]


def test_names_in_texts_and_comments_are_not_mentions() -> None:
    assert scan("'profil.x' == \"evnt\" // foo()").problems == []


@pytest.mark.parametrize(
    ("expression", "reads"),
    [
        ("profile.rfm.m > 1", {"profile": {"rfm": {"m"}}}),
        ("profile.rfm.m > 1 && profile.rfm.f > 1", {"profile": {"rfm": {"m", "f"}}}),
        ("'vip' in profile.tags && profile['tags'].loyal.reason == ''", {"profile": {"tags": {"vip", "loyal"}}}),
        ("'a' + 'b' in profile.tags", {"profile": {"tags": None}}),
        ("'a' in profile.tags.map(t, t)", {"profile": {"tags": None}}),
        ("profile.counts[event.name] > 1", {"profile": {"counts": None}, "event": {"name": None}}),
        ("profile.tags.size() == 0 && 'vip' in profile.tags", {"profile": {"tags": None}}),
        ("[profile].exists(p, p.stage == '')", {"profile": None}),
        ("profile.traits.email.endsWith('.cn') && now > now", {"profile": {"traits": {"email"}}, "now": None}),
    ],
)
def test_only_what_an_expression_can_read_is_converted(expression: str, reads: dict[str, object]) -> None:
    assert scan(expression).reads == reads


def test_the_functions_we_promise_exist_in_the_library() -> None:
    arguments = {
        "double": "1", "duration": "'1h'", "has": "{'a': 1}.a", "int": "'1'", "timestamp": "'2026-01-01T00:00:00Z'",
        "uint": "1",
    }  # fmt: skip
    for function in FUNCTIONS:
        cel.evaluate(f"{function}({arguments.get(function, repr('x'))})")
    for method in METHODS:
        if method.startswith("get"):
            cel.evaluate(f"timestamp('2026-01-01T00:00:00Z').{method}()")
        else:
            cel.evaluate(f"'x'.{method}({'' if method == 'size' else repr('x')})")
