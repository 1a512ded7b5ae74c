"""What the run left in ClickHouse, against the bench's own books."""

from dataclasses import dataclass

from cli.bench.workload import Books
from services.chassis.clickhouse import Clickhouse


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Counts of one run; `problems` is empty when everything is there exactly once."""

    events: int
    problems: tuple[str, ...]


def reconcile(house: Clickhouse, run: str, books: Books) -> Reconciled:
    """Compare events, merges and deliveries of the run with the books."""
    found = house.query_rows(
        "SELECT count() AS n, uniqExact(event_id) AS u FROM events_raw WHERE startsWith(event_id, {run:String})",
        {"run": run},
    )[0]
    problems = []
    wanted = len(books.ids)
    if int(found["n"]) != wanted:
        problems.append(f"{found['n']} rows for {wanted} accepted events")
    if int(found["u"]) != wanted:
        problems.append(f"{found['u']} different events for {wanted} accepted")
    undelivered = house.query_rows(
        "SELECT sum(length(JSONExtractArrayRaw(actions))) AS wanted,"
        " (SELECT uniqExact(delivery_id) FROM deliveries) AS done"
        " FROM (SELECT DISTINCT trigger_id, actions FROM triggers)"
    )[0]
    if int(undelivered["wanted"]) != int(undelivered["done"]):
        problems.append(f"{undelivered['done']} deliveries for {undelivered['wanted']} actions of triggers")
    return Reconciled(int(found["n"]), tuple(problems))


def latencies_ms(house: Clickhouse, run: str) -> dict[str, float]:
    """Quantiles of intended send time → delivered, in ms, over the deliveries of the run's events."""
    row = house.query_rows(
        "SELECT count() AS n, quantilesExact(0.5, 0.95, 0.99, 1)("
        " toUnixTimestamp64Milli(d.finished_at) - toUnixTimestamp64Milli(e.occurred_at)) AS q"
        " FROM deliveries AS d INNER JOIN triggers AS t ON d.trigger_id = t.trigger_id"
        " INNER JOIN events_raw AS e ON t.event_id = e.event_id"
        " WHERE startsWith(t.event_id, {run:String}) AND d.status = 'delivered'",
        {"run": run},
    )[0]
    p50, p95, p99, worst = row["q"]
    return {"deliveries": float(row["n"]), "p50": p50, "p95": p95, "p99": p99, "max": worst}
