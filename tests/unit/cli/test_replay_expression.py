"""Expressions of a mapping: what they compute, and what they refuse by name."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.replay.expression import compile_expression
from cli.replay.typed import ExpressionError, Wanted
from cli.replay.values import Compute, LineError

COLUMNS = {
    "Quantity": "6",
    "UnitPrice": "2.55",
    "Invoice": "C536379",
    "Customer": " ",
    "Unit Price": "1,299.50",
    "A": "x",
}


def column_of(path: tuple[str, ...]) -> Compute:
    name = ".".join(path)
    if name not in COLUMNS and name != "order.total":
        raise KeyError("one of A, Quantity")
    return lambda row: row.get(name)


def compute(text: str, row: dict[str, Any] | None = None, wanted: Wanted = Wanted.VALUE) -> Any:
    return compile_expression(text, column_of, wanted)(COLUMNS if row is None else row)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("Quantity * UnitPrice", Decimal("15.30")),
        ("-Quantity * UnitPrice", Decimal("-15.30")),
        ("Quantity + 0.1 - 0.3", Decimal("5.8")),
        ("Quantity / 4", Decimal("1.5")),
        ("number(column('Unit Price'))", Decimal("1299.50")),
        ("round(UnitPrice * Quantity / 7, 2)", Decimal("2.19")),
        ("round(0.125, 2)", Decimal("0.13")),
        ("abs(-2)", Decimal(2)),
        ("Quantity", "6"),
        ("Quantity > 0 and UnitPrice > 0", True),
        ("0 < Quantity <= 5", False),
        ("Quantity == 6.0", True),
        ("Quantity == '6.0'", False),
        ("not empty(Customer)", False),
        ("empty(Customer) or Quantity < 0", True),
        ('startswith(Invoice, "C")', True),
        ('endswith(Invoice, "C")', False),
        ('contains(Invoice, "363")', True),
        (r'matches(Invoice, "[A-Z]?\d+")', True),
        ('A in ["x", "y"]', True),
        ('A not in ("y", "z")', True),
        ("upper(A)", "X"),
        ('replace(Invoice, "C", "")', "536379"),
        ('join(A, "-", Quantity)', "x-6"),
        ("first(Customer, A)", "x"),
        ("strip(Customer)", ""),
        ("order.total", None),
        ("(Quantity\n * 2)", Decimal(12)),
    ],
)
def test_expressions_compute(text: str, result: object) -> None:
    assert compute(text) == result


@pytest.mark.parametrize(
    ("text", "found", "offset"),
    [
        ("Quantity *", "no expression", None),
        ("Quantity ** 2", "operator", 0),
        ("Quantity * Pirce", "no column `Pirce`", 11),
        ("open('/etc/passwd')", "no function `open`", 0),
        ("__import__('os')", "no function", 0),
        ("Quantity.__class__", "no column `Quantity.__class__`", 0),
        ("[x for x in A]", "ListComp", 0),
        ("lambda: 1", "Lambda", 0),
        ("f'{A}'", "JoinedStr", 0),
        ("A['x']", "Subscript", 0),
        ("startswith(A)", "1 values", 0),
        ("startswith(A, prefix='x')", "`startswith", 0),
        ("matches(A, '[')", "regular expression", 0),
        ("matches(A, Invoice)", "in quotes", 0),
        ("round(UnitPrice, 99)", "digits", 0),
        ("Quantity and A", "`Quantity`", 0),
        ("Quantity > UnitPrice", "two columns", 0),
        ("(Quantity > 1) * 2", "`Quantity > 1`", 0),
        ("None", "`None`", 0),
        ("A in 'xyz'", "`'xyz'`", 5),
    ],
)
def test_what_is_no_expression_is_refused_with_its_place(text: str, found: str, offset: int | None) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, column_of)
    assert found in caught.value.found
    assert offset is None or caught.value.offset == offset


def test_a_condition_is_asked_for_where_one_is_needed() -> None:
    assert compute("Quantity > 5", wanted=Wanted.CONDITION) is True
    with pytest.raises(ExpressionError, match="a condition"):
        compile_expression("Quantity", column_of, Wanted.CONDITION)
    with pytest.raises(ExpressionError, match="a number"):
        compile_expression("Quantity > 1", column_of, Wanted.NUMBER)


@pytest.mark.parametrize(
    ("text", "row", "reason"),
    [
        ("Quantity * 2", {"Quantity": "six"}, "Quantity is no number"),
        ("Quantity * 2", {"Quantity": ""}, "Quantity is empty, a number expected"),
        ("Quantity * 2", {"Quantity": "12,50"}, "Quantity is no number"),
        ("Quantity * 2", {"Quantity": "NaN"}, "Quantity is no number"),
        ("1 / Quantity", {"Quantity": "0"}, "1 / Quantity cannot be computed exactly (DivisionByZero)"),
        ("Quantity * Quantity", {"Quantity": "1" * 40}, "Quantity * Quantity cannot be computed exactly (Inexact)"),
        ("startswith(A, 'x')", {"A": ["x"]}, "A is a list or an object, text expected"),
    ],
)
def test_a_line_that_cannot_be_computed_names_the_rule_not_the_value(
    text: str, row: dict[str, object], reason: str
) -> None:
    with pytest.raises(LineError) as caught:
        compute(text, row)
    assert caught.value.reason == reason


def test_json_numbers_and_texts_compare_alike() -> None:
    for value in (6, Decimal("6.0"), "6", "6.00"):
        assert compute("Quantity == 6", {"Quantity": value}) is True


@given(quantity=st.integers(-(10**9), 10**9), price=st.decimals(0, 10**9, places=3))
def test_amounts_are_exact(quantity: int, price: Decimal) -> None:
    row = {"Quantity": str(quantity), "UnitPrice": f"{price:f}"}
    assert compute("Quantity * UnitPrice", row) == quantity * price
