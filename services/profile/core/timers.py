"""When to look at a customer again although nothing arrives, and until when a tag holds if nothing does."""

from services.profile.core.config import ProfileConfig
from services.profile.core.rfm import NEVER
from services.profile.core.state import Conclusion
from services.profile.core.tagging.catalogue import Definition
from services.profile.core.tagging.definitions import holds_on
from services.profile.core.tagging.facts import Facts

# When time alone will never change a buyer again (31 December 9999). The timers are the list of those whom new
# thresholds concern (see sweep): a buyer without one would keep the scores of long ago.
STANDING_MS = 253_402_214_400_000
# Days on which a condition may change, looked at one after the other. A condition of many sums needs a few.
MOST_DAYS = 24


def next_due_ms(facts: Facts, config: ProfileConfig) -> int | None:
    """The next moment at which time alone can change a tag, the stage or a score; None: never.

    It is the start of a business day and always later than today. Before it nothing changes; at it something may
    change or, harmlessly, not. Of who has scores it is STANDING_MS at the latest.
    """
    today = facts.today
    catalogue = config.catalogue
    day = (catalogue.next_day_visitor if facts.is_visitor else catalogue.next_day)(facts, today)
    if today < facts.rfm.next_day < day:
        day = facts.rfm.next_day
    if day >= NEVER:
        return None if facts.is_visitor else STANDING_MS
    return config.calendar.start_ms(day)


def untils_ms(facts: Facts, conclusion: Conclusion, config: ProfileConfig) -> dict[str, int]:
    """Of every tag that is held: when it ends if nothing happens; 0: not within what is known."""
    if not conclusion.tags:
        return {}
    missing = facts.missing_measures()
    return {
        # What stays because its measures are not complete ends when they are, not by time.
        definition.name: 0 if missing and definition.needs else _until_ms(definition, facts, config)
        for definition in config.catalogue.tags
        if definition.name in conclusion.tags
    }


def _until_ms(definition: Definition, facts: Facts, config: ProfileConfig) -> int:
    day = facts.today
    for _ in range(MOST_DAYS):
        day = definition.next_day(facts, day)
        if day >= NEVER:
            return 0
        if not holds_on(definition, facts, day, True):
            return config.calendar.start_ms(day)
    return 0
