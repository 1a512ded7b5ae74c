"""Histories folded from ClickHouse: an event that profile made a dead letter is passed over, counted, and no stop."""

from cli.customers_as_of import customers_as_of
from cli.folding import parts_of
from tests.unit.profile.profile_builders import CONFIG, TODAY, at


def row(customer, number, traits="{}"):
    """As the view `events` gives it; a direct source may have written `traits: null`."""
    return (
        customer, f"n:{customer}", f"e{number}", "track", "Page Viewed", "shop", at(3), at(3), "", 0, "", traits, 0,
        "{}", f"1.0.{number}",
    )  # fmt: skip


def test_an_event_with_unreadable_traits_is_passed_over_and_counted():
    folded = parts_of(iter([row("anna", 1)[1:], row("anna", 2, "null")[1:], row("anna", 3, "[1]")[1:]]), CONFIG)
    assert (folded.rows, folded.passed_over) == (3, 2)
    assert list(folded.parts) == ["n:anna"]


def test_customers_as_of_a_day_are_shown_without_the_dead_letters():
    told = []
    rows = iter([row("anna", 1), row("anna", 2, "null"), row("bert", 3, "null"), row("cleo", 4)])
    found = list(customers_as_of(rows, dict, TODAY, CONFIG, told.append))
    assert [(one.customer_id, one.events) for one in found] == [("anna", 1), ("cleo", 1)]
    assert sum(told) == 2


def test_who_has_nothing_but_dead_letters_is_no_customer_of_any_day():
    assert list(customers_as_of(iter([row("bert", 3, "null")]), dict, TODAY, CONFIG, lambda count: None)) == []
