"""Order lines of a shop's history through `touchstream replay`: every line is an event, refused or explained.

The lines are made here, in the columns of UCI Online Retail and with its oddities. TOUCHSTREAM_TEST_DATA names a
folder that holds the real file, online_retail/online_retail.csv.gz: then all its 541,909 lines are sent instead, and
their known totals checked.
"""

import csv
import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.e2e.conftest import RunningStack

pytestmark = pytest.mark.timeout(3_600)
FOLDER = os.environ.get("TOUCHSTREAM_TEST_DATA", "")
IS_REAL = bool(FOLDER)
LINES = 541_909 if IS_REAL else 3_000
MAPPING = "deploy/config/mappings/online_retail.yaml"
OURS = "event_id LIKE 'online-retail-%'"


@dataclass
class Books:
    """What the lines say, added up without any of our code: buyers, invoices and pence by event name."""

    buyers: dict[str, set[str]] = field(default_factory=dict)
    invoices: dict[str, set[str]] = field(default_factory=dict)
    pence: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)

    def add(self, row: dict[str, str]) -> None:
        """One line."""
        quantity, price = Decimal(row["Quantity"]), Decimal(row["UnitPrice"])
        if row["InvoiceNo"].startswith("A"):
            self.others["bookkeeping"] += 1
        elif price == 0:
            self.others["free" if row["CustomerID"] else "stock"] += 1
        elif not row["CustomerID"]:
            self.others["identifier_missing"] += 1
        else:
            is_refund = row["InvoiceNo"].startswith("C")
            assert is_refund == (quantity < 0)
            name = "Order Refunded" if is_refund else "Order Line Completed"
            self.buyers.setdefault(name, set()).add(row["CustomerID"])
            self.invoices.setdefault(name, set()).add(row["InvoiceNo"])
            self.pence[name] += int((abs(quantity) * price * 100).quantize(Decimal(1), ROUND_HALF_UP))
            self.lines[name] += 1

    def as_rows(self) -> list[tuple[object, ...]]:
        """(event, lines, buyers, invoices, pence, currency) as ClickHouse is asked for it."""
        return [
            (name, self.lines[name], len(self.buyers[name]), len(self.invoices[name]), self.pence[name], "GBP")
            for name in sorted(self.lines)
        ]


COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
PRICES = ("0.001", "0.55", "1.25", "2.95", "7.65", "165")


def made_lines() -> Iterator[dict[str, str]]:
    """Invoices of several lines: sales, cancellations, no customer, stock movements, free items, bookkeeping."""
    random, at = Random(20_101_201), datetime(2010, 12, 1, 8, 26)
    number, lines = 536_365, 0
    while lines < LINES:
        number, at = number + 1, at + timedelta(minutes=random.randint(1, 600))
        kind = random.choices(("sale", "refund", "stock", "free", "bookkeeping"), (80, 8, 5, 4, 3))[0]
        customer = (
            "" if kind in ("stock", "bookkeeping") or random.random() < 0.2 else str(random.randint(12_346, 12_600))
        )
        prefix = {"refund": "C", "bookkeeping": "A"}.get(kind, "")
        for _ in range(min(1 if kind == "bookkeeping" else random.randint(1, 8), LINES - lines)):
            lines += 1
            quantity = random.randint(1, 48) * (-1 if kind == "refund" else 1)
            price = "0" if kind in ("stock", "free") else random.choice(PRICES)
            yield {
                "InvoiceNo": f"{prefix}{number}", "StockCode": f"{random.randint(10_000, 90_000)}",
                "Description": random.choice(("WHITE HANGING HEART T-LIGHT HOLDER", 'SET OF 3 "RETRO" TINS, BLUE', "")),
                "Quantity": str(quantity), "InvoiceDate": at.strftime("%Y-%m-%d %H:%M:%S"), "UnitPrice": price,
                "CustomerID": customer, "Country": random.choice(("United Kingdom", "EIRE")),
            }  # fmt: skip


def real_file(folder: str) -> Path:
    """The real file below the folder that somebody named; fails when it is not there."""
    path = Path(folder) / "online_retail" / "online_retail.csv.gz"
    if not path.exists():
        pytest.fail(f"TOUCHSTREAM_TEST_DATA={folder}: {path} is not there")
    return path


def test_a_folder_that_was_named_and_has_no_data_fails(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="is not there"):
        real_file(str(tmp_path / "nowhere"))


@pytest.fixture(scope="module")
def retail(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Books]:
    """The file to replay, and its books."""
    books = Books()
    if IS_REAL:
        path = real_file(FOLDER)
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                books.add(row)
        return path, books
    path = tmp_path_factory.mktemp("retail") / "online_retail.csv"
    with path.open("w", encoding="utf-8", newline="") as made:
        writer = csv.DictWriter(made, COLUMNS)
        writer.writeheader()
        for row in made_lines():
            writer.writerow(row)
            books.add(row)
    assert set(books.others) == {"bookkeeping", "stock", "free", "identifier_missing"}
    return path, books


def replay(stack: RunningStack, path: Path, *more: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(stack.must("replay", str(path), "--mapping", MAPPING, "--json", *more))
    print(f"{report['lines']:,} lines in {report['elapsed_s']} s")
    return report


def totals(stack: RunningStack) -> list[tuple[object, ...]]:
    return stack.query(
        "SELECT name, count(), uniqExact(customer_id), uniqExact(order_id), sum(amount_minor), any(currency)"
        f" FROM events WHERE {OURS} GROUP BY name ORDER BY name"
    )


def test_every_line_is_accounted_for_and_the_totals_are_known(
    running_stack: RunningStack, retail: tuple[Path, Books]
) -> None:
    path, books = retail
    report = replay(running_stack, path)
    assert report["complete"]
    assert report["lines"] == LINES
    assert report["accepted"] == books.lines.total()
    reasons = {key.split()[0]: one["count"] for kind in ("refused", "skipped") for key, one in report[kind].items()}
    assert reasons == dict(books.others)
    assert report["accepted"] + sum(reasons.values()) == LINES
    assert report["failed"] == {}

    running_stack.settle()
    assert totals(running_stack) == books.as_rows()
    customers = running_stack.query(
        f"SELECT count(), sum(events) FROM customers WHERE customer_id IN (SELECT customer_id FROM events WHERE {OURS})"
    )
    everybody = set[str]().union(*books.buyers.values())
    assert customers == [(len(everybody), books.lines.total())]
    assert running_stack.query("SELECT sum(copies) + sum(repeats) FROM duplicates_daily") == [(0,)]
    # Imported history fires nothing.
    assert running_stack.query(f"SELECT count() FROM triggers WHERE {OURS}") == [(0,)]
    if IS_REAL:
        name, lines, buyers, invoices, pence, _ = totals(running_stack)[0]
        assert (name, lines, buyers, invoices, pence) == ("Order Line Completed", 397_884, 4_338, 18_532, 891_140_790)

    before = running_stack.query("SELECT customer_id, n FROM customers ORDER BY customer_id")
    again = replay(running_stack, path, "--again")
    assert (again["accepted"], again["lines"]) == (report["accepted"], LINES)
    running_stack.settle()
    assert totals(running_stack) == books.as_rows()
    assert running_stack.query("SELECT customer_id, n FROM customers ORDER BY customer_id") == before


def test_refused_lines_are_kept_with_their_bytes(running_stack: RunningStack, retail: tuple[Path, Books]) -> None:
    shown = running_stack.must("rejected", "--json", "--reason", "identifier_missing", "--limit", "3").splitlines()
    kept = [json.loads(line) for line in shown]
    assert len(kept) == 3
    for one in kept:
        assert one["endpoint"] == "/v1/import"
        assert json.loads(one["raw"])["properties"]["order_id"]
