"""`python -m tests.bench.quality_speed [EVENTS]`: seconds of each `touchstream quality` question over so many events.

Invented: 40 % of the events are identifies with six traits of 100,000 customers from three sources, which agree on all
but the level (7 in 10 customers have a conflict: more than anybody should); a tenth of the customers was merged.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from cli.quality.completeness import completeness
from cli.quality.conflicts import conflicts
from cli.quality.standardised import standardised
from services.chassis.clickhouse import Clickhouse, connect
from services.profile.archive.settings import ArchiveSettings
from tests.integration import archive_backends

PATIENCE_S = 600
CUSTOMERS = 100_000
_EVENTS = f"""
INSERT INTO events_raw (event_id, customer_id, n, node, type, name, occurred_at, received_at, source, identifiers,
    properties, traits, context, originals, place_partition, place_offset, log_partition, log_offset, log_at)
SELECT 'e' || toString(i), toString(reinterpretAsUUID(sipHash128(c))), i, 'user_id:' || hex(sipHash128(c)),
    if(says, 'identify', 'track'), if(says, '', ['Product Viewed', 'Cart Viewed', 'Order Completed'][i % 3 + 1]),
    at, at, ['shop', 'crm', 'wecom'][sipHash64(i) % 3 + 1],
    ['user_id:u' || toString(c), 'anonymous_id:a' || toString(sipHash64(i, 1) % {2 * CUSTOMERS})],
    '{{"total": 12.5, "coupon": "X", "product_id": "p-12345"}}',
    if(says, concat('{{"email":"u', toString(c), '@example.com","level":"', toString(sipHash64(i, 2) % 4),
        '","phone":"+86139', leftPad(toString(c), 8, '0'), '","city":"上海市","city_code":"310100","name":"客户',
        toString(c), '"}}'), '{{}}'),
    '{{}}', if(says AND i % 4 = 0, '{{"traits.phone":"139 1234 5678","traits.city":"上海"}}', '{{}}'),
    i % 4, intDiv(i, 4), i % 4, intDiv(i, 4), at
FROM
(
    SELECT number AS i, sipHash64(number, 7) % {CUSTOMERS} AS c, sipHash64(number, 9) % 10 < 4 AS says,
        toDateTime64('2026-01-01 00:00:00', 3) + number AS at
    FROM numbers({{events:UInt64}})
)
"""
_MERGES = f"""
INSERT INTO identifier_map (moved, node, customer_id, g)
SELECT 1, 'user_id:' || hex(sipHash128(number * 10)), toString(reinterpretAsUUID(sipHash128(number * 10 + 1))), number
FROM (SELECT toUInt64(number) AS number FROM numbers({CUSTOMERS // 10}))
"""


def measure(store: Clickhouse) -> None:
    """One line for each question, the second time it is asked."""
    params: dict[str, object] = {"source": "", "since_ms": 0}
    questions: dict[str, Callable[[], int]] = {
        "conflicts": lambda: sum(1 for _ in conflicts(store, "", params)),
        "completeness": lambda: len(completeness(store, [], params)),
        "standardised": lambda: len(standardised(store, params)),
    }
    for name, ask in questions.items():
        ask()
        started = time.monotonic()
        rows = ask()
        print(f"{name:13} {rows:>7,} rows {time.monotonic() - started:6.1f} s", flush=True)


def main() -> None:
    """Start a ClickHouse of its own, fill it, ask."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with TemporaryDirectory() as folder:
        settings = archive_backends.settings_of(Path(folder))
        with archive_backends.clickhouse(settings) as url, archive_backends.database(url, "quality") as server:
            server.query_rows(_EVENTS, {"events": events})
            server.command(_MERGES)
            store = connect(ArchiveSettings(clickhouse_url=url, clickhouse_database="quality"), PATIENCE_S)
            load = os.getloadavg()[0]
            print(f"{events:,} events; load of the machine {load:.1f} on {os.cpu_count()} cores")
            measure(store)


if __name__ == "__main__":
    main()
