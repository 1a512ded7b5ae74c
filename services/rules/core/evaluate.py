"""Evaluate: (what a customer's rules have fired, a profile change, the rules) → what fires now, and what is held back.

Pure. A rule fires at most once for one change, however many of its `when`s it meets, and rules are taken in the order
of their names, so the same change gives the same triggers in the same order everywhere.
"""

from collections.abc import Iterable
from datetime import tzinfo

from services.rules.core.condition import ConditionFailed
from services.rules.core.limits import refusal, remember
from services.rules.core.model import Change, Fire, Fires, On, Outcome, Reason, Rule, Suppressed, When

# Header `when` of a profile change: <event name> 0x1f <flags>.
SEPARATOR = b"\x1f"
TAGS, STAGE, FIRST, HANDOVER, IMPORT = b"t", b"s", b"f", b"h", b"i"
# Event names are open: past this many different headers the answer is computed instead of looked up (1 µs).
REMEMBERED_HEADERS = 4_096


def is_handover(header: bytes) -> bool:
    """Whether a `when` header names a change that customers' states move with."""
    return HANDOVER in header.rpartition(SEPARATOR)[2]


class RuleIndex:
    """One version of the rules, by what they wait for. Immutable but for a memory of headers; one thread uses it."""

    def __init__(self, rules: Iterable[Rule], zone: tzinfo) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: rule.name))
        self.zone = zone
        self._by_when: dict[tuple[On, str], tuple[Rule, ...]] = {}
        for rule in self.rules:
            for key in {(when.on, when.name) for when in rule.whens}:
                self._by_when[key] = (*self._by_when.get(key, ()), rule)
        self._cares: dict[bytes, bool] = {}

    def cares(self, header: bytes | None) -> bool:
        """False when no rule can care for a change with this `when` header; without a header nothing is excluded."""
        if header is None:
            return True
        known = self._cares.get(header)
        if known is None:
            known = self._may_match(header)
            if len(self._cares) < REMEMBERED_HEADERS:
                self._cares[header] = known
        return known

    def _may_match(self, header: bytes) -> bool:
        name_bytes, _, flags = header.rpartition(SEPARATOR)
        name = name_bytes.decode("utf-8", "replace")
        kinds = {on for on, _ in self._by_when}
        if IMPORT in flags:
            return False
        return (
            HANDOVER in flags
            or (TAGS in flags and not kinds.isdisjoint((On.TAG_ADDED, On.TAG_REMOVED)))
            or (STAGE in flags and On.STAGE in kinds)
            or (FIRST in flags and (On.FIRST_EVENT, name) in self._by_when)
            or (On.EVENT, name) in self._by_when
        )

    def candidates(self, change: Change) -> tuple[Rule, ...]:
        """The rules that name something in this change, in order of their names."""
        if change.is_import:
            return ()  # history counts, but nobody is written to about what happened long ago
        keys: list[tuple[On, str]] = []
        if change.kind == "event":
            keys.append((On.EVENT, change.name))
            if change.first:
                keys.append((On.FIRST_EVENT, change.name))
        keys += [(On.TAG_ADDED, tag) for tag in change.tags_added]
        keys += [(On.TAG_REMOVED, tag) for tag in change.tags_removed]
        if change.stage_from != change.stage_to:
            keys.append((On.STAGE, change.stage_to))
        found = [rules for key in keys if (rules := self._by_when.get(key))]
        if len(found) <= 1:
            return found[0] if found else ()
        by_name = {rule.name: rule for rules in found for rule in rules}
        return tuple(by_name[name] for name in sorted(by_name))


def evaluate(fires: Fires, change: Change, candidates: Iterable[Rule], zone: tzinfo) -> Outcome:
    """What `change` does to a customer whose rules have fired `fires`. `candidates` come from RuleIndex."""
    fired: list[Fire] = []
    suppressed: list[Suppressed] = []
    for rule in candidates:
        anchors = [anchor for when in rule.whens if (anchor := anchor_of(when, change)) is not None]
        if not anchors:
            continue
        known = fires.get(rule.name, {})
        anchor = next((anchor for anchor in anchors if anchor not in known), anchors[0])
        reason, error = _judge(rule, anchor, fires, change, zone)
        if reason is not None:
            suppressed.append(Suppressed(rule, anchor, reason, error))
            continue
        fired.append(Fire(rule, anchor))
        if rule.remembers:
            fires = remember(fires, rule.name, anchor, change.moment_ms)
    return Outcome(fires, tuple(fired), tuple(suppressed))


def _judge(rule: Rule, anchor: str, fires: Fires, change: Change, zone: tzinfo) -> tuple[Reason | None, str]:
    """(why not, kind of error). The condition comes first: a rule that was not meant is not held back by a limit."""
    if rule.condition is not None:
        try:
            if not rule.condition.holds(change, zone):
                return Reason.CONDITION, ""
        except ConditionFailed as failed:
            return Reason.CONDITION_ERROR, failed.kind.value
    return refusal(rule.limits, fires.get(rule.name, {}), anchor, change.moment_ms, zone), ""


def anchor_of(when: When, change: Change) -> str | None:
    """The moment at which `change` meets `when`, None when it does not. Never contains the customer: ids change."""
    if when.on is On.EVENT or when.on is On.FIRST_EVENT:
        meets = change.kind == "event" and change.name == when.name and (change.first or when.on is On.EVENT)
        return change.cause if meets else None
    if when.on is On.TAG_ADDED:
        began = _tag_anchor(when.name, change)
        return None if began is None else f"{began}+{when.name}"
    if when.on is On.TAG_REMOVED:
        return f"{_place(change)}-{when.name}" if when.name in change.tags_removed else None
    if change.stage_to != when.name or change.stage_from == when.name or when.origin not in ("", change.stage_from):
        return None
    # A stage that time brings on begins with the tag of its name, whose anchor survives merges and splits.
    return f"{_tag_anchor(when.name, change) or _place(change)}>{when.name}"


def _tag_anchor(tag: str, change: Change) -> str | None:
    """What began a tag, None when it did not begin here."""
    if tag not in change.tags_added:
        return None
    at = change.tags_added.index(tag)
    anchor = change.tag_anchors[at] if at < len(change.tag_anchors) else ""
    # Begun by the hand-over itself: all sides of a split name the same cause, and are different moments.
    is_handover = change.kind in ("gave", "took") and anchor == change.cause
    return _place(change) if is_handover or not anchor else anchor


def _place(change: Change) -> str:
    """This change as a place: of an event its cause; of passing time cause and due moment; of a hand-over its id."""
    if change.kind == "event":
        return change.cause
    if change.kind == "took":
        return change.handoff_id
    if change.kind == "gave":
        return f"{change.cause}/gave"
    # Due moments are midnights: without a cause they would be the same for everybody.
    return f"{change.cause or change.customer_id}@{change.occurred_at}"
