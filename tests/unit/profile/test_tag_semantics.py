"""What conditions say of things that never were, of texts that look like code, and of numbers beyond all bounds."""

import pytest

from services.profile.core.judgement import go_on, judgement
from services.profile.core.state import Conclusion
from services.profile.core.tags import conclude
from services.profile.core.timers import next_due_ms, untils_ms
from tests.unit.profile.profile_builders import (
    CONFIG,
    CUTS,
    NOW_MS,
    TODAY,
    at,
    concluded,
    config_with,
    event,
    part_of,
    purchase,
)


def defined(condition, **fields):
    """A configuration with one tag of its own, `own`."""
    return config_with(tags={"own": {"if": condition} | fields})


def says(condition, *events, **fields):
    return "own" in concluded(*events, config=defined(condition, **fields))[0].tags


# Beyond what a float holds.
HUGE = " * ".join(["100000000000"] * 29)
PAGE = event(traits={
    "city": "Beijing", "age": 30, "vip": True, "note": None, "number": "30", "tags": ["a"], "out": False, "one": 1,
    "half": 0.5, "sizes": [3, True, "L"], "none": [],
})  # fmt: skip


@pytest.mark.parametrize("sign", ["<", "<=", ">", ">=", "==", "!="])
@pytest.mark.parametrize("value", [
    "days_since(purchase)", "days_since('Video Watched')", "r", "f", "m", "composite", "percentile(spend)",
    "percentile(composite)", "percentile(order_value)", 'trait("nothing")', 'trait("note")', 'trait("city")',
    'trait("vip")', 'trait("number")', "spend(9) / orders(9)", "days_since(purchase) + 1", "r * 0",
])  # fmt: skip
def test_a_comparison_with_something_that_never_was_is_false_and_its_opposite_true(value, sign):
    assert not says(f"{value} {sign} 0", PAGE)
    assert not says(f"0 {sign} {value}", PAGE)
    assert says(f"not {value} {sign} 0", PAGE)


def test_lists_texts_and_other_traits_follow_the_same_rule():
    assert not says('trait("nothing") != "a"', PAGE)
    assert not says('trait("nothing") in ["a", 0]', PAGE)
    assert not says("r in [0, 1]", PAGE)
    assert says("r not in [0, 1]", PAGE)
    assert not says('trait("nothing") == trait("note")', PAGE)
    assert not says('trait("nothing") != trait("city")', PAGE)
    assert not says("days_since(purchase) != days_since(login)", PAGE)
    assert not says("after(purchase, interaction)", PAGE)
    assert not says("after(interaction, purchase)", PAGE)


@pytest.mark.parametrize(("condition", "holds"), [
    ('trait("city") == "Beijing"', True), ('trait("city") != "Beijing"', False), ('trait("city") == "beijing"', False),
    ('trait("city") in ["Beijing", 1]', True), ('trait("age") in ["30", 30]', True), ('trait("age") in ["30"]', False),
    ('trait("age") == 30', True), ('trait("age") > 29.5', True), ('trait("age") == "30"', False),
    ('trait("number") == "30"', True), ('trait("number") == 30', False), ('trait("vip") == 1', False),
    ('trait("vip") in [1]', False), ('has_trait("vip")', True), ('has_trait("note")', False), ('has_trait("x")', False),
    ('trait("tags") == "a"', False), ('trait("city") == trait("city")', True), ('trait("city") != trait("age")', True),
    ('trait("age") <= trait("age")', True), ('trait("city") <= trait("city")', False),
    ('"Beijing" == trait("city")', True),
    ('trait("vip") == true', True), ('trait("vip") == false', False), ('trait("vip") != false', True),
    ('trait("vip") != true', False), ('false == trait("vip")', False), ('trait("vip") in [true, "yes", 1]', True),
    ('trait("vip") in [false]', False), ('trait("vip") not in [false]', True), ('trait("vip") == "true"', False),
    ('trait("out") == false', True), ('trait("out") == 0', False), ('trait("one") == true', False),
    ('trait("city") == true', False), ('trait("city") != true', False), ('trait("nothing") == false', False),
    ('trait("nothing") != true', False), ('not trait("nothing") == true', True), ('trait("note") in [false]', False),
    ('trait("age") in [29, 30, true]', True), ('trait("one") in [true]', False), ('trait("half") == 0.5', True),
    ('trait("age") >= 30', True), ('trait("age") > 30', False), ('trait("age") < 30', False),
    ('30 <= trait("age")', True),
    ('trait("vip") == trait("one")', False), ('trait("vip") != trait("one")', True),
    ('trait("out") == trait("out")', True),
    ('trait("vip") >= 1', False), ('trait("half") < 1 < trait("age")', True),
    ('"a" in trait("tags")', True), ('"b" in trait("tags")', False), ('"b" not in trait("tags")', True),
    ('"A" in trait("tags")', False), ('3 in trait("sizes")', True), ('true in trait("sizes")', True),
    ('false in trait("sizes")', False), ('1 in trait("sizes")', False), ('"3" in trait("sizes")', False),
    ('"Beijing" in trait("city")', True), ('"Bei" in trait("city")', False), ('30 in trait("age")', True),
    ('true in trait("vip")', True), ('1 in trait("vip")', False), ('"a" in trait("nothing")', False),
    ('"a" not in trait("nothing")', True), ('"a" in trait("none")', False), ('has_trait("none")', True),
    ('has_trait("out")', True), ('"a" in trait("tags") and not "b" in trait("tags")', True),
])  # fmt: skip
def test_traits_are_compared_by_their_kind(condition, holds):
    assert says(condition, PAGE) is holds


@pytest.mark.parametrize("text", [
    "f.day('purchase')", "f.scores(t)[0]", "others.stage(f, t)", "others.tag('own', f, t)", "f.sum('orders', 365, t)",
    "'", '\\"', "\\\\", "a.b\\\\.c", "{}", "\\n", "姓名.城市", "h0", "v0",
])  # fmt: skip
def test_a_text_that_looks_like_code_is_a_text(text):
    value = eval(f'"{text}"')
    config = config_with(tags={
        "own": {"if": f'trait("{text}") == "{text}" and days_since(purchase) >= 0 and stage != "loyal" and r > 0'},
        "other": {"if": f'trait("{text}") in ["{text}", 1.5] and has_trait("{text}") and tag("own")'},
        "third": {"if": f'days_since("{text}") >= 0 and days_since(purchase) >= 0 and orders(365) + orders(365) > 0'},
    })  # fmt: skip
    found = concluded(purchase(3), event(value, traits={value: value}), config=config)[0].tags
    assert found.keys() == {"own", "other", "third"}


@pytest.mark.parametrize(("condition", "holds"), [
    ("orders() * 100000000000 * 100000000000 > 1", True),
    (HUGE + " * orders() > 1", True),
    (HUGE + " * orders() / 3 - " + HUGE + " > 1", False),
    ("1 / (orders() - 1) > 0", False), ("not 1 / (orders() - 1) > 0", True), ("orders() / orders(9) == 1", True),
    ("orders(9) - 2 == -1", True), ("-1 < spend(9) - 10 < 1", True), ("spend(9) == 10", True),
    ("spend(9) == 1000", False),
])  # fmt: skip
def test_calculations_end_well(condition, holds):
    assert says(condition, purchase(3)) is holds
    left = condition.removeprefix("not ").removeprefix("-1 < ").split(" > ")[0].split(" < ")[0].split(" == ")[0]
    assert says("orders() == 1", purchase(3), reason=f"{{{left}}}")


@pytest.mark.parametrize("limit", ["100000000000", "-100000000000"])
def test_the_largest_days_still_make_a_moment(limit):
    config = defined(f"days_since(activity) > {limit} or days_since(activity) <= {limit}")
    facts = judgement((part_of(event()),), NOW_MS, CUTS, config).facts
    assert config.catalogue.next_day(facts, TODAY) <= TODAY + 100_000_000_001
    assert abs(concluded(event(), config=config)[0].tags["own"].since_ms) < 1 << 63


def judged_then(condition, first, then, **fields):
    """Whether the next event goes on without another look."""
    config = defined(condition, **fields)
    part = part_of(*first, config=config)
    return go_on(judgement((part,), NOW_MS, CUTS, config), part, then, config)


FIRST = event(occurred_at=at(0, 1_000))


def test_an_event_with_a_trait_that_a_condition_looks_at_does_not_go_on():
    city = event(occurred_at=at(0, 2_000), traits={"city": "Beijing"})
    for condition in (
        'trait("city") == "Beijing"', 'has_trait("city")', 'trait("city") in ["a"]', 'trait("city") == true',
        '"Beijing" not in trait("city")',
    ):  # fmt: skip
        assert not judged_then(condition, [FIRST], city)
    assert not judged_then("r > 1", [FIRST], city, ends='has_trait("city")')
    assert judged_then('has_trait("town")', [FIRST], city)
    for traits in ({"$set_once": {"city": "Beijing"}}, {"$unset": ["city"]}):
        assert not judged_then('has_trait("city")', [FIRST], event(occurred_at=at(0, 2_000), traits=traits))


@pytest.mark.parametrize(("condition", "goes_on"), [
    ("after(login, interaction)", True), ("after(activity, first_seen)", True), ("after(purchase, activity)", True),
    ("after(interaction, login)", True),
])  # fmt: skip
def test_two_moments_of_which_one_moves_are_looked_at_until_they_are_settled(condition, goes_on):
    page = event(occurred_at=at(0, 3_000))
    assert judged_then(condition, [event("Logged In", 2), FIRST, event(occurred_at=at(0, 2_000))], page) is goes_on


def test_the_interaction_behind_a_moment_that_was_the_last_does_not_go_on():
    order = purchase(occurred_at=at(0, 2_000))
    page = event(occurred_at=at(0, 3_000))
    assert not judged_then("after(purchase, interaction) or after(interaction, purchase)", [FIRST, order], page)


@pytest.mark.parametrize(("condition", "goes_on"), [
    ("days_since(activity) >= 9", False), ("days_since(activity) >= 10", True), ("days_since(activity) > 9", True),
    ("days_since(activity) > 8", False), ("days_since(activity) > 8.5", False), ("days_since(activity) >= 8.5", False),
    ("days_since(activity) >= 9.5", True), ("days_since(activity) < 9", False), ("days_since(activity) <= 9", True),
])  # fmt: skip
def test_another_event_of_the_day_that_began_a_tag_dates_it_anew(condition, goes_on):
    first, then = event(days_ago=9, occurred_at=at(9, 1_000)), event(days_ago=9, occurred_at=at(9, 2_000))
    config = config_with(tags={"own": {"if": condition}}, stages=[
        {"stage": stage, "if": "orders() > 99"} for stage in ("churned", "dormant", "loyal", "repeat", "first_purchase")
    ] + [{"stage": "prospect"}])  # fmt: skip
    part = part_of(first, config=config)
    assert go_on(judgement((part,), NOW_MS, CUTS, config), part, then, config) is goes_on


def test_a_file_may_have_no_tags_and_no_counters():
    stages = [
        {"stage": name, "if": "orders() > 9"} for name in ("churned", "dormant", "loyal", "repeat", "first_purchase")
    ]
    config = config_with(counters={}, stages=[*stages, {"stage": "prospect"}])
    assert concluded(event(), config=config)[0].stage == "prospect"
    assert config.catalogue.measures_version == ""


def test_a_renamed_counter_is_another_one():
    counter = {"events": ["Page Viewed"], "where": "a == 1"}
    one = config_with(counters={"first": counter}).catalogue
    other = config_with(counters={"second": counter}).catalogue
    assert one.measures_version != other.measures_version
    assert CONFIG.catalogue.measures_version != ""


@pytest.mark.parametrize(("days_ago", "is_tag"), [(30, False), (31, True), (399, True), (400, False)])
def test_the_last_event_of_a_name_is_known_for_400_days_whatever_else_happens(days_ago, is_tag):
    config = config_with(tags={"lapsed": {"if": 'days_since("Video Watched") > 30'}})
    watched = event("Video Watched", days_ago)
    alone = judged(part_of(watched, config=config), config=config)
    same_node = judged(part_of(watched, event(), config=config), config=config)
    other_node = judged(part_of(watched, config=config), part_of(event(), config=config), config=config)
    assert [set(one.tags) for one in (alone, same_node, other_node)] == [{"lapsed"} if is_tag else set()] * 3


def test_a_timer_ends_what_hangs_on_an_event_that_is_forgotten():
    config = config_with(tags={"lapsed": {"if": 'days_since("Video Watched") > 30'}})
    part = part_of(event("Video Watched", 100), config=config)
    one = judgement((part,), NOW_MS, CUTS, config)
    conclusion = judged(part, config=config)
    assert untils_ms(one.facts_now(conclusion), conclusion, config) == {"lapsed": at(-300, 0)}
    assert next_due_ms(one.facts, config) <= at(-300, 0)


def judged(*parts, config):
    return conclude(judgement(parts, NOW_MS, CUTS, config).facts, [Conclusion()], "", NOW_MS, config)[0]
