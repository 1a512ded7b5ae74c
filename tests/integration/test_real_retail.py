"""UCI Online Retail: R, F, M and their scores of all 4,372 customers, against plain SQL over the same file.

Ours: every line through the shipped mapping, ingest's core, profile's fold and view, as `customers --as-of` computes
them. Theirs: SQL on chDB, which knows the rules and none of our code. The rules, on both sides: lines of one invoice
are one purchase on the day of its last line and cost the sum of their amounts, each rounded half up to pence; an exact
copy of a line is another line; invoices that begin with C do not say what they cancel, so they are refunds on their own
day; lines without a customer or a price and bookkeeping entries (A) are nobody's. Recency is of the last purchase ever,
frequency and spend are of the 365 days up to the date, or of all time.
"""

import json
import subprocess
import sys
from datetime import date

import pytest

from cli.customers_as_of import customers_as_of
from services.profile.core.configuration import parse_config
from tests.real_data import ROOT, data_file, event_row, touchpoints
from tests.unit.profile.profile_builders import SHIPPED

pytestmark = pytest.mark.timeout(600)
EPOCH = date(1970, 1, 1)
NOTHING = (-1, 0, 0, 0, 0, 0)
SQL = """
WITH
lines AS (
    SELECT CustomerID AS customer, InvoiceNo AS invoice, toDate(parseDateTimeBestEffort(InvoiceDate)) AS day,
        startsWith(InvoiceNo, 'C') AS is_refund,
        toInt64(toDecimal64(UnitPrice, 3) * 1000) AS price, intDiv(abs(toInt64(Quantity)) * price + 5, 10) AS pence
    FROM file('{path}', CSVWithNames, 'InvoiceNo String, StockCode String, Description String, Quantity Int32,
        InvoiceDate String, UnitPrice String, CustomerID String, Country String')
    WHERE CustomerID != '' AND NOT startsWith(InvoiceNo, 'A') AND day <= '{day}'
),
invoices AS (
    SELECT customer, max(day) AS bought, sum(pence) AS net, 1 AS orders FROM lines WHERE NOT is_refund AND price > 0
    GROUP BY customer, invoice
    UNION ALL
    SELECT customer, day, -toInt64(pence), 0 FROM lines WHERE is_refund AND price > 0
    UNION ALL
    SELECT customer, day, 0, 0 FROM lines WHERE price = 0
),
customers AS (
    SELECT customer,
        if(sum(orders) = 0, -1, toDate('{day}') - maxIf(bought, orders = 1)) AS r,
        sumIf(orders, bought > toDate('{day}') - {window}) AS f,
        sumIf(net, bought > toDate('{day}') - {window}) AS m
    FROM invoices GROUP BY customer
),
scores AS (
    SELECT customer, 1 + intDiv(5 * (rank() OVER (ORDER BY r DESC) - 1), count() OVER ()) AS rs,
        1 + intDiv(5 * (rank() OVER (ORDER BY f) - 1), count() OVER ()) AS fs,
        1 + intDiv(5 * (rank() OVER (ORDER BY m) - 1), count() OVER ()) AS ms
    FROM customers WHERE f > 0
)
SELECT customer, toInt32(r), toInt32(f), toInt64(m), toInt32(rs), toInt32(fs), toInt32(ms)
FROM customers LEFT JOIN scores USING (customer) ORDER BY customer FORMAT JSONCompactEachRow
"""


@pytest.fixture(scope="module")
def rows():
    """Events of all customers as ClickHouse would give them, by customer, otherwise as they stand in the file."""
    path = data_file("online_retail/online_retail.csv.gz")
    mapping = ROOT / "deploy/config/mappings/online_retail.yaml"
    found = [event_row(one, number) for number, one in enumerate(touchpoints(path, mapping))]
    return sorted(found, key=lambda row: row[0])


def by_sql(day, window):
    """Customer → (R, F, M, their scores or 0); in a process of its own, because chDB lets nobody else in."""
    path = data_file("online_retail/online_retail.csv.gz")
    sql = SQL.format(path=path, day=day, window=window or 14_000)
    program = "import chdb, sys; print(chdb.query(sys.stdin.read()))"
    done = subprocess.run([sys.executable, "-c", program], input=sql, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    return {row[0]: tuple(row[1:]) for row in map(json.loads, done.stdout.strip().splitlines())}


def by_us(rows, day, window):
    """The same by our code; scores of people who bought in the window only, as the population has them."""
    config = parse_config({"time_zone": "Europe/London", "currency": "GBP", "windows_days": {"rfm": window}}, SHIPPED)
    number = (date.fromisoformat(day) - EPOCH).days
    end_ms = config.calendar.start_ms(number + 1)
    until = (row for row in rows if row[6] < end_ms)
    return {
        one.customer_id.removeprefix("user_id:"): (
            one.recency_days, one.frequency, one.monetary_minor,
            *((one.r, one.f, one.m) if one.frequency else (0, 0, 0)),
        )
        for one in customers_as_of(until, dict, number, config, lambda count: None)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("day", "window", "customers", "orders", "pence"),
    [
        ("2011-12-09", 0, 4_372, 18_532, 891_140_790 - 61_134_209),
        ("2011-12-09", 365, 4_372, None, None),
        ("2011-06-30", 365, None, None, None),
    ],
)
def test_rfm_of_every_customer_is_what_sql_says(rows, day, window, customers, orders, pence):
    ours, theirs = by_us(rows, day, window), by_sql(day, window)
    for free in theirs.keys() - ours.keys():
        assert theirs[free] == NOTHING  # got free items only, which the mapping leaves out
        ours[free] = NOTHING
    wrong = {
        name: (ours.get(name), theirs.get(name))
        for name in ours.keys() | theirs.keys()
        if ours.get(name) != theirs.get(name)
    }
    assert not wrong, f"{len(wrong)} of {len(theirs)} differ, e.g. {sorted(wrong.items())[:3]}"
    totals = len(ours), sum(one[1] for one in ours.values()), sum(one[2] for one in ours.values())
    print(
        f"{day}, {window or 'all'} days: {totals[0]:,} customers, {totals[1]:,} orders, net {totals[2] / 100:,.2f} GBP"
    )
    assert len(ours) > 2_500
    assert all(known is None or known == one for known, one in zip((customers, orders, pence), totals, strict=True))
