"""Cooldown, once per customer, calls per business day, and what merges and splits do to them."""

from zoneinfo import ZoneInfo

from services.rules.core.limits import KEPT_FIRES, MAX_PER_DAY, business_day, merge, refusal, remember, split
from services.rules.core.model import Limits, Reason

SHANGHAI, UTC = ZoneInfo("Asia/Shanghai"), ZoneInfo("UTC")
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
MIDNIGHT_MS = 1_769_443_200_000  # 2026-01-27T00:00 in Shanghai, 16:00 of the day before in UTC


def judge(limits: Limits, fired: dict[str, int], moment_ms: int, anchor: str = "new") -> Reason | None:
    return refusal(limits, fired, anchor, moment_ms, SHANGHAI)


def test_nothing_limits_the_first_fire() -> None:
    assert judge(Limits(DAY_MS, True, 1), {}, 0) is None


def test_the_same_moment_never_fires_twice_even_without_limits() -> None:
    assert judge(Limits(), {"a": 5}, 9, "a") is Reason.REPEATED
    assert judge(Limits(), {"a": 5}, 9, "b") is None


def test_once_per_customer_is_for_ever() -> None:
    assert judge(Limits(once_per_customer=True), {"a": 0}, 4_000 * DAY_MS) is Reason.ONCE


def test_a_cooldown_ends_exactly_after_its_length() -> None:
    limits = Limits(cooldown_ms=DAY_MS)
    assert judge(limits, {"a": 1_000}, 999 + DAY_MS) is Reason.COOLDOWN
    assert judge(limits, {"a": 1_000}, 1_000 + DAY_MS) is None
    assert judge(limits, {"a": 1_000, "b": 2_000}, 1_000 + DAY_MS) is Reason.COOLDOWN


def test_a_late_record_from_before_the_last_fire_is_inside_the_cooldown() -> None:
    assert judge(Limits(cooldown_ms=HOUR_MS), {"a": 50 * DAY_MS}, DAY_MS) is Reason.COOLDOWN


def test_the_daily_cap_counts_by_the_business_day() -> None:
    limits = Limits(per_customer_per_day=2)
    evening = {"a": MIDNIGHT_MS - 2, "b": MIDNIGHT_MS - 1}
    assert judge(limits, evening, MIDNIGHT_MS - 1) is Reason.DAILY_CAP
    assert judge(limits, evening, MIDNIGHT_MS) is None
    assert refusal(limits, evening, "new", MIDNIGHT_MS, UTC) is Reason.DAILY_CAP
    assert business_day(MIDNIGHT_MS, SHANGHAI) == business_day(MIDNIGHT_MS, UTC) + 1


def test_a_day_too_long_ago_to_be_counted_is_taken_as_full() -> None:
    full = {str(i): i * DAY_MS for i in range(100, 100 + KEPT_FIRES)}
    assert judge(Limits(per_customer_per_day=MAX_PER_DAY), full, 99 * DAY_MS) is Reason.DAILY_CAP
    assert judge(Limits(per_customer_per_day=2), full, 100 * DAY_MS) is None


def test_remembering_leaves_the_old_state_alone_and_stays_bounded() -> None:
    fires: dict[str, dict[str, int]] = {}
    state = remember(fires, "r", "a", 1)
    assert (fires, state) == ({}, {"r": {"a": 1}})
    for moment in range(100):
        state = remember(state, "r", f"x{moment}", moment)
    assert set(state["r"]) == {f"x{moment}" for moment in range(100 - KEPT_FIRES, 100)}


def test_a_merge_adds_what_both_have_fired_and_keeps_the_later() -> None:
    merged = merge({"r": {"a": 1, "b": 5}, "s": {"x": 1}}, {"r": {"b": 7, "c": 2}, "t": {"y": 9}})
    assert merged == {"r": {"a": 1, "b": 7, "c": 2}, "s": {"x": 1}, "t": {"y": 9}}


def test_limits_hold_on_both_sides_of_a_split_and_count_once_when_they_meet_again() -> None:
    fires = {"r": {"a": MIDNIGHT_MS}}
    kept, given = split(fires)
    assert kept == given == fires
    again = merge(kept, given)
    assert judge(Limits(per_customer_per_day=2), dict(again["r"]), MIDNIGHT_MS) is None
