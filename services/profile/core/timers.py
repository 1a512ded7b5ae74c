"""When to look at a customer again although nothing arrives."""

from services.profile.core import lifecycle
from services.profile.core.catalogue import DEFINITIONS
from services.profile.core.config import ProfileConfig
from services.profile.core.rfm import NEVER
from services.profile.core.state import Rfm, View


def next_due_ms(view: View, rfm: Rfm, config: ProfileConfig) -> int | None:
    """The next moment at which time alone can change a tag, the stage or a score; None: never.

    It is the start of a business day and always later than `view.now_ms`.
    Before it nothing changes; at it something may change or, harmlessly, not. New thresholds are not time: they count
    when the customer is looked at next.
    """
    today = view.today
    day = lifecycle.next_day(view, config)
    if today < rfm.next_day < day:
        day = rfm.next_day
    for definition in DEFINITIONS:
        if definition.next_day is not None:
            candidate = definition.next_day(view, rfm, config)
            if today < candidate < day:
                day = candidate
    return None if day == NEVER else config.calendar.start_ms(day)
