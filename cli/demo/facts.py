"""What ClickHouse says of one run: everything that carries its message ids, and everything of the customers behind."""

from dataclasses import dataclass
from math import ceil

from services.chassis.clickhouse import Clickhouse, Row

_CUSTOMERS = "(SELECT DISTINCT customer_id FROM events WHERE startsWith(event_id, {prefix:String}))"
_EVENTS = """
SELECT event_id, customer_id, arrived_customer_id, name, amount_minor FROM events
WHERE startsWith(event_id, {prefix:String})
"""
_NODES = f"SELECT node, customer_id FROM identifiers WHERE customer_id IN {_CUSTOMERS}"
_PROFILES = f"""
SELECT customer_id, events, frequency, monetary_minor, currency, stage, tags FROM customers
WHERE customer_id IN {_CUSTOMERS}
"""
_CHANGES = """
SELECT DISTINCT g, kind, customer_id, from_id FROM identity_changes WHERE startsWith(event_id, {prefix:String})
"""
_TRIGGERS = f"""
SELECT trigger_id, rule, customer_id, event_id, JSONLength(actions) AS actions FROM triggers
WHERE customer_id IN {_CUSTOMERS}
"""
_DELIVERIES = f"""
SELECT delivery_id, trigger_id, rule, channel, status, error,
    toUnixTimestamp64Milli(accepted_at) AS accepted_ms, toUnixTimestamp64Milli(finished_at) AS finished_ms
FROM deliveries WHERE customer_id IN {_CUSTOMERS}
"""
_ARRIVED = "SELECT uniqExact(event_id) AS arrived FROM events_raw WHERE startsWith(event_id, {prefix:String})"
_LAST_RUN = """
SELECT max(toUInt32OrZero(splitByChar('-', event_id)[2])) AS run FROM events_raw WHERE startsWith(event_id, 'demo-')
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """Rows as ClickHouse gave them; `nodes`: node text → current customer."""

    events: list[Row]
    nodes: dict[str, str]
    profiles: list[Row]
    changes: list[Row]
    triggers: list[Row]
    deliveries: list[Row]

    def latencies_ms(self) -> list[int]:
        """From ingest's acceptance to the delivery, of everything that an event led to and that was delivered."""
        return sorted(
            row["finished_ms"] - row["accepted_ms"]
            for row in self.deliveries
            if row["status"] == "delivered" and row["accepted_ms"] > 0
        )


def load_facts(house: Clickhouse, prefix: str) -> Facts:
    """Everything of the run with that prefix of message ids. Raises Retriable or Fatal."""
    bound = {"prefix": prefix}
    return Facts(
        house.query_rows(_EVENTS, bound),
        {row["node"]: row["customer_id"] for row in house.query_rows(_NODES, bound)},
        house.query_rows(_PROFILES, bound),
        house.query_rows(_CHANGES, bound),
        house.query_rows(_TRIGGERS, bound),
        house.query_rows(_DELIVERIES, bound),
    )


def count_arrived(house: Clickhouse, prefix: str) -> int:
    """Different events of the run that are in ClickHouse by now."""
    return int(house.query_rows(_ARRIVED, {"prefix": prefix})[0]["arrived"])


def last_run(house: Clickhouse) -> int:
    """The highest number of a run whose events ClickHouse has; 0 without any."""
    return int(house.query_rows(_LAST_RUN)[0]["run"])


def percentile(ordered: list[int], share: float) -> int:
    """The nearest-rank percentile of an ordered list that is not empty."""
    return ordered[ceil(share * len(ordered)) - 1]
