"""The shipped tags, one row each: when it holds, why, what sets its clock, when time alone could change it.

Days are compared as whole business days: "more than 90 days without" begins 91 calendar days after the last day with.
A reason is text for people, made when the tag begins; of a tag that time begins it depends on nothing but its clock.
"""

from collections.abc import Callable
from typing import NamedTuple

from services.profile.core.config import ProfileConfig
from services.profile.core.lifecycle import CHURNED, DORMANT, stage_of
from services.profile.core.rfm import NEVER
from services.profile.core.state import Rfm, View


class TagDefinition(NamedTuple):
    """One tag.

    holds     whether it holds as of `View.today`
    reason    English text, asked when it begins
    clock     (day on which time began it, place of the event that set the clock), asked only while it holds;
              None: a record begins it
    next_day  next day on which time alone can change it (any day ≤ today, or NEVER: none); None: only together with
              the stage or a score
    """

    name: str
    holds: Callable[[View, Rfm, ProfileConfig], bool]
    reason: Callable[[View, Rfm, ProfileConfig], str]
    clock: Callable[[View, Rfm, ProfileConfig], tuple[int, str]] | None = None
    next_day: Callable[[View, Rfm, ProfileConfig], int] | None = None


def _new_customer(v: View, r: Rfm, c: ProfileConfig) -> bool:
    return v.first_purchase_day is not None and v.today - v.first_purchase_day <= c.limits.new_customer_days


def _new_customer_reason(v: View, r: Rfm, c: ProfileConfig) -> str:
    return f"first purchase on {c.calendar.text(v.first_purchase_day or 0)}"


def _new_customer_next(v: View, r: Rfm, c: ProfileConfig) -> int:
    return NEVER if v.first_purchase_day is None else v.first_purchase_day + c.limits.new_customer_days + 1


def _newcomer(v: View, r: Rfm, c: ProfileConfig) -> bool:
    return v.registered_day is not None and v.today - v.registered_day < c.limits.newcomer_days


def _registered_reason(v: View, r: Rfm, c: ProfileConfig) -> str:
    return f"registered on {c.calendar.text(v.registered_day or 0)}"


def _newcomer_next(v: View, r: Rfm, c: ProfileConfig) -> int:
    return NEVER if v.registered_day is None else v.registered_day + c.limits.newcomer_days


def _registered_no_purchase(v: View, r: Rfm, c: ProfileConfig) -> bool:
    return v.registered_day is not None and v.purchase_day is None


def _registered_no_purchase_reason(v: View, r: Rfm, c: ProfileConfig) -> str:
    return f"{_registered_reason(v, r, c)}, no purchase yet"


def _high_value(v: View, r: Rfm, c: ProfileConfig) -> bool:
    return r.is_top_composite


def _high_value_reason(v: View, r: Rfm, c: ProfileConfig) -> str:
    return f"RFM {r.r}+{r.f}+{r.m} is in the top 10 % of buyers (thresholds {r.thresholds_version})"


def _potential(v: View, r: Rfm, c: ProfileConfig) -> bool:
    limits = c.limits
    high = limits.potential_value_score
    return 0 < r.r <= limits.potential_recency_score and (r.f >= high or r.m >= high)


def _potential_reason(v: View, r: Rfm, c: ProfileConfig) -> str:
    day = c.calendar.text(v.purchase_day or 0)
    return f"R fell to {r.r} (last purchase on {day}) with F {r.f}, M {r.m} (thresholds {r.thresholds_version})"


def _potential_clock(v: View, r: Rfm, c: ProfileConfig) -> tuple[int, str]:
    return r.low_recency_day, v.purchase_place


def _highly_interactive(v: View, r: Rfm, c: ProfileConfig) -> bool:
    return v.engaged > c.limits.interactive_count


def _highly_interactive_reason(v: View, r: Rfm, c: ProfileConfig) -> str:
    return f"{v.engaged} service or social interactions in {c.windows.interactive} days"


def _engaged_next(v: View, r: Rfm, c: ProfileConfig) -> int:
    return v.engaged_until_day


def _vip(v: View, r: Rfm, c: ProfileConfig) -> bool:
    return r.is_top_spender and v.engaged > c.limits.interactive_count


def _vip_reason(v: View, r: Rfm, c: ProfileConfig) -> str:
    spend = f"net spend of {c.windows.rfm} days in the top 10 % of buyers (thresholds {r.thresholds_version})"
    return f"{spend}, {_highly_interactive_reason(v, r, c)}"


def _at_risk(v: View, r: Rfm, c: ProfileConfig) -> bool:
    return v.today - v.activity_day > c.limits.at_risk_days


def _at_risk_reason(v: View, r: Rfm, c: ProfileConfig) -> str:
    return _silent(v, c, c.limits.at_risk_days + 1)


def _at_risk_clock(v: View, r: Rfm, c: ProfileConfig) -> tuple[int, str]:
    return v.activity_day + c.limits.at_risk_days + 1, v.activity_place


def _at_risk_next(v: View, r: Rfm, c: ProfileConfig) -> int:
    return v.activity_day + c.limits.at_risk_days + 1


def _dormant(v: View, r: Rfm, c: ProfileConfig) -> bool:
    return v.today - v.activity_day > c.limits.dormant_days and stage_of(v, c) == DORMANT


def _dormant_reason(v: View, r: Rfm, c: ProfileConfig) -> str:
    return _silent(v, c, c.limits.dormant_days + 1)


def _dormant_clock(v: View, r: Rfm, c: ProfileConfig) -> tuple[int, str]:
    return v.activity_day + c.limits.dormant_days + 1, v.activity_place


def _churned(v: View, r: Rfm, c: ProfileConfig) -> bool:
    return v.today - v.churn_day > c.limits.churned_days and stage_of(v, c) == CHURNED


def _churned_reason(v: View, r: Rfm, c: ProfileConfig) -> str:
    days = c.limits.churned_days + 1
    return f"no login, purchase or response to marketing since {c.calendar.text(v.churn_day)} ({days} days)"


def _churned_clock(v: View, r: Rfm, c: ProfileConfig) -> tuple[int, str]:
    return v.churn_day + c.limits.churned_days + 1, v.churn_place


def _login_lapsed(v: View, r: Rfm, c: ProfileConfig) -> bool:
    return v.lapse_day is not None and v.today - v.lapse_day > c.limits.login_lapsed_days


def _login_lapsed_reason(v: View, r: Rfm, c: ProfileConfig) -> str:
    return f"no login or purchase since {c.calendar.text(v.lapse_day or 0)} ({c.limits.login_lapsed_days + 1} days)"


def _login_lapsed_clock(v: View, r: Rfm, c: ProfileConfig) -> tuple[int, str]:
    return (v.lapse_day or 0) + c.limits.login_lapsed_days + 1, v.lapse_place


def _login_lapsed_next(v: View, r: Rfm, c: ProfileConfig) -> int:
    return NEVER if v.lapse_day is None else v.lapse_day + c.limits.login_lapsed_days + 1


def _silent(v: View, c: ProfileConfig, days: int) -> str:
    day = c.calendar.text(v.activity_day)
    if v.is_active:
        return f"no interaction or purchase since {day} ({days} days)"
    return f"no interaction or purchase, known since {day} ({days} days)"


DEFINITIONS: tuple[TagDefinition, ...] = (
    TagDefinition("new_customer", _new_customer, _new_customer_reason, next_day=_new_customer_next),
    TagDefinition("high_value", _high_value, _high_value_reason),
    TagDefinition("potential", _potential, _potential_reason, _potential_clock),
    TagDefinition("vip", _vip, _vip_reason, next_day=_engaged_next),
    TagDefinition("registered_no_purchase", _registered_no_purchase, _registered_no_purchase_reason),
    TagDefinition("newcomer", _newcomer, _registered_reason, next_day=_newcomer_next),
    TagDefinition("highly_interactive", _highly_interactive, _highly_interactive_reason, next_day=_engaged_next),
    TagDefinition("login_lapsed_30d", _login_lapsed, _login_lapsed_reason, _login_lapsed_clock, _login_lapsed_next),
    TagDefinition("at_risk", _at_risk, _at_risk_reason, _at_risk_clock, _at_risk_next),
    TagDefinition("dormant", _dormant, _dormant_reason, _dormant_clock),
    TagDefinition("churned", _churned, _churned_reason, _churned_clock),
)
