"""What the questions share: the events under their customers of now, the time they ask about, bounded memory."""

from cli.browse import give_up
from services.chassis.clickhouse import Clickhouse, connect
from services.chassis.clock import now_ms
from services.chassis.settings import SharedSettings, load_settings

TIMEOUT_S = 600
DAY_MS = 86_400_000
# A robot may make up names without end: the first so many (source, field) pairs are counted, and all rows of these.
MAX_FIELDS = 5_000
BOUNDED = f"SETTINGS max_rows_to_group_by = {MAX_FIELDS}, group_by_overflow_mode = 'any'"
# Beyond these bytes ClickHouse groups and sorts on disk.
SPILLED = "SETTINGS max_bytes_before_external_group_by = 536870912, max_bytes_before_external_sort = 536870912"
EMPTY = "('', 'null', '\"\"', '[]', '{}')"
# As the view `events`, which does not show identifiers and originals. Corrections of the graph state nothing.
EVENTS = """
(
    SELECT
        if(ifNull(m.node, '') = '', e.customer_id, ifNull(m.customer_id, '')) AS customer_id,
        e.event_id AS event_id, e.source AS source, e.name AS name, e.occurred_at AS occurred_at,
        e.received_at AS received_at, e.identifiers AS identifiers, e.properties AS properties, e.traits AS traits,
        e.context AS context, e.originals AS originals, e.flags AS flags
    FROM events_raw AS e
    LEFT ANY JOIN
    (
        SELECT node, argMax(customer_id, g) AS customer_id FROM identifier_map WHERE moved = 1 GROUP BY node
    ) AS m ON m.node = e.node
    WHERE e.type IN ('identify', 'track', 'page', 'screen', 'group', 'alias')
        AND ({source:String} = '' OR e.source = {source:String})
        AND toUnixTimestamp64Milli(e.received_at) >= {since_ms:Int64}
        AND e.log_at >= fromUnixTimestamp64Milli({since_ms:Int64}) - INTERVAL 1 DAY
        AND (ifNull(m.node, '') = '' OR ifNull(m.customer_id, '') != '')
)
"""


def open_store() -> Clickhouse:
    """ClickHouse of the deployment that the environment names. Raises SettingsError."""
    return connect(load_settings(SharedSettings), TIMEOUT_S)


def asked(source: str, days: int) -> dict[str, object]:
    """The parameters of EVENTS; 0 days: all there is."""
    return {"source": source, "since_ms": max(now_ms() - days * DAY_MS, 0) if days else 0}


def known_source(store: Clickhouse, source: str) -> None:
    """Give up when nothing ever came from a source of that name."""
    if not source:
        return
    found = [str(row["source"]) for row in store.query_rows("SELECT DISTINCT source FROM events_raw LIMIT 1000")]
    if source not in found:
        give_up(f"--source {source}: nothing came from it; there are {', '.join(sorted(found)) or 'no events'}")


def share(part: int, whole: int) -> float:
    """0 to 1; customers are counted with a bounded error, so a part may seem larger than its whole."""
    return min(part / whole, 1.0) if whole else 0.0
