"""Which rules a change concerns, at which anchor, and why one does not fire."""

from zoneinfo import ZoneInfo

import pytest

from services.rules.core.evaluate import RuleIndex, anchor_of, evaluate
from services.rules.core.model import Change, Fires, On, Outcome, Reason, When
from services.rules.core.syntax import parse_rules

SHANGHAI = ZoneInfo("Asia/Shanghai")
THEN = "then: [{email: {template: t}}]"


def index_of(**rules: str) -> RuleIndex:
    """Rules by name: everything but `rule` and `then`."""
    files = {name: f"rule: {name}\n{body}\n{THEN}".encode() for name, body in rules.items()}
    return RuleIndex(parse_rules(files), SHANGHAI)


def change(kind: str = "event", **fields: object) -> Change:
    values = {"customer_id": "c1", "cause": "0.1.7", "occurred_at": 50, "accepted_at": 100, "changed_at": 200, **fields}
    return Change(kind=kind, **values)  # type: ignore[arg-type]


def tick(**fields: object) -> Change:
    return change("tick", accepted_at=0, **fields)


def outcome(index: RuleIndex, of: Change, fires: Fires | None = None) -> Outcome:
    return evaluate(fires or {}, of, index.candidates(of), SHANGHAI)


def fired(index: RuleIndex, of: Change, fires: Fires | None = None) -> list[tuple[str, str]]:
    return [(fire.rule.name, fire.anchor) for fire in outcome(index, of, fires).fired]


def held_back(index: RuleIndex, of: Change, fires: Fires | None = None) -> list[tuple[str, Reason, str]]:
    return [(held.rule.name, held.reason, held.error) for held in outcome(index, of, fires).suppressed]


RULES = index_of(
    event="when: {event: A}", first="when: {first_event: A}", added="when: {tag_added: t}",
    removed="when: {tag_removed: t}", stage="when: {stage: {from: loyal, to: dormant}}",
)  # fmt: skip


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (change(name="A"), [("event", "0.1.7")]),
        (change(name="A", first=True), [("event", "0.1.7"), ("first", "0.1.7")]),
        (change(name="B", first=True), []),
        (change("took", name="A", first=True, handoff_id="0.2.3.0"), []),
        (change(name="B", tags_added=["s", "t"], tag_anchors=["x", "0.0.1"]), [("added", "0.0.1+t")]),
        (change(name="B", tags_added=["t"]), [("added", "0.1.7+t")]),
        (change(name="B", tags_removed=["t"]), [("removed", "0.1.7-t")]),
        (change(name="B", stage_from="loyal", stage_to="dormant"), [("stage", "0.1.7>dormant")]),
        (change(name="B", stage_from="repeat", stage_to="dormant"), []),
        (change(name="B", stage_from="dormant", stage_to="dormant"), []),
        (tick(tags_added=["t"], tag_anchors=["0.1.7"]), [("added", "0.1.7+t")]),
        (tick(tags_removed=["t"]), [("removed", "0.1.7@50-t")]),
        (tick(tags_removed=["t"], cause=""), [("removed", "c1@50-t")]),
        (tick(stage_from="loyal", stage_to="dormant"), [("stage", "0.1.7@50>dormant")]),
        (
            tick(stage_from="loyal", stage_to="dormant", tags_added=["dormant"], tag_anchors=["0.0.4"]),
            [("stage", "0.0.4>dormant")],
        ),
    ],
)
def test_a_change_fires_the_rules_that_name_it_at_its_anchor(of: Change, expected: list[tuple[str, str]]) -> None:
    assert fired(RULES, of) == expected


def test_all_sides_of_a_split_that_begins_a_tag_are_different_moments() -> None:
    begun = {"tags_added": ["t"], "tag_anchors": ["0.1.9.0"], "cause": "0.1.9.0"}
    sides = [
        change("gave", **begun),
        change("took", handoff_id="0.1.9.0", **begun),
        change("took", handoff_id="0.1.9.1", **begun | {"tag_anchors": ["0.1.9.1"], "cause": "0.1.9.1"}),
    ]
    assert len({anchor_of(When(On.TAG_ADDED, "t"), side) for side in sides}) == 3


def test_a_tag_that_began_earlier_keeps_its_anchor_through_a_hand_over() -> None:
    took = change("took", cause="0.1.9.0", handoff_id="0.1.9.0", tags_added=["t"], tag_anchors=["0.0.4"])
    assert anchor_of(When(On.TAG_ADDED, "t"), took) == "0.0.4+t"


def test_one_change_fires_a_rule_once_however_many_of_its_whens_it_meets() -> None:
    index = index_of(r="when: [{tag_added: t}, {event: A}, {tag_removed: u}]")
    many = change(name="A", tags_added=["t"], tag_anchors=["0.0.4"], tags_removed=["u"])
    assert fired(index, many) == [("r", "0.0.4+t")]
    assert fired(index, many, {"r": {"0.0.4+t": 1}}) == [("r", "0.1.7")], "what has fired gives way to what has not"


def test_a_moment_announced_again_does_not_fire_again() -> None:
    first = change(name="B", tags_added=["t"], tag_anchors=["0.0.4"])
    once = outcome(RULES, first)
    again = tick(tags_added=["t"], tag_anchors=["0.0.4"])
    assert held_back(RULES, again, once.fires_kept) == [("added", Reason.REPEATED, "")]


def test_events_of_rules_without_limits_leave_no_state() -> None:
    assert outcome(RULES, change(name="A", first=True)).fires_kept == {}


def test_limits_count_from_the_moment_of_acceptance_and_for_time_from_when_it_was_noticed() -> None:
    index = index_of(r="when: [{event: A}, {tag_added: t}]\nlimits: {cooldown: 1s}")
    assert outcome(index, change(name="A")).fires_kept == {"r": {"0.1.7": 100}}
    assert outcome(index, tick(tags_added=["t"], tag_anchors=["x"])).fires_kept == {"r": {"x+t": 200}}


def test_a_condition_is_asked_before_the_limits() -> None:
    index = index_of(r="when: {event: A}\nif: event.source == 'shop'\nlimits: {once_per_customer: true}")
    known = {"r": {"old": 1}}
    assert held_back(index, change(name="A", source="web"), known) == [("r", Reason.CONDITION, "")]
    assert held_back(index, change(name="A", source="shop"), known) == [("r", Reason.ONCE, "")]


def test_a_condition_that_fails_holds_back_its_own_rule_only() -> None:
    index = index_of(
        broken="when: {event: A}\nif: profile.traits.age > 30", fine="when: {event: A}", late="when: {event: A}"
    )
    assert fired(index, change(name="A")) == [("fine", "0.1.7"), ("late", "0.1.7")]
    assert held_back(index, change(name="A")) == [("broken", Reason.CONDITION_ERROR, "missing_field")]


@pytest.mark.parametrize(
    ("header", "cares"),
    [
        (None, True),
        (b"A\x1f", True),
        (b"B\x1f", False),
        (b"B\x1ff", False),
        (b"F\x1f", False),
        (b"F\x1ff", True),
        (b"B\x1ft", True),
        (b"\x1fs", True),
        (b"\x1fh", True),
        (b"th\x1f", False),
        (b"A\x1fB\x1f", False),
        ("订单\x1f".encode(), True),
    ],
)
def test_the_header_tells_whether_any_rule_can_care(header: bytes | None, cares: bool) -> None:
    index = index_of(
        a="when: {event: A}", f="when: {first_event: F}", t="when: {tag_removed: x}", s="when: {stage: {to: loyal}}",
        u="when: {event: 订单}",
    )  # fmt: skip
    assert index.cares(header) is cares
    assert index.cares(header) is cares, "also when it is remembered"


def test_without_tag_and_stage_rules_their_changes_are_passed_over() -> None:
    index = index_of(a="when: {event: A}")
    assert not index.cares(b"B\x1fts")
    assert index.cares(b"B\x1ftsh"), "hand-overs of state never are"


def test_imported_history_fires_nothing() -> None:
    imported = change(name="A", first=True, tags_added=["t"], tag_anchors=["0.1.7"], is_import=True)
    assert fired(RULES, imported) == []
    assert not RULES.cares(b"A\x1fftsi")
    assert RULES.cares(b"A\x1ffts")
