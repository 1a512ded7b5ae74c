"""What the run left in ClickHouse, against the bench's own books."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from cli.bench.workload import Books
from services.chassis.clickhouse import Clickhouse, Row

# Values that one customer may have of this kind, as deploy/config/identity.yaml. Beyond it a visitor who names himself
# stays a customer of his own.
VISITORS_LIMIT = 200
# Why an e-mail is rightly not sent: most customers of the workload never say their address.
NO_ADDRESS = "no recipient"
_OF_RUN = "startsWith(event_id, {run:String})"
_EVENTS = f"SELECT count() AS n, uniqExact(event_id) AS u FROM events_raw WHERE {_OF_RUN}"
_NODES = f"""
SELECT node, customer_id FROM identifiers
WHERE customer_id IN (SELECT DISTINCT customer_id FROM events WHERE {_OF_RUN})
"""
_CHANGES = f"""
SELECT DISTINCT g, kind, customer_id, from_id FROM identity_changes
WHERE kind IN ('linked', 'merged') AND {_OF_RUN}
"""
_TRIGGERS = f"SELECT trigger_id, rule, customer_id, JSONLength(actions) AS actions FROM triggers WHERE {_OF_RUN}"
_DELIVERIES = f"""
SELECT trigger_id, delivery_id, channel, status, error FROM deliveries
WHERE trigger_id IN (SELECT trigger_id FROM triggers WHERE {_OF_RUN})
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, in words; `problems` is empty when it is what the books say."""

    found: str
    problems: tuple[str, ...]


def reconcile(house: Clickhouse, run: str, books: Books, node_of: Callable[[str], str]) -> list[Verdict]:
    """Events, customers and merges, triggers and deliveries of the run. `node_of`: kind:value → node text."""
    bound = {"run": run}
    customer_of = {row["node"]: row["customer_id"] for row in house.query_rows(_NODES, bound)}
    owners = {name: customer_of.get(node_of(name), "") for name in books.names()}
    return [
        judge_events(house.query_rows(_EVENTS, bound)[0], len(books.ids)),
        judge_customers(books, owners, house.query_rows(_CHANGES, bound)),
        judge_triggers(
            books.orders, owners, house.query_rows(_TRIGGERS, bound), house.query_rows(_DELIVERIES, bound)
        ),
    ]  # fmt: skip


def judge_events(found: Row, wanted: int) -> Verdict:
    """Every accepted event is there once."""
    rows, different = int(found["n"]), int(found["u"])
    problems = [f"{rows} rows for {wanted} accepted events"] if rows != wanted else []
    if different != wanted:
        problems.append(f"{different} different events for {wanted} accepted")
    return Verdict(f"{wanted:,} events accepted, {rows:,} in ClickHouse", tuple(problems))


def judge_customers(books: Books, owners: dict[str, str], changes: list[Row]) -> Verdict:
    """Every identifier is at the customer where the books' links put it, and every merge accounts for one customer.

    A customer has one user id (limit 1), so users never become one; a visitor belongs to one of the users who named
    him, whichever was first, and is alone when nobody did or when all of them have VISITORS_LIMIT visitors already.
    """
    user_of = {owners[user]: user for user in books.users if owners[user]}
    crowd = Counter(owners[visitor] for visitor in books.visitors)
    merged = [row["from_id"] for row in changes if row["kind"] == "merged"]
    born = {row["customer_id"] for row in changes} | set(merged)
    now = {owner for owner in owners.values() if owner}

    def is_misplaced(visitor: str) -> bool:
        owner, namers = owners[visitor], books.namers.get(visitor, set())
        if owner in user_of:
            return user_of[owner] not in namers
        is_left_out = all(crowd[owners[user]] >= VISITORS_LIMIT for user in namers)
        if not owner:  # named only, and left out every time
            return visitor in books.seen or not is_left_out
        return not is_left_out or crowd[owner] > 1

    counts = {
        "users without a customer": sum(not owners[user] for user in books.users),
        "users that share a customer": sum(bool(owners[user]) for user in books.users) - len(user_of),
        "e-mail addresses elsewhere than their user": sum(
            owners[email] != owners[user] for email, user in books.emails.items()
        ),
        "visitors elsewhere than with who named them": sum(is_misplaced(visitor) for visitor in books.visitors),
        "customers merged away more than once": len(merged) - len(set(merged)),
    }
    problems = [f"{count} {what}" for what, count in counts.items() if count]
    if len(born) - len(now) != len(merged):
        problems.append(f"{len(merged)} merges, but {len(born)} customers begun and {len(now)} left")
    return Verdict(f"{len(now):,} customers: {len(born):,} begun, {len(merged):,} merged into another", tuple(problems))


def judge_triggers(orders: set[str], owners: dict[str, str], triggers: list[Row], deliveries: list[Row]) -> Verdict:
    """Who ordered has a first order: one, or one more for every identifier that ordered before the merge."""
    ordered = Counter(owners[name] for name in orders)
    fired = Counter(row["customer_id"] for row in triggers if row["rule"] == "first-order")
    rows = Counter(row["trigger_id"] for row in deliveries)
    unsent = [row for row in deliveries if row["status"] != "delivered"]
    wrong = [row for row in unsent if (row["status"], row["error"][: len(NO_ADDRESS)]) != ("suppressed", NO_ADDRESS)]
    counts = {
        "customers who ordered without a first-order trigger": len(ordered.keys() - fired.keys()),
        "customers with more first orders than they can have had": sum(fired[one] > ordered[one] for one in fired),
        "triggers of rules that the workload cannot fire": sum(row["rule"] != "first-order" for row in triggers),
        "triggers listed twice": len(triggers) - len({row["trigger_id"] for row in triggers}),
        "triggers without all their deliveries": sum(rows[row["trigger_id"]] != row["actions"] for row in triggers),
        "deliveries listed twice": len(deliveries) - len({row["delivery_id"] for row in deliveries}),
        "deliveries failed or unknown": len(wrong),
    }  # fmt: skip
    return Verdict(
        f"{len(ordered):,} customers ordered, {len(triggers):,} triggers fired;"
        f" {len(deliveries) - len(unsent):,} deliveries delivered, {len(unsent):,} not sent (no address)",
        tuple(f"{count} {what}" for what, count in counts.items() if count),
    )


def count_triggers(house: Clickhouse, run: str) -> int:
    """Triggers that the run's events fired."""
    return len(house.query_rows(_TRIGGERS, {"run": run}))


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
