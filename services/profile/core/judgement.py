"""What follows from a customer's parts at the time of a decision, and when one more event leaves it as it is.

One batch has one time and one set of thresholds, so that the next event may only have to correct the last judgement.
"""

import msgspec

from services.profile.core.config import INTERACTION, ProfileConfig
from services.profile.core.fold import MAX_NAMES, kind_of
from services.profile.core.rfm import NEVER, score
from services.profile.core.state import Conclusion, Event, Part, Rfm, Thresholds, View
from services.profile.core.tagging.facts import Facts
from services.profile.core.tagging.months import month_of
from services.profile.core.tagging.vocabulary import INTERACTIONS
from services.profile.core.view import view

# Later moments that a plain event moves.
_MOVED = frozenset(("interaction", "activity", "contact"))


class Judgement(msgspec.Struct, gc=False):
    """`head` and `counts` as in the customer's profile; `room`: plain interactions that may come before a condition
    may say something else, -1: not asked for yet; `is_old`: events came after `facts` was made.
    """

    seen: View
    rfm: Rfm
    facts: Facts
    head: bytes = b""  # empty: not asked for yet
    counts: dict[str, int] = {}
    room: int = -1
    is_old: bool = False

    def facts_now(self, conclusion: Conclusion) -> Facts:
        """What conditions ask, after the last event."""
        facts = self.facts.anew(self.seen) if self.is_old else self.facts
        facts.held, facts.stage = conclusion.tags, conclusion.stage
        return facts


def judgement(parts: tuple[Part, ...], now_ms: int, thresholds: Thresholds | None, config: ProfileConfig) -> Judgement:
    """The view of all parts, its scores, and what conditions ask of them."""
    seen = view(parts, now_ms, config)
    rfm = score(seen, thresholds, config)
    return Judgement(seen, rfm, Facts(seen, rfm, thresholds, config))


def go_on(judged: Judgement, part: Part, event: Event, config: ProfileConfig) -> bool:
    """True when `event`, about to be folded into `part` of this view, leaves all tags, the stage and the scores.

    The view is then corrected to what it would say after the fold; else it is as it was. The event must be one of
    plain activity, of a name that the part knows or has room for (else it may push a counted name out) and no condition
    names, without a trait that one looks at, on a day that lets no ring forget and no month that is over grow, later
    than the first; the day of the last activity must neither change nor be one that began a tag, and no condition may
    count interactions up to this one.
    """
    name, at, seen, catalogue = event.name, event.occurred_at, judged.seen, config.catalogue
    kind = kind_of(event, config)
    if kind > INTERACTION or kind & (INTERACTION - 1) or name in catalogue.watched:
        return False
    if name not in part.counters and len(part.counters) >= MAX_NAMES:
        return False
    if name in catalogue.measures and any(measure.may_add(event.properties) for measure in catalogue.measures[name]):
        return False
    if event.traits and catalogue.traits and _may_change(event, catalogue.traits):
        return False
    day = config.calendar.day(at)
    if day > part.newest_day or at <= seen.first_ms:
        return False
    if kind or name not in config.passive:
        clock = at, event.place
        if not seen.is_active or day > seen.activity_day or seen.today - seen.activity_day > catalogue.quiet_days:
            return False
        if catalogue.looks_at_months and month_of(day) < month_of(seen.today):
            return False
        if judged.room < 0:
            judged.room = _room(judged.facts, config)
        if judged.room < 1:
            return False
        judged.room -= 1
        if kind and clock > (seen.activity_ms, seen.activity_place):
            seen.activity_ms, seen.activity_place = clock
        # Never earlier than the last activity then, so that its day stays too.
        if kind and seen.lapse_day is None and clock > (seen.churn_ms, seen.churn_place):
            seen.churn_ms, seen.churn_place = clock
    seen.events += 1
    if at > seen.last_ms:
        seen.last_ms = at
    judged.is_old = True
    return True


def _may_change(event: Event, traits: frozenset[str]) -> bool:
    """Whether the event says something of these traits, also by $set_once or $unset."""
    return not traits.isdisjoint(event.traits) or any(name.startswith("$") for name in event.traits)


def _room(facts: Facts, config: ProfileConfig) -> int:
    """Plain interactions that may still come before a condition may say something else."""
    for later, earlier in config.catalogue.afters:
        is_after = facts.after(later, earlier)
        if (later in _MOVED and not is_after and facts.clock(earlier) is not None) or (earlier in _MOVED and is_after):
            return 0
    room = NEVER
    for days, limit in config.catalogue.interactions:
        if limit == NEVER:
            return 0
        count = int(facts.sum(INTERACTIONS, days, facts.today))
        if count < limit:
            room = min(room, limit - count - 1)
    return room
