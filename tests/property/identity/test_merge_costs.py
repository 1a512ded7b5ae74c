"""Twice as many merges cost twice as much: counted in instructions, bytes and rows, never in seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest.mock import patch

import pytest
import redis

from services.chassis.records import Record
from services.chassis.redis.ledger import script_text
from services.chassis.redis.slots import Slot
from services.chassis.testing import lua_server
from services.chassis.testing.lua_server import LuaServer
from services.identity import adapters
from services.identity.handler import CHANGES
from services.profile.archive.core.rows import identity_rows
from tests.bench.merges import chain, fan_in, pairs, roomy
from tests.conformance.conftest import Network
from tests.property.identity.graph_lab import CODECS, PARTITIONS, GraphLab
from tests.property.identity.naive_graph import Touch
from tests.property.identity.test_graph_in_process import InProcess
from tests.property.identity.test_graph_properties import check_promises

COUNTED = 1_000  # instructions at a time


@contextmanager
def instructions() -> Iterator[list[int]]:
    """How many thousand instructions of Lua have run."""
    lua, found = lua_server._engine().lua, [0]
    start, stop = lua.execute(
        b"""
        local count, thousand = 0, ...
        return function() count = 0; debug.sethook(function() count = count + 1 end, '', thousand) end,
          function() debug.sethook(); return count end
        """,
        COUNTED,
    )
    start()
    try:
        yield found
    finally:
        found[0] = int(stop())


def lab_of(size: int) -> GraphLab:
    return GraphLab(cast("redis.Redis", InProcess(LuaServer(), Network())), roomy(size))


def tell(lab: GraphLab, asked: list[tuple[str, ...]], batch: int, sources: int = 1) -> int:
    """Bytes that went through the outbox."""
    stored = 0
    for first in range(0, len(asked), batch):
        number = first // batch % sources
        for i, ids in enumerate(asked[first : first + batch]):
            lab.append(Touch("event", ids, f"m{first + i}", (number, len(lab.log[number])), 1))
        lab.take(lab.step(number))
        stored += len(lab.client.lrange(Slot("identity", number, True).outbox, -1, -1)[0])
    return stored


def merged(lab: GraphLab) -> list[tuple[Record, dict[str, Any]]]:
    records = [
        Record(o.topic, o.partition, i, o.key, o.value, dict(o.headers), 1)
        for i, o in enumerate(lab.sent)
        if o.topic == CHANGES
    ]
    told = [(record, CODECS["identity_change"].decode(record.value)) for record in records]
    return [(record, change) for record, change in told if change["kind"] == "merged"]


def costs(count: int) -> tuple[int, int]:
    """Thousands of instructions, and bytes of the outbox, of a fan-in that one script works off."""
    lab = lab_of(1_000)
    with instructions() as run:
        stored = tell(lab, fan_in(count), 3_000)
    return run[0], stored


def is_linear() -> bool:
    (few, few_bytes), (many, many_bytes) = costs(300), costs(600)
    assert few > 100
    return many < 2.5 * few and many_bytes < 2.2 * few_bytes


def test_who_takes_twice_as_many_costs_twice_as_much() -> None:
    assert is_linear()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("S.ids, S.edges = S.ids .. list", "S.kinds = false\n  S.ids, S.edges = S.ids .. list"),
        ("rolls[C.roll] = C.ids\n", "rolls[C.roll] = C.ids\n  nodes_of(C.ids)\n"),
        ("if not C.roll then C.roll", "if true then C.roll"),
    ],
    ids=["kinds counted anew", "a list taken apart for every merge", "a list kept for every merge"],
)
def test_what_would_cost_the_square_is_noticed(old: str, new: str) -> None:
    def mutated(package: str, script: str) -> str:
        text = script_text(package, script)
        if script == "resolve.lua":
            assert text.count(old) == 1, "the script has changed: this mutant needs another place"
            text = text.replace(old, new)
        return text

    with patch.object(adapters, "script_text", mutated):
        assert not is_linear()


def test_twice_as_many_who_part_cost_twice_as_much() -> None:
    found = []
    for count in (200, 400):  # a hub that held pairs together
        lab = lab_of(2_000)
        tell(
            lab,
            [ids for i in range(count) for ids in ((f"phone:{i}", f"device_id:{i}"), ("user_id:hub", f"phone:{i}"))],
            100,
        )
        lab.append(Touch("unlink", ("user_id:hub",), "m", (0, len(lab.log[0])), 1))
        with instructions() as run:
            lab.take(lab.step(0))
        _, customers, _ = lab.stored()
        assert sorted(len(ids) for _, ids in customers.values()) == [1, *[2] * count]
        found.append(run[0])
    few, many = found
    assert few > 20
    assert many < 2.5 * few


@pytest.mark.parametrize("batch", [3_000, 50])
def test_the_map_of_identifiers_gets_one_row_per_node_that_moved(batch: int) -> None:
    lab = lab_of(1_000)
    tell(lab, fan_in(100), batch)
    assert sum(len(identity_rows([record], [change])[1].data[0]) for record, change in merged(lab)) == 100


def test_every_merge_announces_the_whole_list_its_new_ones_last() -> None:
    lab = lab_of(1_000)
    tell(lab, fan_in(30), 7)
    names = lab.names()
    lists = [([names[x] for x in change["nodes"]], record) for record, change in merged(lab)]
    assert [len(nodes) for nodes, _ in lists] == list(range(2, 32))
    for place, (nodes, record) in enumerate(lists):
        assert nodes == ["user_id:hub", *(f"device_id:{i}" for i in range(place + 1))]
        assert record.headers["moved"] == b"1"


@pytest.mark.parametrize(("asked", "batch"), [(chain(100), 3_000), (chain(100), 1), (pairs(100), 7), (fan_in(99), 5)])
def test_chains_and_storms_from_all_sides_end_in_one_customer_without_a_cycle(
    asked: list[tuple[str, ...]], batch: int
) -> None:
    lab = lab_of(1_000)
    tell(lab, asked, batch, PARTITIONS)
    check_promises(lab)
    home, customers, _ = lab.stored()
    (only,) = customers
    assert len(home) == len(customers[only][1]) == 100
    into = {change["from_id"]: change["customer_id"] for _, change in merged(lab)}
    assert len(into) == len(merged(lab)) == 99, "everybody else ends once"
    for customer in into:
        steps = 0
        while customer in into:
            customer, steps = into[customer], steps + 1
            assert steps < 100, "a cycle"
        assert customer == only


def test_everything_that_moves_is_told_as_moved_wherever_a_batch_ends() -> None:
    whole, single = lab_of(1_000), lab_of(1_000)
    tell(whole, chain(40), 3_000)
    tell(single, chain(40), 1)
    told = [[(change["nodes"], record.headers["moved"]) for record, change in merged(lab)] for lab in (whole, single)]
    assert told[0] == told[1]
    assert [int(moved) for _, moved in told[0]] == list(range(1, 40))
