"""An event that is a dead letter of profile's ended `tags preview`, `tags backfill` and `customers --as-of`."""

from collections.abc import Iterator
from typing import Any, cast

from cli.customers_as_of import customers_as_of
from cli.folding import parts_of
from cli.tags.population import histories
from services.chassis.clickhouse import Clickhouse
from tests.unit.profile.profile_builders import CONFIG, NOW_MS, TODAY


def row(number: int, traits: str = "{}", node: str = "phone:1") -> tuple[Any, ...]:
    """An event as the queries select it: node, fields, place."""
    fields = (f"e{number}", "track", "Visited", "shop", NOW_MS, NOW_MS, "", 0, "", traits, 0, "{}")
    return node, *fields, f"1.0.{number}"


class Store:
    """Stands for ClickHouse: gives these rows."""

    def __init__(self, *rows: tuple[Any, ...]) -> None:
        self._rows = rows

    def stream_rows(self, sql: str) -> Iterator[tuple[Any, ...]]:
        return iter(self._rows)


def test_what_profile_could_not_read_is_passed_over() -> None:
    parts, count, passed_over = parts_of(iter([row(1), row(2, traits="[1]"), row(3)]), CONFIG)
    assert (parts["phone:1"].events, count, passed_over) == (2, 3, 1)


def test_a_row_that_was_inserted_twice_counts_once() -> None:
    parts, count, passed_over = parts_of(iter([row(1), row(2), row(1)]), CONFIG)
    assert (parts["phone:1"].events, count, passed_over) == (2, 3, 0)


def test_somebody_of_whom_nothing_can_be_read_is_nobody() -> None:
    rows = [("anna", *row(1)), ("bert", *row(2, traits="[1]")), ("cleo", *row(3))]
    read: list[int] = []
    passed_over: list[int] = []
    found = histories(cast(Clickhouse, Store(*rows)), CONFIG, read.append, passed_over.append)
    assert [customer_id for customer_id, _ in found] == ["anna", "cleo"]
    assert (read, passed_over) == ([1, 1, 1], [0, 1, 0])
    known = customers_as_of(iter(rows), dict, TODAY, CONFIG, passed_over.append)
    assert [one.customer_id for one in known] == ["anna", "cleo"]
