"""Whether ClickHouse's tables are fit for exactly-once inserts: they remember tokens and keep what they acknowledge."""

import re
import time
from collections.abc import Callable
from typing import Protocol

from prometheus_client import Gauge

from services.chassis.clickhouse import Row
from services.chassis.errors import Fatal, Retriable
from services.chassis.health import Health
from services.chassis.logs import get_logger
from services.chassis.run import Stop
from services.profile.archive.core.rows import FEEDS

# Counting them reads what two days have brought: an hour of it must not fall behind. More often only costs more.
DUPLICATES_EVERY_S = 900.0
# Of that question; archive stands still meanwhile, and its group must hear from it within LONGEST_ROUND_MS.
DUPLICATES_TIMEOUT_S = 15
# Inserts that a table must remember. Lower: a batch repeated after a long outage of one worker, while the others went
# on inserting, would be written twice (and collapse later, by the order key).
MIN_WINDOW = 1_000
CHECK_EVERY_S = 300.0
WAIT_S = 1.0
TARGETS = tuple(sorted({table for feed in FEEDS.values() for table in feed.tables}))
_WINDOW = re.compile(r"\bnon_replicated_deduplication_window = (\d+)")
_DUPLICATES = f"""
SELECT table, toUInt64(sum(copies)) AS copies FROM duplicates_daily WHERE day >= today() - 1 GROUP BY table
SETTINGS max_execution_time = {DUPLICATES_TIMEOUT_S}
"""
# Inserts are on disk before they are acknowledged: the position moves on that word, and nobody writes them again.
ON_DISK = ("fsync_after_insert", "fsync_part_directory")
_SQL = """
SELECT name, engine, engine_full, create_table_query, arrayStringConcat(dependencies_table, ', ') AS views
FROM system.tables WHERE database = {database:String}
"""


class Asker(Protocol):
    """The part of services.chassis.clickhouse.Clickhouse that is needed here."""

    database: str

    def query_rows(self, sql: str, params: dict[str, object] | None = None) -> list[Row]: ...


def problems(clickhouse: Asker) -> list[str]:
    """What stands in the way of exactly-once inserts; empty when all is well. Raises Retriable, Fatal."""
    found = {row["name"]: row for row in clickhouse.query_rows(_SQL, {"database": clickhouse.database})}
    wrong = []
    for table in TARGETS:
        row = found.get(table)
        if row is None:
            wrong.append(f"table {table} does not exist")
            continue
        wrong += _window_problem(table, row) + _disk_problem(table, row)
        for view in filter(None, row["views"].split(", ")):
            # A materialised view inserts on its own: without a window of its target, a repeated insert doubles there.
            wrong += _view_problems(view.rpartition(".")[2], table, found)
    return wrong


def _window_problem(table: str, row: Row) -> list[str]:
    if row["engine"].startswith(("Replicated", "Shared")):
        return []  # Keeper remembers; replicated_deduplication_window is 100 or more by default
    window = _WINDOW.search(row["engine_full"])
    size = int(window.group(1)) if window else 0
    if size >= MIN_WINDOW:
        return []
    return [f"{table}: non_replicated_deduplication_window is {size}, must be at least {MIN_WINDOW}"]


def _disk_problem(table: str, row: Row) -> list[str]:
    if row["engine"].startswith("Shared"):
        return []  # object storage has it; a Replicated engine answers before another replica has fetched the part
    missing = [name for name in ON_DISK if f"{name} = 1" not in row["engine_full"]]
    return [f"{table}: {', '.join(missing)} must be 1, or a power loss takes acknowledged rows away"] if missing else []


def _view_problems(view: str, table: str, found: dict[str, Row]) -> list[str]:
    row = found.get(view)
    if row is None or row["engine"] != "MaterializedView":
        return []
    target = re.search(r"\bTO (?:\S+\.)?`?(\w+)`?", row["create_table_query"])
    inner = found.get(target.group(1)) if target else found.get(f".inner.{view}")
    if inner is None:
        return [f"materialised view {view} on {table}: its target cannot be checked; give it one with TO"]
    return _window_problem(inner["name"], inner)


def wait_for_tables(clickhouse: Asker, health: Health, stop: Stop, log: Callable[[str], None]) -> bool:
    """Block until ClickHouse answers and its tables are fit; False when asked to stop first. Raises Fatal."""
    while not stop.is_set():
        try:
            wrong = problems(clickhouse)
        except Retriable as error:
            health.set("clickhouse", False, str(error))
            log(str(error))
            stop.wait(WAIT_S)
            continue
        if wrong:
            raise Fatal(
                f"ClickHouse tables of {clickhouse.database} are not fit for exactly-once inserts: {'; '.join(wrong)}."
                " Run `python -m services.profile.archive.migrate`."
            )
        health.set("clickhouse", True)
        health.set("tables", True)
        return True
    return False


class TableCheck:
    """The same check from time to time: somebody may change a table under a running archive."""

    def __init__(self, clickhouse: Asker, health: Health) -> None:
        self._clickhouse, self._health = clickhouse, health
        self._next_s = time.monotonic() + CHECK_EVERY_S

    def __call__(self) -> None:
        """Check when it is time; blocks for one query then."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + CHECK_EVERY_S
        try:
            wrong = problems(self._clickhouse)
        except (Retriable, Fatal):
            return  # inserts say so themselves
        self._health.set("tables", not wrong, "; ".join(wrong))


class DuplicateCheck:
    """How many rows ClickHouse has twice, from time to time; by one process of all."""

    def __init__(self, clickhouse: Asker, copies: Gauge, is_mine: Callable[[], bool]) -> None:
        self._clickhouse, self._copies, self._is_mine = clickhouse, copies, is_mine
        self._next_s = 0.0

    def __call__(self) -> None:
        """Count when it is time; blocks for one query then. A process that does not count says nothing."""
        if time.monotonic() < self._next_s:
            return
        self._next_s = time.monotonic() + DUPLICATES_EVERY_S
        if not self._is_mine():
            self._copies.clear()
            return
        try:
            rows = self._clickhouse.query_rows(_DUPLICATES)
        except (Retriable, Fatal) as error:
            get_logger().warning("duplicates.uncounted", text=str(error))
            return
        for row in rows:
            self._copies.labels(row["table"]).set(row["copies"])


def in_turn(*checks: Callable[[], None]) -> Callable[[], None]:
    """All of them, one after the other."""

    def do() -> None:
        for check in checks:
            check()

    return do
