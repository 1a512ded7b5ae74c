"""Business days, also where clocks change."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from services.profile.core.calendar import Calendar, CalendarError


def ms(zone, *moment, fold=0):
    return int(datetime(*moment, tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)


def test_a_day_begins_at_local_midnight():
    calendar = Calendar("Asia/Shanghai")
    midnight = ms("Asia/Shanghai", 2026, 5, 1)
    day = calendar.day(midnight)
    assert calendar.day(midnight - 1) == day - 1
    assert calendar.start_ms(day) == midnight
    assert calendar.text(day) == "2026-05-01"


@pytest.mark.parametrize(("month", "day"), [(3, 29), (10, 25)])
def test_days_of_clock_changes_have_23_and_25_hours(month, day):
    calendar = Calendar("Europe/Berlin")
    start = ms("Europe/Berlin", 2026, month, day)
    number = calendar.day(start)
    hours = (calendar.start_ms(number + 1) - calendar.start_ms(number)) // 3_600_000
    assert hours == (23 if month == 3 else 25)


def test_a_day_without_midnight_begins_at_its_first_moment():
    calendar = Calendar("America/Sao_Paulo")  # 2018-11-04 began at 01:00
    start = ms("America/Sao_Paulo", 2018, 11, 4, 1)
    number = calendar.day(start)
    assert calendar.start_ms(number) == start
    assert calendar.day(start - 1) == number - 1


def test_a_day_that_has_begun_stays_when_clocks_go_back_over_midnight():
    calendar = Calendar("America/St_Johns")  # 2010-11-07 00:01 was followed by 2010-11-06 23:01
    begun = ms("America/St_Johns", 2010, 11, 7, 0, 0)
    number = calendar.day(begun)
    again = ms("America/St_Johns", 2010, 11, 6, 23, 30, fold=1)
    assert again > begun
    assert calendar.day(again) == number
    assert calendar.start_ms(number) == begun


def test_a_day_that_the_zone_skipped_begins_with_the_next():
    calendar = Calendar("Pacific/Apia")  # there was no 2011-12-30
    after = ms("Pacific/Apia", 2011, 12, 31)
    number = calendar.day(after)
    assert calendar.start_ms(number - 1) == calendar.start_ms(number) == after


def test_an_unknown_zone_is_refused():
    with pytest.raises(CalendarError, match="IANA"):
        Calendar("Nowhere/City")


def test_a_day_out_of_range_still_has_a_text():
    assert Calendar("UTC").text(10**9) == "day 1000000000"
