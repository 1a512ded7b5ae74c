"""How long `touchstream verify profiles` takes: `python -m tests.bench.verify_profiles [events [customers [copies]]]`.

The real services take 4,000 events of 200 customers (one in four an order, in one of the ways in which orders are
told) on backends of their own; ClickHouse then copies them 50 times under other ids. All customers are compared with
the folds and with SQL, without Redis, and the two queries are asked once more by themselves. Exit code 1 when anything
differs.
"""

import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cli.verify.profiles.command import open_sources
from cli.verify.profiles.opinion import Opinions
from cli.verify.profiles.run import Comparison
from services.chassis.clock import now_ms
from services.profile.core.calendar import DAY_MS
from tests.integration.rebuild_backends import deployed
from tests.integration.rebuild_lab import Lab

SLICE = 5_000
COPY = (
    "INSERT INTO events_raw SELECT e.* REPLACE (customer_id || '-' || toString(number) AS customer_id,"
    " node || '-' || toString(number) AS node, place_generation + number AS place_generation)"
    " FROM events_raw AS e CROSS JOIN numbers(1, {copies}) AS copy",
    "INSERT INTO customers_raw SELECT e.* REPLACE (customer_id || '-' || toString(number) AS customer_id,"
    " arrayMap(x -> x || '-' || toString(number), nodes) AS nodes)"
    " FROM customers_raw AS e CROSS JOIN numbers(1, {copies}) AS copy",
)
NAMES = ("Product Viewed", "Page Viewed", "Logged In", "Message Opened", "Product Added")
ORDERS = ("Order Completed",) * 6 + ("Order Refunded", "Order Updated", "Order Line Completed", "Order Cancelled")


def fill(lab: Lab, events: int, customers: int) -> None:
    """Send them and have them worked off, some at a time."""
    dice = random.Random(1)
    for number in range(events):
        person = dice.randrange(customers)
        fields: dict[str, Any] = {"occurred_at": now_ms() - dice.randrange(400 * DAY_MS)}
        name = dice.choice(NAMES)
        if dice.random() < 0.25:
            name = dice.choice(ORDERS)
            fields |= {"order_id": f"order-{person}-{dice.randrange(6)}", "currency": "CNY"}
            fields["amount_minor"] = dice.randrange(100, 90_000)
        lab.send(f"user_id:customer-{person}", name=name, **fields)
        if number % SLICE == SLICE - 1 or number == events - 1:
            lab.producer.flush()
            lab.work()
            print(f"{number + 1:,} events are worked off", flush=True)


def main() -> None:
    """Run and print."""
    given = [int(text) for text in sys.argv[1:]]
    events, customers, copies = given + [4_000, 200, 50][len(given) :]
    with tempfile.TemporaryDirectory() as folder, deployed(Path(folder) / "state") as lab:
        lab.start()
        fill(lab, events, customers)
        lab.stop()
        for sql in COPY:
            lab.clickhouse.command(sql.replace("{copies}", str(copies - 1)))
        with open_sources(15.0) as sources:
            sources.client = None
            began_s, cpu_s = time.monotonic(), time.process_time()
            report = Comparison(sources, lambda step: None).run()
            took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
            ids = [row["customer_id"] for row in lab.clickhouse.query_rows("SELECT customer_id FROM customers")]
            began_s = time.monotonic()
            opinions = Opinions((sources.connect(), sources.connect()), sources.config)
            told = sum(opinions.of(one).events for one in sorted(ids))
            sql_s = time.monotonic() - began_s
    print(f"{report.customers:,} customers, {report.events:,} events: {took_s:.1f} s, CPU of the command {cpu_s:.1f} s")
    print(f"SQL alone: {sql_s:.1f} s, {told:,} events; {len(report.differences)} differences")
    print(f"peak memory of all but the backends {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
    sys.exit(1 if report.differences or told != report.events else 0)


if __name__ == "__main__":
    main()
