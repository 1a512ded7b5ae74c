"""What it costs that an acknowledged insert is on disk: `python -m tests.bench.insert_fsync [folder]`.

Inserts batches of events in turn into two databases of one ClickHouse (the local stack's, on a disk under `folder`):
one as migrated, one that answers when the kernel has the rows. Prints the wall time of either, median and best, and
their ratio, for a trickle, an ordinary and a full batch. Half a minute on an idle machine.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from services.chassis.clickhouse import Clickhouse
from services.chassis.records import Record
from services.profile.archive.core.rows import Rows
from services.profile.archive.decode import Decoder
from tests.bench.archive_records import make_records
from tests.integration import archive_backends

# Rows of an insert → how many inserts into each.
SIZES = {20: 60, 1_000: 40, 20_000: 10}
TABLE = "events_raw"
KERNEL_ONLY = f"ALTER TABLE {TABLE} MODIFY SETTING fsync_after_insert = 0, fsync_part_directory = 0"


def seconds(server: Clickhouse, rows: Rows, token: str) -> float:
    """Wall time of one insert."""
    began_s = time.perf_counter()
    server.insert(rows.table, rows.columns, rows.data, token)
    return time.perf_counter() - began_s


def batches(records: list[Record], size: int) -> Rows:
    """One insert of so many rows; fewer when there are not enough records."""
    return Decoder("touchpoints.resolved").decode(records[:size]).rows[0]


def main() -> None:
    """See the module."""
    records = make_records(max(SIZES))["touchpoints.resolved"]
    folder = tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None)
    with (
        archive_backends.clickhouse(archive_backends.settings_of(Path(folder))) as url,
        archive_backends.database(url, "on_disk") as synced,
        archive_backends.database(url, "in_kernel") as unsynced,
    ):
        unsynced.command(KERNEL_ONLY)
        for size, count in SIZES.items():
            rows = batches(records, size)
            took: dict[Clickhouse, list[float]] = {synced: [], unsynced: []}
            for number in range(count):
                for server, found in took.items():
                    found.append(seconds(server, rows, f"{size}/{number}"))
            for name, of in (("median", statistics.median), ("best", min)):
                disk, kernel = (1_000 * of(took[server]) for server in (synced, unsynced))
                print(f"{len(rows)} rows, {name}: {disk:.1f} ms on disk, {kernel:.1f} ms without; {disk / kernel:.2f}×")


if __name__ == "__main__":
    main()
