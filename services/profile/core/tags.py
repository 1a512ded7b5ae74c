"""The conclusion: which tags hold, which stage, and what that changes. The only place where a tag begins or ends.

A tag that time begins names the event that set its clock: since and anchor follow from the state alone and are the
same after a crash, a merge or a replay. The others are anchored in the record that began them, and keep the earliest
anchor through merges.
"""

from collections.abc import Sequence

from services.profile.core import lifecycle
from services.profile.core.catalogue import DEFINITIONS
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
    prior = before[0].tags if len(before) == 1 else _held_by_any(before)
    tags: dict[str, TagState] = {}
    added: list[tuple[str, str, str]] = []
    for definition in DEFINITIONS:
        if not definition.holds(view, rfm, config):
            continue
        name = definition.name
        held = prior.get(name)
        clock = definition.clock
        if clock is not None:
            day, place = clock(view, rfm, config)
            if held is not None and held.anchor == place:
                state = held
            else:
                state = TagState(config.calendar.start_ms(day), place, definition.reason(view, rfm, config))
        elif held is not None:
            state = held
        else:
            since_ms, anchor = _begun(view, cause, cause_at_ms, config)
            state = TagState(since_ms, anchor, definition.reason(view, rfm, config))
        tags[name] = state
        if held is None:
            added.append((name, state.anchor, state.reason))
    removed: tuple[str, ...] = ()
    if len(prior) + len(added) > len(tags):
        removed = tuple(sorted(prior.keys() - tags.keys()))
    stage = lifecycle.stage_of(view, config)
    since_ms = _stage_since_ms(before, stage, view, cause, cause_at_ms, config)
    return Conclusion(tags, stage, since_ms), Changes(tuple(added), removed, before[0].stage if before else "", stage)


def _held_by_any(before: Sequence[Conclusion]) -> dict[str, TagState]:
    """The tags of all sides; of a tag that several hold, the earliest (since, anchor)."""
    prior: dict[str, TagState] = {}
    for conclusion in before:
        for name, state in conclusion.tags.items():
            held = prior.get(name)
            if held is None or (state.since_ms, state.anchor) < (held.since_ms, held.anchor):
                prior[name] = state
    return prior


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
    since_ms: int | None = None
    for conclusion in before:
        if conclusion.stage == stage and (since_ms is None or conclusion.stage_since_ms < since_ms):
            since_ms = conclusion.stage_since_ms
    return _begun(view, cause, cause_at_ms, config)[0] if since_ms is None else since_ms
