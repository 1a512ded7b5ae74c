"""Real data through `touchstream replay`: every order line of Online Retail is an event, refused or explained.

The data are not part of the repository: a folder `../shared/data` beside it, or the one TOUCHSTREAM_TEST_DATA names. By
default the first 40,000 lines are taken; TOUCHSTREAM_TEST_FULL_DATA=1 takes all 541,909 and checks the known totals.
"""

import csv
import gzip
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from deploy.local.settings import ROOT
from tests.e2e.conftest import RunningStack

pytestmark = pytest.mark.timeout(3_600)
FOLDER = Path(os.environ.get("TOUCHSTREAM_TEST_DATA", ROOT.parent / "shared" / "data"))
DATA = FOLDER / "online_retail" / "online_retail.csv.gz"
IS_FULL = os.environ.get("TOUCHSTREAM_TEST_FULL_DATA", "") == "1"
LINES = 541_909 if IS_FULL else 40_000
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
            name = "Order Refunded" if is_refund else "Order Completed"
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


@pytest.fixture(scope="module")
def retail(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Books]:
    """The file to replay, and its books."""
    if not DATA.exists():
        reason = (
            f"{DATA} is not there: put the data beside the repository or name their folder in TOUCHSTREAM_TEST_DATA"
        )
        print(reason)
        pytest.skip(reason)
    path, books = DATA, Books()
    if not IS_FULL:
        path = tmp_path_factory.mktemp("retail") / "online_retail.csv"
        with gzip.open(DATA, "rt", encoding="utf-8", newline="") as lines:
            path.write_text("".join(islice(lines, LINES + 1)), encoding="utf-8")
    open_text = gzip.open if IS_FULL else open
    with open_text(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            books.add(row)
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
    if IS_FULL:
        name, lines, buyers, invoices, pence, _ = totals(running_stack)[0]
        assert (name, lines, buyers, invoices, pence) == ("Order Completed", 397_884, 4_338, 18_532, 891_140_790)

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
