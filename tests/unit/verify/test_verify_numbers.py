"""Numbers without holes: of the relay's channels, of the customers' logs, of the graph's changes."""

import random

import pytest

from cli.verify.bits import Bits
from cli.verify.customer_logs import CustomerLogs, GraphChanges
from cli.verify.numbers import GRACE_MS, Beginning, Channel, CustomerNumbers
from tests.unit.verify.verify_builders import CUSTOMER, cut, record, standing


def test_bits_hold_exactly_what_was_put_in() -> None:
    bits, chance = Bits(100, 163), random.Random(1)
    chosen = set(chance.sample(range(100, 163), 20))
    assert all(bits.add(number) for number in chosen)
    assert not any(bits.add(number) for number in chosen)
    assert {number for number in range(90, 170) if number in bits} == chosen
    assert bits.count() == 20
    assert list(bits.absent()) == sorted(set(range(100, 163)) - chosen)


def channel(*numbers: str, is_whole: bool = True) -> Channel:
    made = Channel("triggers", 0, is_whole)
    for offset, number in enumerate(numbers):
        made.takes(record(offset, "triggers", seq=number))
    return made


def test_a_channel_takes_every_number_once_and_in_order() -> None:
    whole = channel("0:1", "1:1", "0:2", "0:1", "0:2", "0:3")
    assert (whole.records, whole.repeats, whole.holes.count) == (4, 2, 0)


@pytest.mark.parametrize(
    ("numbers", "name", "count"),
    [
        (("0:1", "0:4"), "triggers/0: 0:2 to 3 before offset 1", 2),
        (("0:2",), "triggers/0: 0:1 before offset 0", 1),
        (("0:1", "1:2", "0:2"), "triggers/0: 1:1 before offset 1", 1),
    ],
)
def test_a_number_left_out_is_named(numbers: tuple[str, ...], name: str, count: int) -> None:
    holes = channel(*numbers).holes
    assert (holes.examples, holes.count) == ([name], count)


def test_a_log_without_its_beginning_is_judged_from_its_first_number_on() -> None:
    assert channel("0:7", "0:8", is_whole=False).holes.count == 0
    assert channel("0:7", "0:9", is_whole=False).holes.examples == ["triggers/0: 0:8 before offset 1"]


def test_what_the_ledger_knows_to_be_sent_must_be_there() -> None:
    short = channel("0:1", "0:2")
    short.must_reach("0", 2)
    assert short.holes.count == 0
    short.must_reach("0", 4)
    short.must_reach("1", 1)
    assert short.holes.count == 3
    assert short.holes.examples[0].startswith("triggers/0: 0:3 to 4 acknowledged")


A, B = b"a" * 16, b"b" * 16


def numbers(beginning: Beginning, *seen: int, below: bool = True) -> tuple[CustomerNumbers, list[int]]:
    made = CustomerNumbers(beginning)
    return made, [n for at, n in enumerate(seen) if not made.add(A, n, below, 1_000 + at)]


def test_a_customers_numbers_may_come_in_any_order_but_none_twice_and_none_left_out() -> None:
    chance = random.Random(2)
    for _ in range(200):
        order = list(range(1, chance.randrange(2, 12)))
        chance.shuffle(order)
        made, twice = numbers(Beginning.ALL, *order)
        assert (twice, made.holes()) == ([], {})
        again = chance.choice(order)
        assert not made.add(A, again, True, 9_000)
        made, _ = numbers(Beginning.ALL, *(n for n in order if n != again))
        assert made.holes() == ({A: (again, again)} if again < len(order) else {})


def test_a_hole_before_what_was_decided_after_the_cut_is_still_on_its_way() -> None:
    made, _ = numbers(Beginning.ALL, 1, 3, below=False)
    assert made.holes() == {}
    made.add(A, 4, True, 2_000)
    assert made.holes() == {A: (2, 2)}


def test_after_a_move_a_customers_log_goes_on_at_any_number() -> None:
    made, twice = numbers(Beginning.MOVED, 8, 7, 9)
    assert (twice, made.holes()) == ([], {})
    made, twice = numbers(Beginning.MOVED, 8, 8, 5, 10)
    assert (twice, made.holes()) == ([8], {A: (9, 9)})
    made, _ = numbers(Beginning.MOVED, 8, 5)
    assert made.holes() == {A: (6, 7)}


def test_what_retention_has_left_is_judged_after_a_while() -> None:
    made, twice = numbers(Beginning.CUT, 5, 4, 7)
    assert (twice, made.holes()) == ([], {})
    late = 1_000 + GRACE_MS
    assert made.add(A, 8, True, late)
    assert made.add(A, 10, True, late)
    assert made.add(B, 3, True, late)
    assert made.add(B, 5, True, late)
    assert made.holes() == {A: (9, 9), B: (4, 4)}


def logs(*ns: int) -> CustomerLogs:
    made = CustomerLogs()
    made.begin(Beginning.ALL)
    for offset, n in enumerate(ns):
        made.see(record(offset, n=n, kind="give" if n == 2 else "event"), True)
    made.end()
    return made


def test_customers_logs_name_the_customer_and_the_number() -> None:
    check = logs(1, 2, 3).check()
    assert (check.expected, check.got, check.differences) == (3, 3, ())
    check = logs(1, 2, 4, 2).check()
    assert [difference.examples[0] for difference in check.differences] == [
        f"{CUSTOMER} number 3",
        f"{CUSTOMER} number 2, again at 0 offset 3",
    ]
    assert check.expected != check.got


def changes(last: int, *gs: int, generation: int = 1, first: int = 0) -> GraphChanges:
    place = ("identity.changes", 0)
    ledger = standing("identity", "touchpoints", 0, generation=generation)
    made = GraphChanges(cut(ledger, ends={place: 99}, firsts={place: first}, graph_changes=last))
    for offset, g in enumerate(gs):
        made.see(record(offset, "identity.changes"), g)
    return made


def test_changes_of_the_graph_are_there_from_the_first_to_the_cuts() -> None:
    check = changes(3, 2, 1, 3, 4).check()
    assert (check.expected, check.got, check.differences) == (3, 3, ())


def test_a_change_left_out_and_one_that_is_there_twice_are_named() -> None:
    missing, doubled = changes(4, 1, 3, 3).check().differences
    assert (missing.count, missing.examples) == (2, ("g 2", "g 4"))
    assert doubled.examples == ("g 3, again at identity.changes/0 offset 2",)


def test_changes_before_the_logs_beginning_are_not_asked_for() -> None:
    assert changes(9, 7, 8, 9, generation=2).check().differences == ()
    assert changes(9, 8, 9, first=5).check().differences == ()
    assert changes(9, 7, 9, generation=2).check().differences[0].examples == ("g 8",)
