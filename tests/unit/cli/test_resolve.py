"""`touchstream resolve`: questions in, answers in the same order."""

import json

import pytest
from typer.testing import CliRunner

from cli import resolve as module
from cli.main import app
from cli.resolve import CHUNK, Resolver, resolve
from deploy.local.settings import ROOT
from services.chassis.errors import Retriable
from services.identity.adapters import load_policy

POLICY = load_policy(str(ROOT / "deploy/config/identity.yaml"))


class Graph:
    """A graph in memory; remembers what it was asked."""

    def __init__(self, **customers: str) -> None:
        self.customers = {name.replace("__", ":"): value for name, value in customers.items()}
        self.asked: list[list[str]] = []

    def __call__(self, identifiers: list[str]) -> list[str | None]:
        self.asked.append(identifiers)
        return [self.customers.get(one) for one in identifiers]


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("phone:139 1234 5678", "phone:+8613912345678"),
        ("phone:+44 7911 123456", "phone:+447911123456"),
        (" email:Li.Lei@Example.COM ", "email:Li.Lei@example.com"),
        ("user_id: 17850 ", "user_id:17850"),
        ("user_id:a:b", "user_id:a:b"),
        ("device_id:6D92078A-8246-4BA4-AE5B-76104861E7DC", "device_id:6d92078a-8246-4ba4-ae5b-76104861e7dc"),
        ("openid:wx1/o-123", "openid:wx1/o-123"),
    ],
)
def test_values_are_standardised_as_ingest_does_it(given: str, asked: str) -> None:
    graph = Graph()
    Resolver(POLICY, graph).answer([given])
    assert graph.asked == [[asked]]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("phone:12", "no valid number"),
        ("phone:010 8888 6666", "landline"),
        ("email:nobody", "no valid e-mail"),
        ("user_id:null", "placeholder"),
        ("fax:123", "unknown kind fax"),
        ("13912345678", "kind:value"),
        ("phone:", "kind:value"),
        ("openid:o-123", "app_id"),
    ],
)
def test_an_unusable_identifier_is_nobodys_and_says_why(given: str, why: str) -> None:
    graph = Graph()
    (answer,) = Resolver(POLICY, graph).answer([given])
    assert answer.customer_id is None
    assert why in answer.error
    assert graph.asked == [[]]


def test_numbers_without_a_country_code_are_read_as_the_regions() -> None:
    graph = Graph()
    Resolver(POLICY, graph, "GB").answer(["phone:07911 123456"])
    assert graph.asked == [["phone:+447911123456"]]


def test_answers_keep_the_order_also_around_unusable_ones() -> None:
    graph = Graph(user_id__a="A", user_id__c="C")
    answers = Resolver(POLICY, graph).answers(["user_id:a", "nonsense", "user_id:b", "user_id:c"])
    assert [one.customer_id for one in answers] == ["A", None, None, "C"]


def test_many_identifiers_are_asked_in_chunks() -> None:
    graph = Graph()
    assert len(list(Resolver(POLICY, graph).answers(f"user_id:u{n}" for n in range(CHUNK + 1)))) == CHUNK + 1
    assert [len(asked) for asked in graph.asked] == [CHUNK, 1]


def test_lines_are_answered_as_they_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that asks, waits for the answer and asks again must not hang."""
    blocks = iter([b"user_id:a\nuser_", b"id:b\r\nphone:\xe5", b"\x91\xa2", b""])
    monkeypatch.setattr(module, "_read", lambda: next(blocks))
    arriving = module._arriving()
    assert next(arriving) == ["user_id:a"]
    assert next(arriving) == ["user_id:b"]
    assert list(arriving) == [["phone:呢"]]


def test_the_command_prints_a_json_line_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "open_resolver", lambda region: Resolver(POLICY, Graph(user_id__a="A"), region))
    blocks = iter([b"user_id:a\n\nuser_id:b\n", b"x", b""])
    monkeypatch.setattr(module, "_read", lambda: next(blocks))
    result = CliRunner().invoke(app, ["resolve"])
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert answers[:2] == [
        {"identifier": "user_id:a", "customer_id": "A"},
        {"identifier": "user_id:b", "customer_id": None},
    ]
    assert (answers[2]["identifier"], answers[2]["customer_id"]) == ("x", None)
    assert "kind:value" in answers[2]["error"]


def test_a_graph_that_does_not_answer_is_an_error_not_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(identifiers: list[str]) -> list[str | None]:
        raise Retriable("the identity graph does not answer")

    monkeypatch.setattr(module, "open_resolver", lambda region="CN": Resolver(POLICY, refuse, region))
    with pytest.raises(Retriable):
        resolve(["user_id:a"])
