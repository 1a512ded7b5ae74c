"""RFM thresholds of the population: computed from ClickHouse by one process, versioned, shared by all.

Redis holds the current version (a restart needs no ClickHouse, and two computing processes cannot give one number
twice); ClickHouse keeps every version in rfm_thresholds, so that a score can be explained later. The computation itself
is services.profile.core.population.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from services.chassis.clickhouse import ClickhouseSettings, Row, connect
from services.chassis.clock import Clock, now_ms
from services.chassis.errors import Fatal, Retriable
from services.profile.core.calendar import Calendar
from services.profile.core.population import Population, is_still_right, thresholds_of
from services.profile.core.state import Thresholds, decode_thresholds, encode

KEY = "touchstream:rfm_thresholds"
# Buyers looked at in one computation. Above, a sample of about as many by hash of the customer id is taken, always the
# same people: shares are then right to half a percentile (see sampling_error), and sorting millions would hold up the
# process that decides for customers meanwhile.
SAMPLE_BUYERS = 200_000
_HIGHEST_HASH = (1 << 64) - 1
# Two queries over all current customers.
QUERY_TIMEOUT_S = 120
_COUNT = "SELECT count() AS buyers FROM customers WHERE frequency >= 1 AND recency_days >= 0"
# Recency was right on the day of the snapshot; the days since are added, in business days.
_BUYERS = """
SELECT
    recency_days + dateDiff('day', toDate(updated_at, {zone:String}), toDate({now:DateTime64(3)}, {zone:String})) AS r,
    frequency AS f, monetary_minor AS m
FROM customers
WHERE frequency >= 1 AND recency_days >= 0 AND cityHash64(customer_id) <= {below:UInt64}
"""
_LATEST = "SELECT thresholds FROM rfm_thresholds FINAL ORDER BY version DESC LIMIT 1"


class Store(Protocol):
    """The part of services.chassis.clickhouse.Clickhouse that is needed here."""

    def query_rows(self, sql: str, params: Mapping[str, object] | None = None) -> list[Row]: ...
    def insert(
        self, table: str, columns: Sequence[str], column_data: Sequence[Sequence[object]], token: str | None
    ) -> int: ...


class Cell(Protocol):
    """The part of services.chassis.redis.shared.SharedValue that is needed here."""

    def get(self) -> bytes | None: ...
    def replace(self, former: bytes | None, value: bytes) -> bool: ...


def to_json(thresholds: Thresholds) -> bytes:
    """As stored in rfm_thresholds: a JSON object of the fields."""
    return msgspec.json.encode(msgspec.structs.asdict(thresholds))


def from_json(text: str) -> Thresholds:
    """The inverse of to_json. Raises Fatal on anything else."""
    try:
        fields = msgspec.json.decode(text, type=dict[str, int | list[int]])
        return msgspec.convert([fields[name] for name in Thresholds.__struct_fields__ if name in fields], Thresholds)
    except msgspec.MsgspecError as error:
        raise Fatal(f"rfm_thresholds holds {text[:200]!r}, expected the fields of Thresholds: {error!r}") from error


class Refresher:
    """Called every few minutes: the thresholds to use now.

    Where `is_owner()` says so (the owner of profile's partition 0), new ones are computed first. ClickHouse away, or
    with tables or rights that are wrong: the last ones go on being used, and `problem` is what was in the way. Raises
    Retriable or Fatal only when nothing is known at all, msgspec.MsgspecError when Redis holds what nobody can read.
    """

    problem: Exception | None = None

    def __init__(
        self, store: Store, cell: Cell, calendar: Calendar, is_owner: Callable[[], bool], clock: Clock
    ) -> None:
        self._store, self._cell, self._calendar, self._is_owner, self._clock = store, cell, calendar, is_owner, clock
        self._stored_version = 0

    def __call__(self) -> Thresholds | None:
        """The newest thresholds, None when nobody has bought anything yet."""
        self.problem = None
        raw = self._cell.get()
        current = decode_thresholds(raw) if raw is not None else None
        try:
            if current is None:
                current = self._load_latest()
            if self._is_owner():
                return self._renew(raw, current)
        except (Retriable, Fatal) as error:
            if current is None:
                raise
            self.problem = error
        return current

    def _load_latest(self) -> Thresholds | None:
        """What ClickHouse knows, for a Redis that began anew."""
        rows = self._store.query_rows(_LATEST)
        return from_json(rows[0]["thresholds"]) if rows else None

    def _renew(self, raw: bytes | None, current: Thresholds | None) -> Thresholds | None:
        version = current.version + 1 if current is not None else 1
        population = Population(self._buyers())
        computed = thresholds_of(population, version)
        if computed is None:
            return current
        if current is not None and is_still_right(current, computed, population):
            computed = current
        if (raw is None or computed is not current) and not self._cell.replace(raw, encode(computed)):
            faster = self._cell.get()
            return decode_thresholds(faster) if faster is not None else current
        self._save(computed)
        return computed

    def _buyers(self) -> list[tuple[int, int, int]]:
        (row,) = self._store.query_rows(_COUNT)
        buyers = max(int(row["buyers"]), SAMPLE_BUYERS)
        below = _HIGHEST_HASH * SAMPLE_BUYERS // buyers
        params = {"zone": self._calendar.zone, "now": _moment(self._clock()), "below": below}
        return [
            (max(0, int(row["r"])), int(row["f"]), int(row["m"])) for row in self._store.query_rows(_BUYERS, params)
        ]

    def _save(self, thresholds: Thresholds) -> None:
        """Into ClickHouse, once per version; tried again at the next call when it fails."""
        if self._stored_version == thresholds.version:
            return
        columns = ("version", "computed_at", "customers", "thresholds")
        data: list[list[object]] = [[thresholds.version], [self._clock()], [thresholds.buyers], [to_json(thresholds)]]
        self._store.insert("rfm_thresholds", columns, data, f"rfm_thresholds/{thresholds.version}")
        self._stored_version = thresholds.version


def open_refresher(
    settings: ClickhouseSettings, cell: Cell, calendar: Calendar, is_owner: Callable[[], bool]
) -> Refresher:
    """A Refresher on the real ClickHouse, to be called by one thread only; does not talk to anything yet."""
    return Refresher(connect(settings, QUERY_TIMEOUT_S), cell, calendar, is_owner, now_ms)


def _moment(ms: int) -> str:
    return f"{ms // 1000}.{ms % 1000:03d}"
