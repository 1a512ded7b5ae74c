"""Who is read, and who is never suggested for whom."""

import builtins
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from cli.suggest import pairs
from cli.suggest.features import Features, features_of
from cli.suggest.population import MANY_CUSTOMERS, Population, load_population, need
from services.identity.core.policy import Kind, Policy

POLICY = Policy({"user_id": Kind("user_id", 1, limit=1), "phone": Kind("phone", 4, limit=5)})


class Store:
    """ClickHouse that holds these customers (id → nodes) and these refusals: whose they were, and what was named."""

    def __init__(self, customers: Mapping[str, list[str]], *refused: tuple[str, str, str, str]) -> None:
        self._customers, self._refused = customers, refused

    def query_rows(self, sql: str, params: object = None) -> list[dict[str, Any]]:
        assert "refused" in sql
        return [{"customer_id": a, "from_id": b, "nodes": nodes} for a, b, *nodes in self._refused]

    def stream_rows(self, sql: str, params: object = None) -> Iterator[tuple[Any, ...]]:
        for customer, nodes in self._customers.items():
            yield customer, json.dumps({"name": customer}), ["phone:+86138****5678"], nodes


def load(store: Store) -> Population:
    *_, (read, found) = load_population(store, POLICY, features_of)  # type: ignore[arg-type]
    assert read == len(found.rows)
    return found


def test_a_customer_is_a_row_with_its_masked_identifiers() -> None:
    found = load(Store({"anna": ["phone:aa"]}))
    (row,) = found.rows
    assert isinstance(row, Features)
    assert (row.customer_id, row.given, row.phone4) == ("anna", "anna", "5678")
    assert found.shown == {"anna": ["phone:+86138****5678"]}


def test_two_values_of_a_kind_of_which_one_has_one_keep_apart() -> None:
    found = load(Store({"a": ["user_id:11"], "b": ["user_id:22", "phone:33"], "c": ["phone:44"]}))
    assert "each has a user_id of their own" in found.why_not("a", "b")
    assert found.why_not("b", "c") == ""
    assert found.why_not("a", "c") == ""


def test_a_refused_pair_stays_refused_whoever_has_the_identifiers_now() -> None:
    customers = {"a": ["phone:11", "phone:12"], "b": ["phone:21"], "c": ["phone:31"]}
    found = load(Store(customers, ("merged-into-a", "b", "phone:12", "phone:21")))
    assert found.why_not("b", "a") == "somebody refused it"
    assert found.why_not("a", "c") == ""


def test_a_refused_pair_stays_refused_without_the_identifiers_that_were_named() -> None:
    customers = {"a": ["phone:11"], "b": ["phone:21"], "c": ["phone:12"]}
    found = load(Store(customers, ("a", "b", "phone:12", "phone:22")))
    assert found.why_not("a", "b") == "somebody refused it"
    assert found.why_not("c", "b") == ""


def test_nobody_is_suggested_for_himself() -> None:
    assert load(Store({"a": ["phone:11"]})).why_not("a", "a") == "they are one customer already"


def test_a_missing_library_is_a_sentence_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("cli.suggest.model"):
            raise ModuleNotFoundError("No module named 'splink'", name="splink")
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(pairs.MissingLibrariesError, match=r"\(splink\).*uv sync --all-packages --extra suggest"):
        pairs.libraries()


def test_what_a_run_needs_is_told_before_it_and_agrees_with_what_was_measured() -> None:
    assert need(10_000) == "0.5 GB of memory"
    assert need(100_000) == "1.5 GB of memory"
    assert need(1_000_000) == "11.4 GB of memory"
    assert MANY_CUSTOMERS == 100_000
