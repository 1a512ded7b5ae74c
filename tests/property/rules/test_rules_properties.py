"""Laws of the pure parts: merging of limits, independence of customers, a checker that never breaks."""

from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from services.rules.core.cel_check import ConditionRefused
from services.rules.core.condition import Condition, ConditionFailed
from services.rules.core.evaluate import RuleIndex
from services.rules.core.limits import KEPT_FIRES, merge
from services.rules.core.model import Change, Fires
from services.rules.core.round import Round
from services.rules.core.state import pack, unpack
from services.rules.core.syntax import RulesRefused, parse_rules

SHANGHAI = ZoneInfo("Asia/Shanghai")
RULES = {
    "a": b"rule: a\nwhen: {event: A}\nlimits: {cooldown: 1h}\nthen: [{email: {template: t}}]",
    "b": b"rule: b\nwhen: [{event: A}, {tag_added: t}]\nlimits: {per_customer_per_day: 2}\n"
    b"then: [{email: {template: t}}]",
}
FIRES = st.dictionaries(
    st.sampled_from("rs"),
    st.dictionaries(st.text("abc", min_size=1, max_size=4), st.integers(0, 9), min_size=1, max_size=60),
)


def bounded(fires: Fires) -> Fires:
    """As stored: nothing has more fires than are kept."""
    return merge({}, fires)


@given(FIRES, FIRES, FIRES)
def test_the_order_of_merges_does_not_matter(one: Fires, two: Fires, three: Fires) -> None:
    one, two, three = bounded(one), bounded(two), bounded(three)
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), three) == merge(one, merge(two, three))
    assert merge(one, one) == one
    assert all(len(fired) <= KEPT_FIRES for fired in merge(one, two).values())


@given(FIRES)
def test_state_survives_its_bytes_and_equal_states_are_equal_bytes(fires: dict[str, dict[str, int]]) -> None:
    assert unpack(pack(fires)).fires == fires
    backwards = {rule: dict(reversed(fired.items())) for rule, fired in reversed(fires.items())}
    assert pack(backwards) == pack(fires)


CHANGES = st.builds(
    Change,
    customer_id=st.sampled_from(["c1", "c2", "c3"]),
    kind=st.just("event"),
    cause=st.uuids().map(str),
    occurred_at=st.just(0),
    changed_at=st.just(0),
    accepted_at=st.integers(1, 90_000_000),
    name=st.sampled_from("AB"),
    tags_added=st.sampled_from([[], ["t"]]),
    tag_anchors=st.sampled_from([["x"], ["y"]]),
)


class NoKeys:
    def give(self, handoff_id: str, to_id: str) -> str:
        raise AssertionError

    def take(self, handoff_id: str, from_id: str, to_id: str) -> str:
        raise AssertionError


def fired_by(changes: list[Change], batch_size: int) -> dict[str, list[tuple[str, str]]]:
    """Customer → (rule, anchor) in order, worked off in batches."""
    index, states = RuleIndex(parse_rules(RULES), SHANGHAI), {}
    fired: dict[str, list[tuple[str, str]]] = {}
    for start in range(0, len(changes), batch_size):
        round_ = Round(index, states, {}, NoKeys(), lambda value: changes[0])
        for change in changes[start : start + batch_size]:
            round_.take(change, b"")
        states |= round_.states()
        for change, outcome in round_.outcomes:
            fired.setdefault(change.customer_id, []).extend((fire.rule.name, fire.anchor) for fire in outcome.fired)
    return {customer: fires for customer, fires in fired.items() if fires}


@given(st.lists(CHANGES, max_size=25), st.randoms(use_true_random=False), st.integers(1, 10))
def test_how_customers_interleave_and_batches_fall_changes_nothing(
    changes: list[Change], random: object, size: int
) -> None:
    queues = {c: [change for change in changes if change.customer_id == c] for c in ("c1", "c2", "c3")}
    shuffled = []
    while any(queues.values()):
        customer = random.choice([c for c, queue in queues.items() if queue])  # type: ignore[attr-defined]
        shuffled.append(queues[customer].pop(0))
    assert fired_by(shuffled, size) == fired_by(changes, len(changes) or 1)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_rule_or_mistakes_with_places(content: bytes) -> None:
    places = [(1, 1)]
    try:
        parse_rules({"x.yaml": content})
    except RulesRefused as refused:
        places = [(mistake.line, mistake.column) for mistake in refused.mistakes]
    assert places
    assert all(line >= 1 and column >= 1 for line, column in places)


WORDS = [
    "profile", "event", "now", ".", "tags", "rfm", "m", "(", ")", "[", "]", "'vip'", "&&", "||", "!", "3", ">=", "==",
    "size", "exists", "x", ",", "has", "duration", "?", ":", "{", "}", "-", "'", '"', "\\", "é", "in",
]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join))
def test_any_text_is_a_condition_or_refused_and_a_condition_gives_an_answer_or_a_known_failure(text: str) -> None:
    change = Change("c", "event", "0.0.1", 0, 0, profile=b'{"tags":{},"rfm":{"m":3},"stage":""}')
    places = [(1, 1)]
    try:
        Condition(text).holds(change, SHANGHAI)
    except ConditionRefused as refused:
        places = [(line, column) for line, column, _, _ in refused.mistakes]
    except ConditionFailed:
        pass
    assert all(line >= 1 and column >= 1 for line, column in places)
