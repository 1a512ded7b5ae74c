"""The state of a correction follows from its rows, in whatever order they are read; what is shown is masked."""

import json
from itertools import permutations

import pytest

from cli.correction.apply import NotTheirsError, customer_now, touchpoint
from cli.correction.fields import Change, overtaken
from cli.correction.show import as_json, card, listed
from cli.correction.steps import APPLIED, APPROVED, REFUSED, REQUESTED, Correction, Step, gathered

FIELDS = json.dumps([{"field": "phone", "former": None, "value": "+8613912345678", "given": "139 1234 5678"}])


def step(what: str, author: str, at_ms: int, account: str = "") -> Step:
    fields = FIELDS if what == REQUESTED else "[]"
    account = account or author.casefold()
    return Step("c-1", what, author, account, "anna", "user_id:anna-1", fields, "because", at_ms)


ASKED = step(REQUESTED, "Wang Fang", 1)


def correction(*steps: Step) -> Correction:
    (one,) = gathered((ASKED, *steps))
    return one


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ((), REQUESTED),
        ((step(APPROVED, "Li Lei", 2),), APPROVED),
        ((step(REFUSED, "Li Lei", 2),), REFUSED),
        ((step(APPROVED, "Li Lei", 2), step(APPLIED, "Li Lei", 3)), APPLIED),
        ((step(APPROVED, "Li Lei", 2), step(REFUSED, "Han", 3)), APPROVED),
        ((step(REFUSED, "Han", 2), step(APPROVED, "Li Lei", 3)), REFUSED),
        ((step(APPROVED, "Li Lei", 2), step(REFUSED, "Han", 2)), APPROVED),
        ((step(APPROVED, "Li Lei", 3), step(REFUSED, "Han", 2), step(APPLIED, "Li Lei", 4)), APPLIED),
    ],
)
def test_the_first_decision_counts_and_what_was_applied_stays_so(steps: tuple[Step, ...], state: str) -> None:
    for rows in permutations((ASKED, *steps)):
        (one,) = gathered(rows)
        assert one.state == state
        assert one.steps[0] == ASKED


def test_rows_without_a_request_are_no_correction() -> None:
    assert gathered([step(APPROVED, "Li Lei", 2)]) == []


@pytest.mark.parametrize("author", ["Wang Fang", "wang fang", " Wang  Fang "])
def test_who_asked_does_not_approve(author: str) -> None:
    assert "another person approves" in correction().why_not(APPROVED, author, "li lei")
    assert "another person approves" in correction().why_not(APPROVED, author, "li lei", is_account_shared=True)
    assert correction().why_not(APPROVED, "Li Lei", "li lei") == ""
    assert correction().why_not(REFUSED, author, "wang fang") == ""


def test_another_name_on_the_account_that_asked_approves_only_where_that_is_said() -> None:
    refused = correction().why_not(APPROVED, "Li Lei", "wang fang")
    assert refused == "the account wang fang asked for it, too: approve from another one (or --same-account)"
    assert correction().why_not(APPROVED, "Li Lei", "wang fang", is_account_shared=True) == ""
    assert correction().why_not(REFUSED, "Li Lei", "wang fang") == ""


def test_an_approval_overwrites_only_what_was_seen_when_it_was_asked_for() -> None:
    city, none = Change("city", "上海市", "深圳市", "深圳"), Change("level", None, None, None)
    assert overtaken([city, none], {"city": "上海市"}) == []
    assert overtaken([city], {"city": "深圳市"}) == [], "somebody said the same"
    assert overtaken([city, none], {"city": "北京市", "level": "gold"}) == [city, none]
    assert overtaken([city], {}) == [city], "taken away since"
    assert overtaken([Change("n", 1, 2, 2)], {"n": True}) != [], "1 and true are two values"


def test_who_approves_sees_what_the_profile_says_now() -> None:
    one = correction()
    assert 'phone: none → "+8613912345678"\n' in card(one, {})
    told = card(one, {"phone": "+8613700000001"})
    assert 'phone: none → "+8613912345678" (now "+8613700000001")' in told
    assert "now" not in card(one, {"phone": None})


def test_a_decided_correction_is_not_decided_again() -> None:
    approved = correction(step(APPROVED, "Li Lei", 2))
    assert approved.why_not(APPROVED, "Han", "han") == "it is approved (by Li Lei)"
    assert approved.why_not(REFUSED, "Han", "han") == "it is approved (by Li Lei)"
    assert approved.why_not(APPLIED, "Han", "han") == ""
    assert correction().why_not(APPLIED, "Han", "han") == "it is requested (by Wang Fang)"
    assert "it is applied" in correction(step(APPROVED, "L", 2), step(APPLIED, "L", 3)).why_not(APPLIED, "Han", "han")


def test_two_who_approve_at_once_write_the_same_touchpoint() -> None:
    first, second = step(APPROVED, "Li Lei", 2), step(APPROVED, "Han", 2)
    one, other = correction(first, second), correction(second, first)
    assert touchpoint(one) == touchpoint(other)
    assert touchpoint(one).event_id == "c-1"
    assert touchpoint(one).occurred_ms == 2
    assert touchpoint(one).traits == {"phone": "+8613912345678"}
    assert touchpoint(one).identifiers == ("user_id:anna-1",)
    assert touchpoint(one).properties == {
        "correction": "c-1", "author": "Wang Fang", "approved_by": "Han", "reason": "because",
    }  # fmt: skip


class Ended:
    """A ClickHouse that knows one ended customer."""

    def __init__(self, into: str = "") -> None:
        self._into = into

    def query_rows(self, sql: str, params: object = None) -> list[dict[str, str]]:
        return [{"customer_id": self._into}] if self._into else []


def test_a_correction_follows_a_merge_and_nobody_else() -> None:
    def now(found: str | None, into: str = "") -> str:
        return customer_now(Ended(into), lambda identifiers: [found], ASKED)  # type: ignore[arg-type]

    assert now("anna") == "anna"
    assert now("bert", into="bert") == "bert"
    with pytest.raises(NotTheirsError, match="belongs to bert now"):
        now("bert")
    with pytest.raises(NotTheirsError, match="belongs to bert now"):
        now("bert", into="carl")
    with pytest.raises(NotTheirsError, match="erased"):
        now(None)


def test_lists_are_masked_and_the_card_for_who_approves_is_not() -> None:
    one = correction(step(APPROVED, "Li Lei", 2))
    assert "13912345678" not in json.dumps(as_json(one, True))
    assert "139 1234" not in json.dumps(as_json(one, True))
    assert as_json(one, True)["fields"] == [{"field": "phone", "former": "none", "value": "+86139****5678"}]
    assert list(listed([one]).columns[5].cells) == ["phone: none → +86139****5678"]
    assert 'phone: none → "+8613912345678"' in card(one)
    assert "approved by Li Lei (li lei): because" in card(one)
