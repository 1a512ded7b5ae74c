"""`touchstream verify profiles`: does the system say of every customer what its events come to?"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, cast

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cli.publish import partitions_of
from cli.verify.arrival import Arrival
from cli.verify.cut import assert_reachable, wait_until
from cli.verify.profiles.compare import Difference
from cli.verify.profiles.opinion import BY_SQL
from cli.verify.profiles.run import Comparison, Report, Sources
from services.chassis.clickhouse import Clickhouse, connect
from services.chassis.clock import now_ms
from services.chassis.errors import Fatal, Poison, Retriable
from services.chassis.redis.client import RedisClient, RedisError, sync_client
from services.chassis.redis.ledger import REGISTRY_KEY
from services.chassis.settings import SettingsError, load_settings
from services.profile.adapters import load_config
from services.profile.handler import SERVICE
from services.profile.settings import ProfileSettings

EQUAL, DIFFERS, BLIND = 0, 1, 2
_VERDICTS = {
    EQUAL: ("all equal", "green"),
    DIFFERS: ("customers differ", "red"),
    BLIND: ("nothing is found to differ, but not everybody was judged", "yellow"),
}
# All events sorted by customer may take a while.
TIMEOUT_S = 3_600
RESOLVED = "touchpoints.resolved"
SHOWN = 50
_SAMPLE = "SELECT customer_id FROM customers ORDER BY cityHash64(customer_id, {salt:UInt64}) LIMIT {most:UInt32}"
console = Console(highlight=False)
if not console.is_terminal:
    console.width = 200
complaints = Console(stderr=True, highlight=False)


def profiles(
    sample: Annotated[int, typer.Option(min=0, help="so many customers by chance instead of all")] = 0,
    customer: Annotated[list[str] | None, typer.Option(metavar="ID", help="only this customer; repeatable")] = None,
    json_: Annotated[bool, typer.Option("--json", help="one JSON object instead of the table")] = False,
    patience: Annotated[float, typer.Option(min=0, help="seconds to wait for what is on its way, at each look")] = 15.0,
) -> None:
    """Compute every customer from its events in ClickHouse and compare with the profile there and in Redis.

    Changes nothing and may run while everything works. Exit code 0: all equal, 1: something differs, 2: something could
    not be looked at, or somebody could not be judged.
    """
    started_s = time.monotonic()
    try:
        with open_sources(patience) as sources:
            report = _compare(sources, sample, customer or [], sys.stderr.isatty() and not json_)
    except (SettingsError, Fatal, Retriable, Poison, RedisError) as error:
        complaints.print(f"verify could not look: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(BLIND) from error
    seconds = time.monotonic() - started_s
    if json_:
        print(json.dumps(as_json(report, seconds), ensure_ascii=False))
    else:
        show(report, seconds)
    raise typer.Exit(exit_code(report))


def exit_code(report: Report) -> int:
    """EQUAL, DIFFERS, or BLIND when nothing differs but somebody was on the move at every look."""
    return DIFFERS if report.differences else EQUAL if report.is_equal else BLIND


@contextmanager
def open_sources(patience_s: float, environ: dict[str, str] | None = None) -> Iterator[Sources]:
    """Everything that is compared. Redis or Kafka away: ClickHouse alone, and who differs is looked at twice."""
    settings = load_settings(ProfileSettings, environ)
    config = load_config(settings.config, settings.tags, settings.time_zone)
    client, has_log = _redis(settings.redis_url), _has_log(settings.kafka_bootstrap)

    def arrive() -> bool:
        if client is None or not has_log:
            wait_until(lambda: False, patience_s)
            return True
        return Arrival(settings.kafka_bootstrap, client, patience_s, ()).wait()

    def open_house() -> Clickhouse:
        return connect(settings, TIMEOUT_S)

    try:
        yield Sources(open_house, client, config, _partitions(settings, client, has_log), arrive, now_ms)
    finally:
        if client is not None:
            client.close()


def _redis(url: str) -> RedisClient | None:
    client = sync_client(url)
    try:
        client.ping()
    except RedisError as error:
        complaints.print(f"without Redis: {error}", style="yellow", markup=False, soft_wrap=True)
        client.close()
        return None
    return client


def _partitions(settings: ProfileSettings, client: RedisClient | None, has_log: bool) -> int:
    """Of the log, or those with a ledger: the local stack's two are named by no variable of an operator's shell."""
    if has_log:
        return partitions_of(settings.kafka_bootstrap, RESOLVED)
    ledgers = cast(set[bytes], client.smembers(REGISTRY_KEY)) if client is not None else ()
    return sum(one.startswith(f"{SERVICE}|{RESOLVED}|".encode()) for one in ledgers) or settings.partitions


def _has_log(bootstrap: str) -> bool:
    try:
        assert_reachable(bootstrap)
    except Retriable:
        return False
    return True


def _compare(sources: Sources, sample: int, ids: Sequence[str], shows_progress: bool) -> Report:
    house = sources.connect()
    chosen: list[str] | None = sorted(set(ids)) or None
    if sample and not ids:
        found = house.query_rows(_SAMPLE, {"salt": sources.clock(), "most": sample})
        chosen = sorted(row["customer_id"] for row in found)
    (row,) = house.query_rows("SELECT count() AS events FROM events_raw")
    house.close()
    with _progress(shows_progress, int(row["events"]) if chosen is None else None) as advance:
        return Comparison(sources, advance).run(chosen)


def as_json(report: Report, seconds: float) -> dict[str, Any]:
    """The fixed interface of `verify profiles --json`."""
    return {
        "equal": report.is_equal,
        "seconds": round(seconds, 1),
        "customers": report.customers,
        "events": report.events,
        "redis": report.has_redis,
        "waiting": report.waiting,
        "unjudged": report.unjudged,
        "differences": [msgspec.structs.asdict(one) for one in report.differences],
    }


def show(report: Report, seconds: float) -> None:
    """What people are told: the first differences, how many of which kind, and the verdict."""
    for one in report.differences[:SHOWN]:
        console.print(f"{one.customer_id}  {one.field}", style="bold red", markup=False, soft_wrap=True)
        console.print(f"  {one.where}: {_text(one.live)}", markup=False, soft_wrap=True)
        by = " by SQL" if one.by == BY_SQL else ""
        console.print(f"  computed{by}: {_text(one.computed)}", markup=False, soft_wrap=True)
    if len(report.differences) > SHOWN:
        console.print(f"… and {len(report.differences) - SHOWN:,} more; --json has all of them")
    for field, count in Counter(_kind(one) for one in report.differences).most_common():
        console.print(f"{count:>9,}  {field}", markup=False)
    people = len({one.customer_id for one in report.differences})
    verdict, style = _VERDICTS[exit_code(report)]
    verdict = f"{people:,} {verdict}" if people else verdict
    aside = [f"{report.waiting:,} wait for a hand-over or the end of an import"] if report.waiting else []
    aside += [f"{report.unjudged:,} were on the move and are not judged"] if report.unjudged else []
    aside += [] if report.has_redis else ["Redis was not looked at"]
    console.print(
        f"{verdict}: {report.customers:,} customers, {report.events:,} events in {seconds:,.1f} s"
        + "".join(f"; {text}" for text in aside),
        style=style, markup=False,
    )  # fmt: skip


def _kind(one: Difference) -> str:
    """What differs, without the node or key that tells customers apart."""
    part, colon, field = one.field.rpartition(": ")
    return f"{one.where}: {'part, ' + field.split(' ')[0] if colon else part or field}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@contextmanager
def _progress(is_shown: bool, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar of events on the terminal, nothing elsewhere."""
    if not is_shown:
        yield lambda step: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=complaints, transient=True) as bars:
        task = bars.add_task("events", total=total)
        yield lambda step: bars.advance(task, step)
