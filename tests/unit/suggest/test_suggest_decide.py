"""Which identifier names a customer on the touchpoint of an answer, and what the touchpoint says."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.sides import Side, Sides, UndecidableError
from cli.suggest.command import tell
from cli.suggest.decide import answer, from_list
from cli.suggest.explain import Reason
from services.chassis.ids import node_of
from services.identity.core.policy import Kind, Policy

KEY = b"a key of sixteen"
POLICY = Policy(
    {
        "card": Kind("card", 9, rank=0, may_merge=False),
        "user_id": Kind("user_id", 1, rank=1),
        "phone": Kind("phone", 4, rank=2),
        "anonymous_id": Kind("anonymous_id", 8, rank=3),
    },
    blocked=frozenset({"null"}),
)
ANNA, PETER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


class Store:
    """ClickHouse: nodes by customer, what the events of any node named in plain text, nodes that came later."""

    def __init__(self, nodes: dict[str, list[str]], plain: list[str], renewed: dict[str, str] | None = None) -> None:
        self._nodes, self._plain, self._renewed = nodes, plain, renewed or {}

    def query_rows(self, sql: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        if "events_raw" in sql:
            return [{"one": one} for one in self._plain] if params["nodes"] else []
        if "identity_changes_raw" in sql:
            return [{"node": node, "identifier": first} for node, first in self._renewed.items()]
        if "identifier_map" in sql:
            return []
        return [{"nodes": self._nodes[params["id"]]}] if params["id"] in self._nodes else []


def sides(plain: list[str], has: list[str], graph: dict[str, str]) -> Sides:
    store = Store({ANNA: [node_of(one, KEY) for one in has]}, plain)
    return Sides(store, lambda identifiers: [graph.get(one) for one in identifiers], POLICY, KEY)  # type: ignore[arg-type]


def test_a_customer_is_named_by_the_strongest_identifier_that_is_theirs_now() -> None:
    plain = ["anonymous_id:a1", "phone:+8613800010001", "user_id:of-somebody-else"]
    known = dict.fromkeys(plain, ANNA)
    assert sides(plain, plain[:2], known).find(ANNA) == Side(ANNA, "phone:+8613800010001")


def test_a_number_that_was_taken_over_names_who_has_it_and_not_the_former_owner() -> None:
    number, later = "phone:+8613800010001", "phone:later"
    first = node_of(number, KEY)
    store = Store({ANNA: [first], PETER: [later]}, [number], {later: first})
    found = Sides(store, lambda identifiers: [PETER] * len(identifiers), POLICY, KEY)  # type: ignore[arg-type]
    assert found.find(PETER) == Side(PETER, number)
    with pytest.raises(UndecidableError, match="no event names customer"):
        found.find(ANNA)


def test_an_identifier_that_joins_nobody_names_a_customer_only_when_there_is_no_other() -> None:
    plain = ["card:7", "anonymous_id:a1"]
    known = dict.fromkeys(plain, ANNA)
    assert sides(plain, plain, known).find(ANNA) == Side(ANNA, "anonymous_id:a1")
    assert sides(plain, plain[:1], known).find(ANNA) == Side(ANNA, "card:7")


def test_a_value_that_is_blocked_now_or_of_a_kind_that_is_gone_names_nobody() -> None:
    plain = ["user_id:null", "badge:3", "anonymous_id:a1"]
    found = sides(plain, plain, dict.fromkeys(plain, ANNA)).find(ANNA)
    assert found == Side(ANNA, "anonymous_id:a1")


def test_an_identifier_that_has_moved_on_since_names_nobody() -> None:
    plain = ["phone:+8613800010001", "anonymous_id:a1"]
    known = {"phone:+8613800010001": PETER, "anonymous_id:a1": ANNA}
    assert sides(plain, plain, known).find(ANNA) == Side(ANNA, "anonymous_id:a1")


def test_an_identifier_names_the_customer_who_has_it() -> None:
    found = sides([], [], {"phone:+8613800010001": PETER}).find("phone:138 0001 0001")
    assert found == Side(PETER, "phone:+8613800010001")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (PETER, "there is no customer"),
        (ANNA, "no event names customer"),
        ("phone:+8613800010001", "nobody is known as"),
        ("Anna", "or give a customer id"),
    ],
)
def test_who_is_not_meant_is_a_sentence(given: str, says: str) -> None:
    with pytest.raises(UndecidableError, match=says):
        sides([], ["phone:+8613800010001"], {}).find(given)


def test_the_touchpoint_says_who_why_and_with_which_score() -> None:
    reasons = [Reason("name", "the same", 9.4), Reason("birthday", "different", -5.1)]
    assert answer("王芳", "called both", 0.9312, reasons) == {
        "author": "王芳",
        "reason": "called both. Suggested with 93.12%: name: the same (+9.4); birthday: different (-5.1)",
        "score": 0.9312,
    }


def test_a_list_that_was_kept_answers_without_computing(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    line = {
        "customers": [{"customer_id": ANNA}, {"customer_id": PETER}], "score": 0.9,
        "reasons": [{"comparison": "name", "says": "the same", "weight": 9.4}],
    }  # fmt: skip
    path.write_text(json.dumps(line) + "\n")
    assert from_list(path, PETER, ANNA) == (0.9, [Reason("name", "the same", 9.4)])
    with pytest.raises(UndecidableError, match="does not hold"):
        from_list(path, ANNA, ANNA)


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"customers": 1}'])
def test_what_is_no_list_is_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text(text)
    with pytest.raises(UndecidableError, match="is no list of"):
        from_list(path, ANNA, PETER)


def change(kind: str) -> dict[str, Any]:
    return {"kind": kind, "customer_id": ANNA, "from_id": PETER, "reason": "because"}


def test_what_identity_made_of_an_answer_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    tell("link", [change("merged")])
    tell("refuse", [change("refused")])
    tell("refuse", [])
    told = capsys.readouterr().out.replace("\n", " ")
    for text in (f"merged: customer {ANNA}", f"refused: customer {ANNA}", "refused before", f"(with {PETER}): because"):
        assert text in told


@pytest.mark.parametrize("kind", ["conflict", "blocked"])
def test_a_link_that_a_guard_refused_is_a_failure(kind: str) -> None:
    with pytest.raises(typer.Exit):
        tell("link", [change(kind)])
