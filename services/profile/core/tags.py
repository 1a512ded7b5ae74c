"""The conclusion: which tags hold, which stage, and what that changes. The only place where a tag begins or ends.

A tag that time begins names the event that set its clock: since and anchor follow from the state alone and are the
same after a crash, a merge or a replay. The others are anchored in the record that began them, and keep the earliest
anchor through merges.
"""

from collections.abc import Sequence

from services.profile.core.config import ProfileConfig
from services.profile.core.state import Changes, Conclusion, TagState
from services.profile.core.tagging.catalogue import Definition
from services.profile.core.tagging.facts import Facts


def conclude(
    facts: Facts, before: Sequence[Conclusion], cause: str, cause_at_ms: int, config: ProfileConfig
) -> tuple[Conclusion, Changes]:
    """What holds as of the facts' day, and what that changes against `before`.

    before       what held just before: [own]; [own, taken] at a merge; [taken] for a customer split off; [] for a new
                 one. A tag that any of them holds is not added again; one that any held and that is over is removed.
    cause        place of the record behind it, "" for a tick.
    cause_at_ms  its time; not used for a tick: what a tick begins is dated to the start of the facts' day.
    """
    catalogue, today = config.catalogue, facts.today
    prior = before[0].tags if len(before) == 1 else _held_by_any(before)
    # What is not counted from the beginning says nothing; what was held by it stays until it is.
    missing = facts.missing_measures()
    judge = catalogue.judge_visitor if facts.is_visitor else catalogue.judge
    facts.stage = before[0].stage if before else ""
    is_stage_kept = missing and catalogue.stage_waits and facts.stage != ""
    stage, held_now = judge(facts, today, prior, missing)
    facts.stage = stage
    tags: dict[str, TagState] = {}
    facts.held = tags
    added: list[tuple[str, str, str]] = []
    for place in held_now:
        definition = catalogue.tags[place]
        name = definition.name
        held = prior.get(name)
        if held is not None and (definition.clock is None or _is_kept(definition, facts, missing)):
            state = held
        else:
            state = _state(definition, held, facts, cause, cause_at_ms, config)
        tags[name] = state
        if held is None:
            added.append((name, state.anchor, state.reason))
    since_ms = _stage_since_ms(facts, before, cause, cause_at_ms, config, is_stage_kept)
    removed: tuple[str, ...] = ()
    if len(prior) + len(added) > len(tags):
        removed = tuple(sorted(prior.keys() - tags.keys()))
    changes = Changes(tuple(added), removed, before[0].stage if before else "", stage)
    return Conclusion(tags, stage, since_ms, catalogue.version), changes


def _is_kept(definition: Definition, facts: Facts, missing: bool) -> bool:
    """Whether a tag that time began stays although its condition does not say so any more."""
    if missing and definition.needs:
        return True
    return definition.ends is not None and not definition.holds(facts, facts.today)


def _state(
    definition: Definition, held: TagState | None, facts: Facts, cause: str, cause_at_ms: int, config: ProfileConfig
) -> TagState:
    """A tag that holds: as it was held, else begun by time or by the record."""
    if definition.clock is not None:
        day, place = definition.clock(facts)
        if held is not None and held.anchor == place:
            return held
        return TagState(config.calendar.start_ms(day), place, definition.reason(facts, day))
    if held is not None:
        return held
    since_ms, anchor = _begun(facts, cause, cause_at_ms, config)
    return TagState(since_ms, anchor, definition.reason(facts, facts.today))


def _held_by_any(before: Sequence[Conclusion]) -> dict[str, TagState]:
    """The tags of all sides; of a tag that several hold, the earliest (since, anchor)."""
    prior: dict[str, TagState] = {}
    for conclusion in before:
        for name, state in conclusion.tags.items():
            held = prior.get(name)
            if held is None or (state.since_ms, state.anchor) < (held.since_ms, held.anchor):
                prior[name] = state
    return prior


def _begun(facts: Facts, cause: str, cause_at_ms: int, config: ProfileConfig) -> tuple[int, str]:
    """(since, anchor) of what begins now. A tick has no record: the last purchase or activity stands for it."""
    if cause:
        return cause_at_ms, cause
    return config.calendar.start_ms(facts.today), facts.place(("purchase",)) or facts.place(("activity",))


def _stage_since_ms(
    facts: Facts, before: Sequence[Conclusion], cause: str, cause_at_ms: int, config: ProfileConfig, is_kept: bool
) -> int:
    stage = facts.stage
    clock = config.catalogue.stage_clocks.get(stage)
    if clock is not None and not is_kept:
        return config.calendar.start_ms(clock(facts)[0])
    since_ms: int | None = None
    for one in before:
        if one.stage == stage and (since_ms is None or one.stage_since_ms < since_ms):
            since_ms = one.stage_since_ms
    return _begun(facts, cause, cause_at_ms, config)[0] if since_ms is None else since_ms
