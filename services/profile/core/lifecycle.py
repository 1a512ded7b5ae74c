"""The lifecycle stage, exactly one per customer, as a function of the view alone.

prospect (no purchase yet) → first_purchase → repeat (two purchases ever) → loyal (enough in the window, the last not
long ago) → dormant (too long without interaction or purchase) → churned (too long without login, purchase or response
to marketing). The last that holds counts. Going back is a transition like any other.
"""

from services.profile.core.config import ProfileConfig
from services.profile.core.rfm import NEVER
from services.profile.core.state import View

PROSPECT = "prospect"
FIRST_PURCHASE = "first_purchase"
REPEAT = "repeat"
LOYAL = "loyal"
DORMANT = "dormant"
CHURNED = "churned"
STAGES = (PROSPECT, FIRST_PURCHASE, REPEAT, LOYAL, DORMANT, CHURNED)


def stage_of(view: View, config: ProfileConfig) -> str:
    """The stage as of `view.today`."""
    limits = config.limits
    today = view.today
    if today - view.churn_day > limits.churned_days:
        return CHURNED
    if today - view.activity_day > limits.dormant_days:
        return DORMANT
    if view.loyal_until_day:
        return LOYAL
    if view.purchase_day is None:
        return PROSPECT
    return REPEAT if view.has_repeated else FIRST_PURCHASE


def timed_day(view: View, stage: str, config: ProfileConfig) -> int | None:
    """The day on which time began this stage; None for stages that an event begins."""
    if stage == CHURNED:
        return view.churn_day + config.limits.churned_days + 1
    if stage == DORMANT:
        return view.activity_day + config.limits.dormant_days + 1
    return None


def next_day(view: View, config: ProfileConfig) -> int:
    """The next day on which time alone can change the stage; NEVER when it cannot."""
    today = view.today
    day = NEVER
    churned = view.churn_day + config.limits.churned_days + 1
    if churned > today:
        day = churned
    dormant = view.activity_day + config.limits.dormant_days + 1
    if today < dormant < day:
        day = dormant
    if today < view.loyal_until_day < day:
        day = view.loyal_until_day
    return day
