"""tags.yaml → Catalogue: every mistake at once, each with its key, what was found and what was expected.

A tag may name other tags; what is named is judged first. Segments may name tags and each other, tags no segments.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from hashlib import blake2b
from math import ceil, floor

import msgspec

from services.profile.core.calendar import Calendar
from services.profile.core.rfm import NEVER
from services.profile.core.tagging.catalogue import SEGMENT, Catalogue, Definition
from services.profile.core.tagging.clocks import clock_of
from services.profile.core.tagging.compile import Judged, Others, holds, judge_all, next_day, passing
from services.profile.core.tagging.facts import Facts
from services.profile.core.tagging.file import CounterEntry, File, TagEntry, read_file
from services.profile.core.tagging.measures import Measure, measure_of
from services.profile.core.tagging.parse import ConditionError, near, parse_condition
from services.profile.core.tagging.reasons import Say, parse_reason, reason_of
from services.profile.core.tagging.tree import (
    After,
    Atom,
    Compare,
    Condition,
    Constant,
    MonthsFalling,
    Since,
    Stage,
    Tag,
    Trait,
    Window,
    atoms,
    values_of,
)
from services.profile.core.tagging.visitors import of_visitors
from services.profile.core.tagging.vocabulary import BUILT_IN, INTERACTIONS, SCORES, STAGES, Counter, Words

GROUPS = ("value", "lifecycle", "preference", "interaction", "custom")
_TAKEN = frozenset(
    (*BUILT_IN, *SCORES, "stage", "tag", "trait", "has_trait", "after", "days_since", "percentile", "date")
)


# How measures count. Raised when the same counter comes to another sum than before: then everybody is owed a backfill.
_COUNTING = 2


class DefinitionsError(ValueError):
    """tags.yaml is wrong; the text names every mistake. problems: each as `key: what is wrong`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("tags.yaml is wrong:\n  " + "\n  ".join(problems))
        self.problems = problems


@dataclass(slots=True)
class _Draft:
    """One definition that has been read and not yet compiled."""

    name: str
    key: str
    spec: TagEntry
    condition: Condition
    ends: Condition | None
    reason: Say | None


def parse_catalogue(data: object, calendar: Calendar) -> Catalogue:
    """The catalogue of a parsed tags.yaml. Raises DefinitionsError with every mistake, a line each."""
    problems: list[str] = []
    return _Parser(read_file(data, problems), calendar, problems).catalogue()


class _Parser:
    """Reads one file; collects problems instead of stopping at the first."""

    def __init__(self, file: File, calendar: Calendar, problems: list[str]) -> None:
        self._file, self._calendar, self._problems = file, calendar, problems
        self._counters = {name: Counter(name, c.events, c.where, c.each, c.sum) for name, c in file.counters.items()}
        # A counter that could not be read is known all the same to what names it.
        self._named = {name: Counter(name, ()) for name in sorted(file.names("counters"))} | self._counters
        self._stages: tuple[Definition, ...] = ()
        self._tags: dict[str, Definition] = {}
        self._tallied: tuple[Measure, ...] = ()
        self._others = Others(self._stage, self._stage_next, self._tag, self._tag_next)

    def catalogue(self) -> Catalogue:
        """Everything, or DefinitionsError."""
        measures = self._measures()
        stages = self._read_stages()
        drafts = self._read_tags()
        if self._problems:
            raise DefinitionsError(self._problems)
        for name, condition in stages:
            self._stages += (self._stage_definition(name, condition),)
        for draft in drafts:
            self._tags[draft.name] = self._definition(draft)
        return self._compiled(stages, drafts, measures)

    def _compiled(
        self, stages: list[tuple[str, Condition | None]], drafts: list[_Draft], measures: dict[str, tuple[Measure, ...]]
    ) -> Catalogue:
        guarded = [(condition, "") for _, condition in stages if condition is not None]
        guarded += [(draft.condition, "") for draft in drafts]
        guarded += [(draft.ends, draft.name) for draft in drafts if draft.ends is not None]
        conditions = [condition for condition, _ in guarded]
        judged = [
            Judged(draft.name, draft.condition, draft.ends, bool(self._tags[draft.name].needs)) for draft in drafts
        ]
        every = [atom for condition in conditions for atom in atoms(condition)]
        values = [value for atom in every for value in values_of(atom)]
        measured = {name: self._file.counters[name] for name, counter in self._counters.items() if counter.is_measure}
        return Catalogue(
            counters=self._counters,
            stages=self._stages,
            tags=tuple(self._tags.values()),
            judge=judge_all(stages, judged, self._others, bool(self._stage_needs())),
            judge_visitor=judge_all(
                [(name, condition and of_visitors(condition)) for name, condition in stages],
                [_of_visitors(one) for one in judged],
                self._others,
                bool(self._stage_needs()),
            ),
            stage_waits=bool(self._stage_needs()),
            next_day=next_day(guarded, self._others, are_all=True),
            next_day_visitor=next_day(
                [(left, tag) for one, tag in guarded if not isinstance(left := of_visitors(one), bool)],
                self._others,
                are_all=True,
            ),
            watched=frozenset(
                [event for counter in self._counters.values() if not counter.is_measure for event in counter.events]
                + [event for value in values if isinstance(value, Since) for event in value.events]
            ),
            measures=measures,
            tallied=self._tallied,
            quiet_days=min((days for atom in every for days in _quiet_days(atom)), default=0),
            interactions=tuple(sorted({limit for atom in every for limit in _interaction_limits(atom)})),
            looks_at_months=any(isinstance(value, MonthsFalling) for value in values),
            traits=frozenset(one.name for one in (*every, *values) if isinstance(one, Trait)),
            stage_clocks={stage.name: stage.clock for stage in self._stages if stage.clock is not None},
            afters=tuple(sorted({(atom.later, atom.earlier) for atom in every if isinstance(atom, After)})),
            version=_digest(
                msgspec.json.encode(
                    [self._file.counters, self._file.stages, self._file.tags, self._file.segments],
                    order="deterministic",
                )
            ),
            measures_version=_digest(msgspec.json.encode([_COUNTING, measured], order="deterministic"))
            if measured
            else "",
        )

    def _wrong(self, key: str, error: object) -> None:
        self._problems.append(f"{key}: {error}")

    def _measures(self) -> dict[str, tuple[Measure, ...]]:
        found: dict[str, list[Measure]] = {}
        # By name, as in the version of the measures: what stands above in the file has no say in what parts keep.
        for counter in sorted(self._counters.values(), key=lambda one: one.name):
            key = f"counters.{counter.name}"
            if counter.name in _TAKEN:
                self._wrong(key, f"expected another name, {counter.name} is a word of the language")
            if len(set(counter.events)) < len(counter.events):
                self._wrong(f"{key}.events", "the same event twice")
            if counter.sum and not counter.sum.isidentifier():
                self._wrong(f"{key}.sum", f"expected the name of one property, got {counter.sum!r}")
            if counter.each and not counter.each.isidentifier():
                self._wrong(
                    f"{key}.each", f"expected the name of the property that holds the list, got {counter.each!r}"
                )
            if counter.is_measure:
                try:
                    measure = measure_of(counter, self._calendar, len(self._tallied))
                except ConditionError as error:
                    self._wrong(f"{key}.where", error)
                    continue
                self._tallied += (measure,)
                for event in counter.events:
                    found.setdefault(event, []).append(measure)
        return {event: tuple(measures) for event, measures in found.items()}

    def _read_stages(self) -> list[tuple[str, Condition | None]]:
        words = Words(self._named, has_stage=False)
        listed = [item.stage for item in self._file.stages]
        if sorted(listed) != sorted(STAGES) and not any(key.startswith("stages.") for key in self._file.broken):
            said = [f"{name}{near(name, STAGES)}" if name not in STAGES else name for name in listed]
            self._wrong("stages", f"expected each of {', '.join(STAGES)} once, got {', '.join(said) or 'none'}")
        found: list[tuple[str, Condition | None]] = []
        for place, item in enumerate(self._file.stages):
            is_last = place == len(self._file.stages) - 1
            key = f"stages.{item.stage}.if"
            if is_last is (item.condition is not None):
                self._wrong(key, "the last stage has no condition, it holds when no other does; all others have one")
            found.append((item.stage, self._condition(key, item.condition, words) if item.condition else None))
        return found

    def _read_tags(self) -> list[_Draft]:
        """Tags, then segments, each after what it names."""
        tags = [(name, f"tags.{name}", spec) for name, spec in self._file.tags.items()]
        segments = [(SEGMENT + name, f"segments.{name}", spec) for name, spec in self._file.segments.items()]
        names = self._file.names("tags")
        every = names | {SEGMENT + name for name in self._file.names("segments")}
        return self._drafts(tags, Words(self._named, names)) + self._drafts(segments, Words(self._named, every))

    def _drafts(self, items: list[tuple[str, str, TagEntry]], words: Words) -> list[_Draft]:
        drafts: dict[str, _Draft] = {}
        for name, key, spec in items:
            if spec.group not in GROUPS:
                self._wrong(
                    f"{key}.group", f"{spec.group!r}{near(spec.group, GROUPS)}, expected one of {', '.join(GROUPS)}"
                )
            condition = self._condition(f"{key}.if", spec.condition, words)
            ends = self._condition(f"{key}.ends", spec.ends, words) if spec.ends else None
            reason = self._reason(f"{key}.reason", spec.reason, words)
            if condition is not None:
                drafts[name] = _Draft(name, key, spec, condition, ends, reason)
        named = {
            name: {atom.name for c in (draft.condition, draft.ends) if c for atom in atoms(c) if isinstance(atom, Tag)}
            for name, draft in drafts.items()
        }
        try:
            order = list(TopologicalSorter({name: sorted(found) for name, found in named.items()}).static_order())
        except CycleError as error:
            self._wrong(drafts[error.args[1][0]].key, f"tags name each other in a circle: {' → '.join(error.args[1])}")
            return []
        return [drafts[name] for name in order if name in drafts]

    def _condition(self, key: str, text: str, words: Words) -> Condition | None:
        try:
            return parse_condition(text, words)
        except ConditionError as error:
            self._wrong(key, error)
            return None

    def _reason(self, key: str, text: str | None, words: Words) -> Say | None:
        try:
            return None if text is None else parse_reason(text, words, self._others, self._calendar)
        except ConditionError as error:
            self._wrong(key, error)
            return None

    def _stage_definition(self, name: str, condition: Condition | None) -> Definition:
        """Of the next stage. Its version names all above it, because who is in one of them is not in it."""
        above = self._stages[-1].version if self._stages else ""
        source = next(item.condition or "" for item in self._file.stages if item.stage == name)
        version = _digest(
            msgspec.json.encode([above, name, source, self._counter_entries([condition])], order="deterministic")
        )
        if condition is None:
            return Definition(
                name, "stage", source, None, lambda f, t: True, None, lambda f, t: "", None, lambda f, t: NEVER,
                frozenset(), version,
            )  # fmt: skip
        return Definition(
            name, "stage", source, condition, holds(condition, self._others), None,
            reason_of(condition, self._others, self._calendar), clock_of(condition),
            next_day([(condition, "")], self._others), self._needs(condition), version,
        )  # fmt: skip

    def _definition(self, draft: _Draft) -> Definition:
        spec, condition, ends = draft.spec, draft.condition, draft.ends
        reason = draft.reason or reason_of(condition, self._others, self._calendar)
        conditions = [condition] if ends is None else [condition, ends]
        needs = frozenset().union(*(self._needs(one) for one in conditions))
        counters = self._counter_entries(conditions)
        every = [atom for one in conditions for atom in atoms(one)]
        named = [self._tags[atom.name].version for atom in every if isinstance(atom, Tag)]
        if any(isinstance(value, Stage) for atom in every for value in values_of(atom)):
            named.append(self._stages[-1].version)
        return Definition(
            draft.name, spec.group, spec.condition, condition, holds(condition, self._others),
            None if ends is None else holds(ends, self._others), reason, clock_of(condition),
            next_day([(one, "") for one in conditions], self._others), needs,
            _digest(msgspec.json.encode([spec.condition, spec.ends, counters, named], order="deterministic")),
        )  # fmt: skip

    def _counter_entries(self, conditions: Iterable[Condition | None]) -> list[CounterEntry]:
        """What the file says of the counters that the conditions name, by name."""
        names = self._named_counters(condition for condition in conditions if condition is not None)
        return [self._file.counters[name] for name in sorted(names)]

    def _named_counters(self, conditions: Iterable[Condition]) -> set[str]:
        values = [value for one in conditions for atom in atoms(one) for value in values_of(atom)]
        names = {value.name for value in values if isinstance(value, Window | MonthsFalling)}
        return names & self._counters.keys()

    def _needs(self, condition: Condition) -> frozenset[str]:
        """Measures that the condition, or a tag or the stage that it names, looks at."""
        own = {name for name in self._named_counters([condition]) if self._counters[name].is_measure}
        for atom in atoms(condition):
            if isinstance(atom, Tag):
                own |= self._tags[atom.name].needs
            if any(isinstance(value, Stage) for value in values_of(atom)):
                own |= self._stage_needs()
        return frozenset(own)

    def _stage_needs(self) -> frozenset[str]:
        return frozenset().union(*(stage.needs for stage in self._stages))

    # What conditions ask of the stage and of other tags.
    def _stage(self, facts: Facts, t: int) -> str:
        return facts.stage if t == facts.today and facts.stage else stage_on(self._stages, facts, t)

    def _stage_next(self, facts: Facts, t: int) -> int:
        return min((stage.next_day(facts, t) for stage in self._stages), default=NEVER)

    def _tag(self, name: str, facts: Facts, t: int) -> bool:
        if t == facts.today:
            return name in facts.held
        return holds_on(self._tags[name], facts, t, name in facts.held)

    def _tag_next(self, name: str, facts: Facts, t: int) -> int:
        return self._tags[name].next_day(facts, t)


def stage_on(stages: Iterable[Definition], facts: Facts, t: int) -> str:
    """The first stage that holds on day t."""
    for stage in stages:
        if stage.holds(facts, t):
            return stage.name
    raise AssertionError("the last stage always holds")


def holds_on(definition: Definition, facts: Facts, t: int, was_held: bool) -> bool:
    """Whether a tag holds on day t, given whether it held before: hysteresis."""
    if definition.holds(facts, t):
        return True
    return was_held and definition.ends is not None and not definition.ends(facts, t)


def _of_visitors(tag: Judged) -> Judged:
    ends = tag.ends if tag.ends is None or isinstance(tag.ends, bool) else of_visitors(tag.ends)
    return replace(
        tag, condition=tag.condition if isinstance(tag.condition, bool) else of_visitors(tag.condition), ends=ends
    )


def _quiet_days(atom: Atom) -> list[int]:
    """Days without activity that the atom looks at; 0 when any day matters."""
    found: list[int] = []
    for value in values_of(atom):
        if isinstance(value, Since) and not {"activity", "contact", "interaction"}.isdisjoint(value.moments):
            limit = _limit(atom)
            # `> 9` begins after ten days, `>= 9` after nine.
            is_open = isinstance(atom, Compare) and atom.sign in (">", "<=")
            found.append(0 if limit is None else floor(limit) if is_open else ceil(limit) - 1)
    return found


def _interaction_limits(atom: Atom) -> list[tuple[int, int]]:
    """(days, sum from which on the answer is another) for interactions; NEVER: any more may matter."""
    found: list[tuple[int, int]] = []
    for value in values_of(atom):
        if isinstance(value, Window) and value.name == INTERACTIONS:
            limit = _limit(atom)
            if isinstance(atom, Compare) and atom.left == value and limit is not None:
                found += [(value.days, number) for number in passing(atom.sign, limit)]
            else:
                found.append((value.days, NEVER))
    return found


def _limit(atom: Atom) -> float | None:
    """The number that an atom compares something with."""
    if isinstance(atom, Compare) and isinstance(atom.right, Constant) and not isinstance(atom.right.value, str):
        return atom.right.value
    return None


def _digest(raw: bytes) -> str:
    return blake2b(raw, digest_size=6).hexdigest()
