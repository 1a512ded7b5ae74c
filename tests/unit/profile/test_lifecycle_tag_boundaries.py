"""Where each stage, lifecycle, preference and interaction tag begins and ends, a day and a number at a time."""

from datetime import date

import pytest

from tests.unit.profile.profile_builders import CONFIG, cancelled, concluded, event, purchase, tags_of

EPOCH = date(1970, 1, 1)


def stage_of(*events):
    return concluded(*events)[0].stage


@pytest.mark.parametrize(
    ("days_ago", "stage"), [(180, "prospect"), (181, "dormant"), (365, "dormant"), (366, "churned")]
)
def test_people_who_never_bought_or_logged_in_are_dormant_after_180_and_churned_after_365_days(days_ago, stage):
    assert stage_of(event(days_ago=days_ago)) == stage


@pytest.mark.parametrize("name", ["Logged In", "Registered", "Message Opened", "Order Completed"])
@pytest.mark.parametrize(("days_ago", "is_churned"), [(364, False), (365, False), (366, True), (367, True)])
def test_churned_counts_from_the_last_login_purchase_or_response(name, days_ago, is_churned):
    assert (stage_of(purchase(800), event(name, days_ago)) == "churned") is is_churned


def test_a_page_view_does_not_bring_back_a_churned_customer_but_ends_dormant():
    assert stage_of(purchase(366), event(days_ago=0)) == "churned"
    assert stage_of(purchase(365), event(days_ago=180)) == "first_purchase"
    assert stage_of(purchase(365), event(days_ago=181)) == "dormant"


@pytest.mark.parametrize(
    ("orders", "stage"),
    [(0, "prospect"), (1, "first_purchase"), (2, "repeat"), (3, "repeat"), (4, "loyal"), (5, "loyal")],
)
def test_stages_by_number_of_purchases(orders, stage):
    assert stage_of(event(), *[purchase(i) for i in range(orders)]) == stage


@pytest.mark.parametrize(("days_ago", "stage"), [(89, "loyal"), (90, "loyal"), (91, "repeat")])
def test_loyal_needs_a_purchase_within_ninety_days(days_ago, stage):
    assert stage_of(event(), *[purchase(days_ago) for _ in range(4)]) == stage


@pytest.mark.parametrize(("days_ago", "stage"), [(364, "loyal"), (365, "repeat")])
def test_loyal_counts_four_purchases_of_365_days(days_ago, stage):
    assert stage_of(purchase(days_ago), *[purchase(1) for _ in range(3)]) == stage


def test_a_cancelled_order_takes_the_stage_back():
    assert stage_of(purchase(2, order_id="A"), purchase(1, order_id="B"), cancelled("B")) == "first_purchase"
    assert stage_of(purchase(1, order_id="B"), cancelled("B")) == "prospect"


@pytest.mark.parametrize(("orders", "is_tag"), [(0, True), (1, False)])
def test_registered_no_purchase_ends_with_one_purchase_and_comes_back_when_it_is_cancelled(orders, is_tag):
    events = [event("Registered", 0), *[purchase(0, order_id=f"{i}") for i in range(orders)]]
    assert ("registered_no_purchase" in tags_of(*events)) is is_tag
    assert "registered_no_purchase" in tags_of(*events, cancelled("0"))
    assert "registered_no_purchase" not in tags_of(event("Logged In"))


@pytest.mark.parametrize(("orders", "is_tag"), [(1, True), (2, False)])
def test_growing_is_one_purchase_and_a_later_interaction(orders, is_tag):
    bought = [purchase(5, order_id=f"{i}") for i in range(orders)]
    assert ("growing" in tags_of(*bought, event(days_ago=4))) is is_tag


def test_growing_needs_the_interaction_after_the_purchase_to_the_millisecond():
    first = purchase(5, occurred_at=1_000_000, place="1.0.5")
    assert "growing" not in tags_of(first)
    assert "growing" not in tags_of(first, event(occurred_at=999_999))
    assert "growing" not in tags_of(first, event(occurred_at=1_000_000, place="1.0.4"))
    assert "growing" in tags_of(first, event(occurred_at=1_000_001))
    assert "growing" not in tags_of(first, event("Message Sent", occurred_at=1_000_001))


def test_an_order_that_is_told_again_is_no_second_interaction():
    """The order counts as told last, and that event is no interaction after itself."""
    told = [purchase(5, occurred_at=1_000_000 + i, place=f"1.0.{i}", order_id="A") for i in range(2)]
    assert "growing" not in tags_of(*told)
    cancelled_one = [purchase(occurred_at=999_000, order_id="B"), cancelled("B", occurred_at=999_500)]
    assert "growing" not in tags_of(*told, *cancelled_one)
    assert "growing" in tags_of(*told, event(occurred_at=1_000_002))


@pytest.mark.parametrize(("purchase_days", "activity_days", "is_tag"), [
    ((179, 0), 89, True), ((180, 0), 89, False), ((179, 0), 90, False), ((0,), 0, False), ((0, 0), 0, True),
])  # fmt: skip
def test_mature_is_two_purchases_in_180_days_and_a_member_activity_in_ninety(purchase_days, activity_days, is_tag):
    events = [purchase(days) for days in purchase_days]
    assert ("mature" in tags_of(*events, event("Member Activity Joined", activity_days))) is is_tag
    assert "mature" not in tags_of(*events)


def noon(year, month, day):
    return CONFIG.calendar.start_ms((date(year, month, day) - EPOCH).days) + 12 * 3_600_000


def in_months(*counts, end=(2026, 3)):
    """So many interactions in each month up to `end`, on its first and last days."""
    events = []
    for back, count in enumerate(reversed(counts)):
        month = end[0] * 12 + end[1] - 1 - back
        year, number = month // 12, month % 12 + 1
        last = (date(year + number // 12, number % 12 + 1, 1) - date(year, number, 1)).days
        events += [event(occurred_at=noon(year, number, last if i % 2 else 1)) for i in range(count)]
    return events


@pytest.mark.parametrize(("counts", "is_tag"), [
    ((4, 3, 2, 1), True), ((3, 2, 1), False), ((5, 4, 4, 3), False), ((4, 3, 3, 2), False), ((9, 5, 2, 2), False),
    ((3, 2, 1, 0), True), ((3, 2, 1, 0, 0), False), ((1, 4, 3, 2, 1), True), ((1, 2, 3, 2, 1), False),
])  # fmt: skip
@pytest.mark.parametrize("day", [1, 2, 30])
def test_declining_is_three_falls_in_a_row_of_complete_calendar_months(counts, is_tag, day):
    """The last of the months is March 2026, so February with its 28 days is among them."""
    events = [event(occurred_at=noon(2025, 6, 1)), *in_months(*counts)]
    assert ("declining" in tags_of(*events, now_ms=noon(2026, 4, day))) is is_tag


def test_the_month_that_is_not_over_says_nothing_and_a_month_begins_at_its_first_ms():
    events = in_months(4, 3, 2, 1)
    march_ends = CONFIG.calendar.start_ms((date(2026, 4, 1) - EPOCH).days)
    assert "declining" not in tags_of(*events, now_ms=march_ends - 1)
    assert "declining" in tags_of(*events, now_ms=march_ends)
    assert "declining" in tags_of(*events, event(occurred_at=march_ends), now_ms=march_ends)
    assert "declining" not in tags_of(*events, event(occurred_at=march_ends - 1), now_ms=march_ends)


@pytest.mark.parametrize(("count", "is_tag"), [(2, False), (3, True), (4, True)])
@pytest.mark.parametrize(("days_ago", "is_inside"), [(0, True), (89, True), (90, False)])
def test_socially_active_is_three_shares_in_ninety_days(count, is_tag, days_ago, is_inside):
    names = ["Content Shared", "Product Shared", "Cart Shared", "Content Shared"]
    events = [event(name, days_ago) for name in names[:count]]
    assert ("socially_active" in tags_of(*events)) is (is_tag and is_inside)


@pytest.mark.parametrize(("count", "is_tag"), [(4, False), (5, True), (6, True)])
@pytest.mark.parametrize(("days_ago", "is_inside"), [(0, True), (89, True), (90, False)])
def test_quality_oriented_is_five_views_of_material_craft_or_review_content(count, is_tag, days_ago, is_inside):
    kinds, names = ["material", "Craft", "REVIEW"], ["Content Viewed", "Product Viewed", "Page Viewed"]
    views = [
        event(names[i % 3], days_ago, properties=b'{"content_type":"%b"}' % kinds[i % 3].encode()) for i in range(count)
    ]
    other = event("Content Viewed", days_ago, properties=b'{"content_type":"video"}')
    assert ("quality_oriented" in tags_of(other, event("Content Viewed"), *views)) is (is_tag and is_inside)


def launched(days_before, days_ago=0):
    """A purchase of something that came out so many days before it."""
    day = CONFIG.calendar.text(CONFIG.calendar.day(event(days_ago=days_ago).occurred_at) - days_before)
    return purchase(
        days_ago, properties=b'{"products":[{"launched_at":"2001-01-01"},{"launched_at":"%b"}]}' % day.encode()
    )


@pytest.mark.parametrize(
    ("days_before", "is_tag"), [(-1, False), (0, True), (1, True), (29, True), (30, True), (31, False)]
)
def test_new_product_follower_bought_from_the_launch_day_to_thirty_days_after(days_before, is_tag):
    assert ("new_product_follower" in tags_of(launched(0), launched(days_before, 364))) is is_tag
    assert "new_product_follower" not in tags_of(launched(days_before))
    assert "new_product_follower" not in tags_of(launched(0), launched(days_before, 365))


@pytest.mark.parametrize(
    ("launched_at", "bought", "is_tag"),
    [
        # In Shanghai it is the 2nd of March already.
        ("2026-03-01T23:00:00Z", "2026-03-01", False),
        ("2026-03-01T23:00:00Z", "2026-03-02", True),
        ("2026-03-01T23:00:00Z", "2026-04-01", True),
        ("2026-03-01T23:00:00Z", "2026-04-02", False),
        ("2026-03-02T00:30:00+08:00", "2026-03-01", False),
        ("2026-03-01T23:00:00", "2026-03-01", True),
        ("2026-03-01 and so on", "2026-03-01", True),
        ("9999-12-31T23:59:59-12:00", "2026-03-01", False),
        ("1969-12-31T23:00:00Z", "1970-01-01", True),
    ],
)
def test_a_launch_with_a_zone_is_on_the_business_day_of_its_moment(launched_at, bought, is_tag):
    measure = CONFIG.catalogue.measures["Order Completed"]
    (launches,) = [one for one in measure if one.name == "launch_orders"]
    properties = {"products": [{"launched_at": launched_at}]}
    assert launches.of(properties, (date.fromisoformat(bought) - date(1970, 1, 1)).days) == is_tag


def order(coupon, discounted, full, days_ago=1):
    """A purchase of so many discounted and other items, with a coupon or not."""
    products = b'{"discount":5,"quantity":%d},{"discount":0,"quantity":%d}' % (discounted, full)
    return purchase(days_ago, properties=b'{%b"products":[%b]}' % (b'"coupon":"TEN",' if coupon else b"", products))


@pytest.mark.parametrize(
    ("coupons", "is_tag"),
    [
        ((1, 1, 0, 0), True),
        ((1, 0, 0, 0), False),
        ((1, 1, 1), True),
        ((1, 1, 0), True),
        ((1, 0, 0), False),
        ((1, 1), False),
    ],
)
def test_price_sensitive_is_three_orders_half_of_them_with_a_coupon(coupons, is_tag):
    assert ("price_sensitive" in tags_of(*[order(coupon, 1, 0) for coupon in coupons])) is is_tag


@pytest.mark.parametrize(("discounted", "full", "is_tag"), [(4, 5, False), (5, 5, True), (6, 5, True), (0, 0, False)])
def test_price_sensitive_needs_half_of_the_items_discounted(discounted, full, is_tag):
    assert ("price_sensitive" in tags_of(order(1, discounted, full), order(1, 0, 0), order(1, 0, 0))) is is_tag


@pytest.mark.parametrize(("days_ago", "is_tag"), [(364, True), (365, False)])
def test_price_sensitive_looks_at_365_days(days_ago, is_tag):
    assert ("price_sensitive" in tags_of(order(1, 1, 0), order(1, 1, 0), order(1, 1, 0, days_ago))) is is_tag
