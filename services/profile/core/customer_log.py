"""The customer log: events, hand-overs and the end of one customer, worked off strictly by number.

State is kept as parts per node; a merge or a split moves parts whole. Everything here is a pure function of the state,
the record, what has been handed over, the time and the thresholds; `advance` mutates the decoded state it is given.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from services.profile.core.config import ProfileConfig
from services.profile.core.fold import fold, has_seen
from services.profile.core.judgement import Judgement, go_on, judgement
from services.profile.core.state import FLAG_EVENT_CLOCK, FLAG_IMPORT, Changes, Conclusion, Event, Part, Thresholds
from services.profile.core.summary import counts_of, profile_head, profile_json
from services.profile.core.tags import conclude
from services.profile.core.timers import next_due_ms

# A clock that was ahead and is put back: nothing ends that began meanwhile, what was concluded for a day stands until
# that day. Only within this many days: further ahead the clock was plain wrong, and waiting would take as long again.
MOST_DAYS_BACK = 2


class LogError(Exception):
    """The log contradicts itself (a part taken twice, records after the end): the protocol was broken upstream."""


class Held(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A record that came before its turn, as it came: its kind, node, place and value bytes."""

    kind: str
    node: str
    place: str
    value: bytes


class CustomerState(msgspec.Struct, array_like=True):
    """Everything profile knows of a customer. n: last number worked; wait: key of the hand-over it stands before.

    day         the latest business day that something was concluded for
    is_history  the customer lives through an import: `day` is the clock, not the wall's (see replay --clock event)
    """

    n: int = 0
    rev: int = 0
    parts: dict[str, Part] = {}
    conclusion: Conclusion | None = None
    held: dict[int, Held] = {}
    wait: str = ""
    due_ms: int = 0
    day: int = 0
    is_history: bool = False

    def is_complete(self) -> bool:
        """Conclusions are drawn only for a customer that neither waits nor holds something."""
        return not self.wait and not self.held


class Handover(msgspec.Struct, array_like=True):
    """What a give leaves for its take: the parts, the conclusion that held before, and the giver's clock."""

    parts: dict[str, Part]
    conclusion: Conclusion | None
    day: int = 0
    is_history: bool = False


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Part of a give: to whom, under which hand-over id, which nodes (empty: all)."""

    handoff_id: str
    to_id: str
    nodes: tuple[str, ...]


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """A decoded record of the log. kind: event, give, take, erase or poison (an event that cannot be read)."""

    kind: str
    customer_id: str
    n: int
    node: str
    place: str
    accepted_at: int
    event: Event | None = None
    properties: bytes = b""
    pieces: tuple[Piece, ...] = ()
    handoff_id: str = ""
    from_id: str = ""


class Fact(msgspec.Struct, frozen=True, gc=False):
    """One line of profile.changes: what a record (None: time) changed, and the profile as it was right after.

    is_definition: what operators define has changed, not the customer.
    due_ms, cause, event_id: of a tick in an import's history the moment it fell due, the place of the anchor, and the
    event that moved the clock past it ("" when the import was over).
    """

    kind: str
    customer_id: str
    record: LogRecord | None
    changes: Changes
    is_first: bool
    profile: bytes
    is_definition: bool = False
    due_ms: int = 0
    cause: str = ""
    event_id: str = ""


@dataclass(slots=True)
class Context:
    """What a decision may look at besides the state. give_key(giver, handoff, to) names an immutable hand-over.

    is_import_over: whether customers in an import's history go over to the ordinary clock; has_import: set when an
    event of such an import was among the records.
    """

    now_ms: int
    config: ProfileConfig
    thresholds: Thresholds | None
    give_key: Callable[[str, str, str], str]
    decode: Callable[[str, int, Held], LogRecord]  # customer id, n, held bytes → record
    handed_over: Mapping[str, Handover]
    gives: dict[str, Handover] = field(default_factory=dict)  # written by this batch
    taken: list[str] = field(default_factory=list)  # keys to delete once this batch is durable
    judged: dict[str, Judgement] = field(default_factory=dict)  # the last one of each customer of this batch
    is_import_over: bool = True
    has_import: bool = False
    today: int = field(init=False)

    def __post_init__(self) -> None:
        self.today = self.config.calendar.day(self.now_ms)


NO_CHANGES = Changes((), (), "", "")


def accept(state: CustomerState, n: int, held: Held) -> bool:
    """Put a record in its place; False when that number was there before (a duplicate, dropped)."""
    if n <= state.n or n in state.held:
        return False
    state.held[n] = held
    return True


def is_next(state: CustomerState, n: int) -> bool:
    """True when a record of this number need not be put in its place: its turn is now, and nothing waits."""
    return n == state.n + 1 and not state.held


def advance(state: CustomerState, record: LogRecord, context: Context, facts: list[Fact]) -> None:
    """Work off an event whose turn is now (`is_next`): what `accept` and `drain` do, without the way between."""
    _event(state, record, context, facts)
    state.n = record.n


def drain(state: CustomerState, customer_id: str, context: Context, facts: list[Fact]) -> bool:
    """Work off every record whose turn has come; False when the customer's log has ended."""
    while (held := state.held.get(state.n + 1)) is not None:
        record = context.decode(customer_id, state.n + 1, held)
        if record.kind == "take" and not _take(state, record, context, facts):
            return True
        if record.kind in ("give", "erase"):
            if _end_or_give(state, record, context, facts):
                return False
        elif record.kind == "event":
            _event(state, record, context, facts)
        del state.held[state.n + 1]
        state.n += 1
    return True


def _event(state: CustomerState, record: LogRecord, context: Context, facts: list[Fact]) -> None:
    event, customer_id, parts = record.event, record.customer_id, state.parts
    assert event is not None
    if state.is_history or event.flags & FLAG_EVENT_CLOCK:
        _move_clock(state, record, event, context, facts)
    is_first = True
    for known in parts.values():
        if has_seen(known, event.name):
            is_first = False
            break
    part, conclusion, judged = parts.get(record.node), state.conclusion, context.judged.get(customer_id)
    # Most events of somebody whom this batch has just looked at change neither a tag nor the stage nor a score.
    if part and conclusion and judged and go_on(judged, part, event, context.config):
        fold(part, event, context.config, is_plain=True)
        changes = Changes((), (), conclusion.stage, conclusion.stage)
        if event.traits or not judged.head:
            _begin_profile(customer_id, judged, conclusion)
        else:
            judged.counts[event.name] = judged.counts.get(event.name, 0) + 1
        profile = _profile(customer_id, judged, conclusion)
    else:
        parts[record.node] = fold(part, event, context.config)
        before = [conclusion] if conclusion is not None else []
        changes, profile = _conclude(state, record, before, event.occurred_at, context)
    facts.append(Fact("event", customer_id, record, changes, is_first, profile))


def _take(state: CustomerState, record: LogRecord, context: Context, facts: list[Fact]) -> bool:
    key = context.give_key(record.from_id, record.handoff_id, record.customer_id)
    given = context.gives.get(key) or context.handed_over.get(key)
    if given is None:
        state.wait = key
        return False
    state.wait = ""
    twice = state.parts.keys() & given.parts.keys()
    if twice:
        raise LogError(f"customer {record.customer_id} n={record.n}: parts {sorted(twice)} taken twice")
    state.parts.update(given.parts)
    # One who lives through an import and one who does not are one who does not.
    state.is_history = given.is_history and (state.is_history or state.conclusion is None)
    state.day = max(state.day, given.day)
    before = [conclusion for conclusion in (state.conclusion, given.conclusion) if conclusion is not None]
    changes, profile = _conclude(state, record, before, record.accepted_at, context)
    context.taken.append(key)
    facts.append(Fact("took", record.customer_id, record, changes, False, profile))
    return True


def _end_or_give(state: CustomerState, record: LogRecord, context: Context, facts: list[Fact]) -> bool:
    """True when the log ends with this record (a merge into another customer, an erasure)."""
    if record.kind == "erase":
        facts.append(Fact("erased", record.customer_id, record, NO_CHANGES, False, b""))
        return _ended(state, record)
    if not record.pieces[0].nodes:
        piece = record.pieces[0]
        key = context.give_key(record.customer_id, piece.handoff_id, piece.to_id)
        context.gives[key] = Handover(state.parts, state.conclusion, state.day, state.is_history)
        facts.append(Fact("gave", record.customer_id, record, NO_CHANGES, False, b""))
        return _ended(state, record)
    for piece in record.pieces:
        key = context.give_key(record.customer_id, piece.handoff_id, piece.to_id)
        parts = {node: state.parts.pop(node) for node in piece.nodes if node in state.parts}
        context.gives[key] = Handover(parts, state.conclusion, state.day, state.is_history)
    before = [state.conclusion] if state.conclusion is not None else []
    changes, profile = _conclude(state, record, before, record.accepted_at, context)
    facts.append(Fact("gave", record.customer_id, record, changes, False, profile))
    return False


def _ended(state: CustomerState, record: LogRecord) -> bool:
    if len(state.held) > 1:
        raise LogError(f"customer {record.customer_id}: records {sorted(state.held)} after its log ended at {record.n}")
    return True


def _conclude(
    state: CustomerState, record: LogRecord, before: list[Conclusion], at_ms: int, context: Context
) -> tuple[Changes, bytes]:
    judged = judge(state, record.customer_id, context)
    state.day = judged.seen.today
    state.conclusion, changes = conclude(judged.facts, before, record.place, at_ms, context.config)
    _begin_profile(record.customer_id, judged, state.conclusion)
    return changes, _profile(record.customer_id, judged, state.conclusion)


def _begin_profile(customer_id: str, judged: Judgement, conclusion: Conclusion) -> None:
    judged.head = profile_head(customer_id, judged.seen, conclusion, judged.rfm)
    judged.counts = counts_of(judged.seen.parts)


def _profile(customer_id: str, judged: Judgement, conclusion: Conclusion) -> bytes:
    return profile_json(customer_id, judged.seen, conclusion, judged.rfm, judged.head, judged.counts)


def judge(state: CustomerState, customer_id: str, context: Context) -> Judgement:
    """The view of all parts and its scores, as of the customer's clock; kept in context.judged."""
    parts = tuple(state.parts.values())
    now_ms = _clock_ms(state, context)
    judged = context.judged[customer_id] = judgement(parts, now_ms, context.thresholds, context.config)
    return judged


def _clock_ms(state: CustomerState, context: Context) -> int:
    """Now, unless the customer lives through history, or was concluded for a later day: the clock was put back."""
    if state.is_history or 0 < state.day - context.today <= MOST_DAYS_BACK:
        return context.config.calendar.start_ms(state.day)
    return context.now_ms


def recency_now(judged: Judgement, context: Context) -> int:
    """Days since the last purchase by the wall's clock, of somebody who lives through history; -1: none."""
    bought = judged.seen.purchase_day
    return -1 if bought is None else max(0, context.today - bought)


def _move_clock(state: CustomerState, record: LogRecord, event: Event, context: Context, facts: list[Fact]) -> None:
    """Before an event: what fell due by its time in an import's history, where it belongs to one.

    History is for customers whom nobody knew before it, until something live happens to them. The clock never goes
    back: an event older than the last one counts as of the clock.
    """
    if event.flags & FLAG_EVENT_CLOCK:
        context.has_import = True
        day = min(context.config.calendar.day(event.occurred_at), context.today)
        if state.conclusion is None and not state.parts:
            state.is_history, state.day = True, day
        elif state.is_history:
            _live_until(state, record.customer_id, day, context, facts, event.event_id)
    elif not event.flags & FLAG_IMPORT:
        _live_until(state, record.customer_id, context.today, context, facts, event.event_id)
        state.is_history = False
        context.judged.pop(record.customer_id, None)


def _live_until(
    state: CustomerState, customer_id: str, day: int, context: Context, facts: list[Fact], event_id: str
) -> None:
    """Every moment at which time alone may change something, in order, up to the begin of business day `day`."""
    calendar = context.config.calendar
    judged = context.judged.get(customer_id) or judge(state, customer_id, context)
    while state.conclusion is not None:
        due_ms = next_due_ms(judged.facts_now(state.conclusion), context.config)
        if due_ms is None or (due_day := calendar.day(due_ms)) > day:
            break
        state.day = due_day
        judged = _look(state, customer_id, context, facts, due_ms, event_id)
    state.day = max(state.day, day)
    if judged.seen.today != state.day:
        context.judged.pop(customer_id, None)  # the next event is not to go on from another day


def tick(
    state: CustomerState, customer_id: str, context: Context, facts: list[Fact], is_definition: bool = False
) -> None:
    """Time has passed: what holds now? An incomplete customer is looked at when it is complete.

    is_definition: it is looked at because of what operators define.
    """
    if not state.is_complete() or state.conclusion is None:
        return
    if not state.is_history:
        _look(state, customer_id, context, facts, is_definition=is_definition)
    elif context.is_import_over:
        told = len(facts)
        _live_until(state, customer_id, context.today, context, facts, "")
        state.is_history = False
        judged = _look(state, customer_id, context, facts, is_definition=is_definition)
        if len(facts) == told:  # told all the same: a rebuild could not know from when on the wall's clock counts
            profile = profile_json(customer_id, judged.seen, state.conclusion, judged.rfm)
            changes = Changes((), (), state.conclusion.stage, state.conclusion.stage)
            cause = judged.seen.activity_place
            facts.append(Fact("tick", customer_id, None, changes, False, profile, False, context.now_ms, cause))


def refold(state: CustomerState, parts: dict[str, Part], context: Context) -> bool:
    """Take the measures of parts that were folded anew from history; False when some are of other events than ours."""
    version, is_whole = context.config.catalogue.measures_version, True
    for node, new in parts.items():
        mine = state.parts.get(node)
        if mine is None or mine.measured == version:
            continue
        if _events_of(mine) != _events_of(new) or new.measured != version:
            is_whole = False
            continue
        mine.measures, mine.tally, mine.measured = new.measures, new.tally, version
        if mine.book is not None:
            mine.book.__dict__.pop("settled", None)  # what was made of the former tally goes with it
    return is_whole


def _events_of(part: Part) -> tuple[object, ...]:
    """What tells whether two folds are of the same events: their number, the first, the last, how often which name."""
    return part.events, part.first, part.last_ms, part.newest_day, {n: ring.total for n, ring in part.counters.items()}


def define(state: CustomerState, customer_id: str, context: Context, facts: list[Fact]) -> None:
    """Before anything else happens to a customer, what operators have defined meanwhile is concluded by itself.

    So it never counts as something that the customer's next event brought about.
    """
    if (
        state.conclusion is not None
        and state.conclusion.defined != context.config.catalogue.version
        and state.is_complete()
    ):
        _look(state, customer_id, context, facts)


def _look(
    state: CustomerState, customer_id: str, context: Context, facts: list[Fact], due_ms: int = 0, event_id: str = "",
    is_definition: bool = False,
) -> Judgement:  # fmt: skip
    assert state.conclusion is not None
    is_definition |= state.conclusion.defined != context.config.catalogue.version
    judged = judge(state, customer_id, context)
    state.conclusion, changes = conclude(judged.facts, [state.conclusion], "", context.now_ms, context.config)
    if not changes.is_empty():
        # Only a look that is told of counts for the clock: a rebuild knows no others.
        state.day = judged.seen.today
        profile = profile_json(customer_id, judged.seen, state.conclusion, judged.rfm)
        cause = judged.seen.activity_place if due_ms else ""
        facts.append(Fact("tick", customer_id, None, changes, False, profile, is_definition, due_ms, cause, event_id))
    return judged
