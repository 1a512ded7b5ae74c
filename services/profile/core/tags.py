"""The conclusion: which tags hold, which stage, and what that changes. The only place where a tag begins or ends.

A tag that time begins names the event that set its clock: since and anchor follow from the state alone and are the
same after a crash, a merge or a replay. The others are anchored in the record that began them, and keep the earliest
anchor through merges.
"""

from collections.abc import Sequence

from services.profile.core import lifecycle
from services.profile.core.catalogue import DEFINITIONS, TagDefinition
from services.profile.core.config import ProfileConfig
from services.profile.core.state import Changes, Conclusion, Rfm, TagState, View


def conclude(
    view: View, rfm: Rfm, before: Sequence[Conclusion], cause: str, cause_at_ms: int, config: ProfileConfig
) -> tuple[Conclusion, Changes]:
    """What holds as of the view, and what that changes against `before`.

    before       what held just before: [own]; [own, taken] at a merge; [taken] for a customer split off; [] for a new
                 one. A tag that any of them holds is not added again; one that any held and that is over is removed.
    cause        place of the record behind it, "" for a tick.
    cause_at_ms  its time; not used for a tick: what a tick begins is dated to the start of the view's day.
    """
    tags: dict[str, TagState] = {}
    added: list[tuple[str, str, str]] = []
    for definition in DEFINITIONS:
        if not definition.holds(view, rfm, config):
            continue
        name = definition.name
        held = [conclusion.tags[name] for conclusion in before if name in conclusion.tags]
        if definition.clock is not None:
            state = _timed(definition, held, view, rfm, config)
        elif held:
            state = held[0] if len(held) == 1 else min(held, key=lambda h: (h.since_ms, h.anchor))
        else:
            since_ms, anchor = _begun(view, cause, cause_at_ms, config)
            state = TagState(since_ms, anchor, definition.reason(view, rfm, config))
        tags[name] = state
        if not held:
            added.append((name, state.anchor, state.reason))
    stage = lifecycle.stage_of(view, config)
    since_ms = _stage_since_ms(before, stage, view, cause, cause_at_ms, config)
    removed = {name for conclusion in before for name in conclusion.tags if name not in tags}
    changes = Changes(tuple(added), tuple(sorted(removed)), before[0].stage if before else "", stage)
    return Conclusion(tags, stage, since_ms), changes


def _timed(definition: TagDefinition, held: list[TagState], view: View, rfm: Rfm, config: ProfileConfig) -> TagState:
    """The state of a tag with a clock; as it was while the clock stands."""
    assert definition.clock is not None
    day, place = definition.clock(view, rfm, config)
    for state in held:
        if state.anchor == place:
            return state
    return TagState(config.calendar.start_ms(day), place, definition.reason(view, rfm, config))


def _begun(view: View, cause: str, cause_at_ms: int, config: ProfileConfig) -> tuple[int, str]:
    """(since, anchor) of what begins now. A tick has no record: the last purchase or activity stands for it."""
    if cause:
        return cause_at_ms, cause
    return config.calendar.start_ms(view.today), view.purchase_place or view.activity_place


def _stage_since_ms(
    before: Sequence[Conclusion], stage: str, view: View, cause: str, cause_at_ms: int, config: ProfileConfig
) -> int:
    day = lifecycle.timed_day(view, stage, config)
    if day is not None:
        return config.calendar.start_ms(day)
    same = [conclusion.stage_since_ms for conclusion in before if conclusion.stage == stage]
    if same:
        return min(same)
    return _begun(view, cause, cause_at_ms, config)[0]
