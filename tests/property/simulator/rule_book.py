"""The rules that run in the simulator, and what they mean: written apart from the rules service."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from services.profile.core.state import Changes
from services.rules.core.evaluate import RuleIndex
from services.rules.core.syntax import parse_rules

Fires = set[tuple[str, str, int]]  # (rule, anchor, moment)
HOUR_MS = 3_600_000
BUY, LOOK = "Order Completed", "Page Viewed"
BODIES = {
    "always": f"when: {{event: {BUY}}}",
    "asked": f"when: {{event: {BUY}}}\nif: profile.rfm.m >= 3",
    "daily": f"when: [{{event: {BUY}}}, {{event: {LOOK}}}]\nlimits: {{per_customer_per_day: 2}}",
    "cool": f"when: {{event: {LOOK}}}\nlimits: {{cooldown: 1h}}",
    "first": f"when: {{first_event: {LOOK}}}",
    "once": f"when: {{first_event: {BUY}}}\nlimits: {{once_per_customer: true}}",
    "again": "when: {stage: {from: first_purchase, to: repeat}}",
    "loyal": "when: {stage: {to: loyal}}",
    "gone": "when: {stage: {to: churned}}",
    "sleeps": "when: {stage: {to: dormant}}",
    "lapsed": "when: {tag_added: login_lapsed_30d}",
    "risk": "when: {tag_added: at_risk}",
    "welcome": "when: {tag_added: new_customer}",
    "awake": "when: {tag_removed: at_risk}",
}
STAGES = {"again": "repeat", "loyal": "loyal", "gone": "churned", "sleeps": "dormant"}
TAGS = {"lapsed": "login_lapsed_30d", "risk": "at_risk", "welcome": "new_customer"}
# What depends on when a customer is looked at, not only on what happened to it.
TIMELY = frozenset(("asked", *STAGES, *TAGS, "awake"))
# Rules without limits whose moments cannot be announced again: that they have fired is not kept.
FORGOTTEN = frozenset(("always", "asked", "first", "awake"))
INDEX = RuleIndex(
    parse_rules(
        {
            f"{name}.yaml": f"rule: {name}\nversion: 1\n{body}\nthen: [{{email: {{template: t}}}}]".encode()
            for name, body in BODIES.items()
        }
    ),
    ZoneInfo("Asia/Shanghai"),
)


@dataclass(frozen=True)
class Moment:
    """A change of a profile. m: its monetary score."""

    kind: str
    cause: str
    name: str
    is_first: bool
    changes: Changes
    m: int


def moments(moment: Moment) -> list[tuple[str, str]]:
    """(rule, anchor) of every rule whose moment has come, in order of their names."""
    place = {"gave": f"{moment.cause}/gave", "tick": f"{moment.cause}@"}.get(moment.kind, moment.cause)
    found = []
    if moment.kind == "event":
        happens = {
            "always": moment.name == BUY, "asked": moment.name == BUY and moment.m >= 3,
            "daily": moment.name in (BUY, LOOK), "cool": moment.name == LOOK,
            "first": moment.name == LOOK and moment.is_first, "once": moment.name == BUY and moment.is_first,
        }  # fmt: skip
        found += [(rule, place) for rule, does in happens.items() if does]
    began = {tag: anchor for tag, anchor, _ in moment.changes.tags_added}
    if moment.kind in ("gave", "took"):  # all sides of a split name the same cause, and are different moments
        began = {tag: place if anchor == moment.cause else anchor for tag, anchor in began.items()}
    found += [(rule, f"{began[tag]}+{tag}") for rule, tag in TAGS.items() if tag in began]
    if "at_risk" in moment.changes.tags_removed:
        found.append(("awake", f"{place}-at_risk"))
    before, after = moment.changes.stage_from, moment.changes.stage_to
    for rule, stage in STAGES.items():
        if after == stage and before != stage and (rule != "again" or before == "first_purchase"):
            found.append((rule, f"{began.get(stage, place)}>{stage}"))
    return sorted(found)


def may_fire(fires: Fires, rule: str, anchor: str, moment_ms: int) -> bool:
    """Whether a rule may fire for a customer that has fired these."""
    mine = [(known, ms) for name, known, ms in fires if name == rule]
    if any(known == anchor for known, _ in mine):
        return False
    if rule == "daily":
        return sum(_day(ms) == _day(moment_ms) for _, ms in mine) < 2
    if rule == "cool":
        return all(moment_ms - ms >= HOUR_MS for _, ms in mine)
    return rule != "once" or not mine


def _day(ms: int) -> int:
    return (ms + 8 * HOUR_MS) // (24 * HOUR_MS)


def plain(anchor: str) -> str:
    """An anchor without the moment at which somebody noticed that time had passed."""
    head, at, rest = anchor.partition("@")
    return head + at + rest.lstrip("0123456789")


def triggers_of(lines: Iterable[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """What the rules make of the records of profile.changes, each customer's in order: where days pass, nobody else
    knows who was looked at when. Raises ValueError when nobody gave what somebody took."""
    waiting, fires = defaultdict[str, list[dict[str, Any]]](list), defaultdict[str, Fires](set)
    for line in lines:
        waiting[line["customer_id"]].append(line)
    given: dict[tuple[str, str], Fires] = {}
    found = Counter[tuple[str, str]]()
    while any(waiting.values()):
        ready = [name for name, left in waiting.items() if left and _may_follow(left[0], given)]
        if not ready:
            raise ValueError(f"a hand-over that nobody gave: {[left[0] for left in waiting.values() if left]}")
        for name in ready:
            line = waiting[name].pop(0)
            fires[name] |= given.pop((line["handoff_id"], name), set())
            for piece in line["pieces"]:
                given[piece["handoff_id"], piece["to_id"]] = set(fires[name])
            found.update(_fired(fires[name], line))
    return found


def _may_follow(line: dict[str, Any], given: dict[tuple[str, str], Fires]) -> bool:
    return line["kind"] != "took" or (line["handoff_id"], line["customer_id"]) in given


def _fired(fires: Fires, line: dict[str, Any]) -> list[tuple[str, str]]:
    """What a line of profile.changes makes a customer's rules fire; they are added to `fires`."""
    if line["kind"] == "erased" or (line["kind"] == "gave" and not line["pieces"][0]["nodes"]):
        return []
    added = tuple(zip(line["tags_added"], line["tag_anchors"], line["tag_reasons"], strict=True))
    changes = Changes(added, tuple(line["tags_removed"]), line["stage_from"], line["stage_to"])
    m = msgspec.json.decode(line["profile"])["rfm"]["m"]
    moment = Moment(line["kind"], line["cause"], line["name"], line["first"], changes, m)
    at_ms, found = line["accepted_at"] or line["changed_at"], []
    for rule, anchor in moments(moment):
        if may_fire(fires, rule, anchor, at_ms):
            found.append((rule, anchor))
            fires.add((rule, anchor, at_ms))
    return found
