"""Timers: nothing changes before the next due moment, and looking only at due moments misses nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st

from services.profile.core.configuration import parse_config
from services.profile.core.judgement import judgement
from services.profile.core.state import Conclusion
from services.profile.core.tags import conclude
from services.profile.core.timers import STANDING_MS, next_due_ms
from tests.property.profile.profile_naive import CALM, NOW_MS, ZONES, event_lists, local_day
from tests.property.profile.test_view_properties import nodes_of, spread
from tests.unit.profile.profile_builders import CUTS

HORIZON_DAYS = 420
# The same kinds of conditions with days that are over soon.
SMALL = parse_config(
    {"windows_days": {"rfm": 9}},
    {
        "counters": {
            "engaged": {"events": ["Service Ticket Opened", "Content Shared"]},
            "big_tickets": {"events": ["Service Ticket Opened", "Page Viewed"], "where": "size > 2"},
        },
        "stages": [
            {"stage": "churned", "if": "days_since(contact) > 12"},
            {"stage": "dormant", "if": "days_since(activity) >= 9"},
            {"stage": "loyal", "if": "orders(9) >= 2 and days_since(purchase) <= 4"},
            {"stage": "repeat", "if": "orders() > 1"},
            {"stage": "first_purchase", "if": "not orders() == 0"},
            {"stage": "prospect"},
        ],
        "tags": {
            "new_customer": {"if": "days_since(first_purchase) <= 3"},
            "newcomer": {"if": "days_since(registration) < 4"},
            "lapsed": {"if": "days_since(login, purchase) > 6"},
            "at_risk": {"if": "days_since(activity) > 5"},
            "engaged_twice": {"if": "engaged(5) > 1", "ends": "engaged(7) < 1"},
            "engaged_share": {"if": "engaged(4) / interactions(6) >= 0.5"},
            "spender": {"if": "spend(6) > 40 or spend(3) < -5"},
            "exactly": {"if": "interactions(3) == 2 or 2 <= engaged(8) < 4"},
            "low": {"if": "r <= 2 and (f >= 2 or m >= 2)"},
            "top": {"if": "percentile(spend) >= 30 and percentile(composite) < 60"},
            "falling": {"if": "months_falling(interactions) >= 1"},
            "quiet_buyer": {"if": 'tag("at_risk") and not tag("newcomer") and stage in ["repeat", "dormant"]'},
            "lately": {"if": "days_since('Page Viewed', purchase) <= 2"},
            "big": {"if": "big_tickets(5) >= 1"},
        },
        "segments": {"all_quiet": {"if": 'stage == "churned" or tag("quiet_buyer")'}},
    },
)


def judge(parts, now_ms, before, config, cause=""):
    one = judgement(tuple(parts), now_ms, CUTS, config)
    conclusion, changes = conclude(one.facts, before, cause, now_ms, config)
    rfm = one.rfm
    known = (conclusion, rfm.r, rfm.f, rfm.m, rfm.frequency, rfm.monetary_minor)
    return known, conclusion, changes, next_due_ms(one.facts, config)


@given(event_lists(max_size=15), nodes_of, st.sampled_from(sorted(ZONES)))
@settings(CALM, max_examples=20)
def test_nothing_changes_between_two_due_moments(events, nodes, zone):
    scan(events, nodes, ZONES[zone], HORIZON_DAYS)


@given(event_lists(max_size=15, max_days=12, is_edgy=False), nodes_of)
@settings(CALM, max_examples=100)
def test_nothing_changes_between_two_due_moments_with_limits_of_a_few_days(events, nodes):
    scan(events, nodes, SMALL, 30)


def scan(events, nodes, config, horizon_days):
    """Compare every day's first ms and the ms before it with what was concluded at the last due moment."""
    parts = spread(events, nodes, config)
    today = config.calendar.day(NOW_MS)
    known, conclusion, _, due = judge(parts, NOW_MS, [Conclusion()], config, cause="1.0.x")
    for day in range(today + 1, today + horizon_days):
        first_ms = config.calendar.start_ms(day)
        # The last ms before the day and the first of it: within a day nothing depends on the hour.
        assert judge(parts, first_ms - 1, [conclusion], config)[0] == known
        if due == first_ms:
            known, conclusion, _, due = judge(parts, due, [conclusion], config)
            assert due is None or due > first_ms
        else:
            assert due is None or due > first_ms
            assert judge(parts, first_ms, [conclusion], config)[0] == known


@given(event_lists(max_size=15), nodes_of)
@CALM
def test_timers_end_and_so_does_every_customer_without_events(events, nodes):
    config = ZONES["Asia/Shanghai"]
    parts = spread(events, nodes, config)
    _, conclusion, _, due = judge(parts, NOW_MS, [Conclusion()], config)
    rounds = 0
    while due not in (None, STANDING_MS):
        _, conclusion, _, following = judge(parts, due, [conclusion], config)
        assert following is None or following > due
        due = following
        rounds += 1
        assert rounds < 100
    # New thresholds find a buyer by the timer; nobody else has one for ever.
    assert (due is None) is judgement(tuple(parts), NOW_MS, CUTS, config).facts.is_visitor
    assert conclusion.stage == "churned"
    assert {"churned", "at_risk"} <= conclusion.tags.keys()


@given(event_lists(max_size=10), nodes_of, st.integers(1, 2_000))
@CALM
def test_a_late_look_finds_the_same_beginnings_as_a_punctual_one(events, nodes, late_hours):
    config = ZONES["Asia/Shanghai"]
    parts = spread(events, nodes, config)
    end_ms = NOW_MS + late_hours * 3_600_000
    start = judge(parts, NOW_MS, [Conclusion()], config, cause="1.0.x")
    late = judge(parts, end_ms, [start[1]], config)[1]
    punctual, due = start[1], start[3]
    while due is not None and due <= end_ms:
        _, punctual, _, due = judge(parts, due, [punctual], config)
    assert late.stage == punctual.stage
    assert late.tags.keys() == punctual.tags.keys()
    for name in late.tags.keys() & {"at_risk", "dormant", "churned", "login_lapsed_30d", "potential"}:
        assert late.tags[name] == punctual.tags[name]


@given(st.sampled_from(sorted(ZONES)), st.integers(0, 4_000_000_000_000))
@CALM
def test_days_agree_with_the_standard_library_and_never_turn_back(zone, ms):
    calendar = ZONES[zone].calendar
    day = calendar.day(ms)
    assert calendar.start_ms(day) <= ms < calendar.start_ms(day + 1)
    naive = local_day(ms, ZONES[zone])
    assert day == naive or (
        zone == "America/St_Johns" and day == naive + 1 and local_day(ms - 3_600_000, ZONES[zone]) == day
    )


def test_minute_by_minute_days_only_ever_move_forward():
    for zone, config in ZONES.items():
        calendar = config.calendar
        last = None
        start = 1_289_000_000_000 // 60_000 * 60_000  # November 2010: clocks change in two of the three zones
        for ms in range(start, start + 6 * 86_400_000, 60_000):
            day = calendar.day(ms)
            assert last is None or day in (last, last + 1), zone
            assert calendar.start_ms(day) <= ms < calendar.start_ms(day + 1)
            if last is not None and day != last:
                assert calendar.start_ms(day) == ms
            last = day
