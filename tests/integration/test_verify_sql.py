"""The second opinion of `touchstream verify profiles`: plain SQL finds what profile's own folds cannot find.

In each planted mistake the profiles and the computation with the folds agree, because they share the mistake.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cli.verify.profiles.command import open_sources
from cli.verify.profiles.run import Comparison, Report
from services.chassis.clock import now_ms
from services.profile.core import fold, orders, settle
from services.profile.core.calendar import DAY_MS, Calendar
from services.profile.core.config import CANCELLATION
from tests.integration.rebuild_backends import deployed
from tests.integration.rebuild_lab import Lab

pytestmark = pytest.mark.timeout(900)
PEOPLE, EVENTS = 20, 500
NAMES = ("Product Viewed", "Logged In", "Message Opened", "Order Completed ")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with deployed(tmp_path_factory.mktemp("state")) as lab:
        lab.start()
        yield lab


def shop(lab: Lab, name: str, events: int = EVENTS) -> None:
    """Orders in every way they can be told, in any order of time, of people who merge and fall apart."""
    dice = random.Random(name)
    for _ in range(events):
        person = dice.randrange(PEOPLE)
        user, visitor = f"user_id:{name}-{person}", f"anonymous_id:{name}-{dice.randrange(PEOPLE)}"
        at = {"occurred_at": now_ms() - dice.randrange(500 * DAY_MS)}
        order: dict[str, Any] = {"order_id": f"{name}-{person}-{dice.randrange(4)}" if dice.random() < 0.9 else ""}
        if dice.random() < 0.85:
            order |= {"amount_minor": dice.randrange(0, 90_000), "currency": dice.choice(("CNY", "CNY", "USD", "JPY"))}
        what = dice.random()
        if what < 0.35:
            lab.send(dice.choice((user, visitor)), name="Order Completed", **order, **at)
        elif what < 0.50:
            lab.send(user, name="Order Refunded", **order, **at)
        elif what < 0.58:
            lab.send(user, name="Order Line Completed", **order, **at)
        elif what < 0.64:
            lab.send(user, name="Order Updated", **order, **at)
        elif what < 0.69:
            lab.send(user, name="Order Cancelled", **order, **at)
        elif what < 0.72:
            lab.send(user, visitor, kind="identify", name="Order Completed", **order, **at)
        elif what < 0.74:
            lab.send(visitor, kind="unlink", name="Unlink Requested")
        elif what < 0.76:
            lab.send(user, name="Order Completed", traits=b"[1]", **order, **at)
        else:
            lab.send(dice.choice((user, visitor)), name=dice.choice(NAMES), **at)
    lab.producer.flush()
    lab.work()


def people(lab: Lab) -> set[str]:
    return {row["customer_id"] for row in lab.clickhouse.query_rows("SELECT customer_id FROM customers")}


def look(ids: set[str] | None = None) -> Report:
    with open_sources(5.0) as sources:
        return Comparison(sources, lambda step: None).run(None if ids is None else sorted(ids))


def found(report: Report) -> dict[str, set[str]]:
    """By whom → fields that differ."""
    fields: dict[str, set[str]] = {"folds": set(), "sql": set()}
    for one in report.differences:
        fields[one.by].add(one.field)
    return fields


def test_sql_says_of_everybody_what_the_folds_say(lab: Lab) -> None:
    for name in ("a", "b", "c"):
        shop(lab, name)
    report = look()
    assert report.differences == []
    assert (report.unjudged, report.waiting) == (0, 0)
    (row,) = lab.clickhouse.query_rows(
        "SELECT count() AS people, countIf(frequency > 1) AS buyers, uniqExact(currency) AS currencies FROM customers"
    )
    assert report.customers == row["people"] > 60
    assert row["buyers"] > 25
    assert row["currencies"] >= 3


def test_some_customers_are_asked_for_as_all_are(lab: Lab) -> None:
    report = look(set(sorted(people(lab))[::9][:7]))
    assert (report.customers, report.differences) == (7, [])


@pytest.mark.parametrize(
    ("column", "value", "field"),
    [
        ("events", "events + 1", "events"),
        ("first_seen", "first_seen - INTERVAL 1 MILLISECOND", "first_seen"),
        ("last_seen", "last_seen + INTERVAL 1 MILLISECOND", "last_seen"),
        ("recency_days", "recency_days + 1", "recency_days"),
        ("frequency", "frequency + 1", "frequency"),
        ("monetary_minor", "monetary_minor + 1", "monetary_minor"),
        ("currency", "'CHF'", "currency"),
    ],
)
def test_a_value_that_somebody_changed_differs_from_both_opinions(
    lab: Lab, column: str, value: str, field: str
) -> None:
    (row,) = lab.clickhouse.query_rows("SELECT min(customer_id) AS one FROM customers WHERE frequency > 0")
    where = f"WHERE customer_id = '{row['one']}'"
    lab.clickhouse.command("CREATE OR REPLACE TABLE kept ENGINE = Memory AS SELECT * FROM customers_raw FINAL " + where)
    lab.clickhouse.command(f"DELETE FROM customers_raw {where}")
    lab.clickhouse.command(f"INSERT INTO customers_raw SELECT * REPLACE ({value} AS {column}) FROM kept")
    try:
        report = look()
    finally:
        lab.clickhouse.command(f"DELETE FROM customers_raw {where}")
        lab.clickhouse.command("INSERT INTO customers_raw SELECT * FROM kept")
    assert found(report) == {"folds": {field}, "sql": {field}}
    assert {one.customer_id for one in report.differences} == {row["one"]}


def takes_no_refund(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(settle, "_net", lambda key, amounts, refunds, config: amounts)


def keeps_the_first_word(patch: pytest.MonkeyPatch) -> None:
    def first(amounts: Any, currency: str, key: str, at: int, minor: int) -> bool:
        kept = amounts.setdefault(currency, {})
        is_new = key not in kept
        kept.setdefault(key, (at, minor))
        return is_new

    patch.setattr(orders, "_raise", first)


def cancels_nothing(patch: pytest.MonkeyPatch) -> None:
    write = fold.write_order
    patch.setattr(
        fold, "write_order", lambda book, event, kind, config: (
            book if kind & CANCELLATION else write(book, event, kind, config)
        )
    )  # fmt: skip


def counts_days_of_greenwich(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Calendar, "day", lambda self, ms: ms // DAY_MS)


def forgets_an_event(patch: pytest.MonkeyPatch) -> None:
    add = fold._add
    patch.setattr(fold, "_add", lambda ring, day, amount, in_ring: add(ring, day, amount, in_ring and day % 7 > 0))


@pytest.mark.parametrize(
    ("mistake", "fields"),
    [
        (takes_no_refund, {"monetary_minor"}),
        (keeps_the_first_word, {"monetary_minor"}),
        (cancels_nothing, {"frequency", "monetary_minor"}),
        (counts_days_of_greenwich, {"recency_days"}),
        (forgets_an_event, {"counter Product Viewed (ever, 365, 90 days)"}),
    ],
)
def test_a_mistake_in_the_folds_is_found_by_sql_alone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, mistake: Callable[[pytest.MonkeyPatch], None], fields: set[str]
) -> None:
    before = people(lab)
    with monkeypatch.context() as patch:
        mistake(patch)
        shop(lab, mistake.__name__)
        report = look(people(lab) - before)
    differ = found(report)
    assert fields <= differ["sql"]
    assert {one.customer_id for one in report.differences if one.by == "folds"} == set()
