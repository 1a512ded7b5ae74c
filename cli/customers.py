"""`touchstream customers` and `touchstream customer show`: who the customers are, what is known of them, and why."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from itertools import islice
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from cli.customer_facts import COLUMNS, Customer, as_json, from_row
from cli.customer_view import Moment, card, table
from cli.customers_as_of import EVENTS, IDENTIFIERS, customers_as_of
from cli.folding import say_passed_over
from cli.resolve import resolve
from services.chassis.clickhouse import Clickhouse, connect
from services.chassis.clock import now_ms
from services.chassis.errors import Fatal, Retriable
from services.chassis.settings import SettingsError, load_settings
from services.profile.adapters import load_config
from services.profile.core.config import ProfileConfig
from services.profile.settings import ProfileSettings

# A whole population sorted by customer may take a while.
TIMEOUT_S = 600
TABLE_ROWS = 50
LAST_EVENTS = 10
# A customer is found among the events by its nodes, which the table is indexed by; the view would be read whole.
_TIMELINE = """
SELECT toUnixTimestamp64Milli(occurred_at) AS at_ms, name, source, amount_minor, currency FROM events_raw
WHERE node IN {nodes:Array(String)} ORDER BY occurred_at DESC LIMIT {most:UInt32}
"""
_EPOCH = date(1970, 1, 1)

console = Console()
complaints = Console(stderr=True)
customer_app = typer.Typer(no_args_is_help=True, help="One customer.")


@customer_app.command()
def show(
    identifier: Annotated[str, typer.Argument(metavar="KIND:VALUE", help="any identifier, e.g. phone:+8613800000000")],
    as_json_: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Show what is known of the customer who has this identifier. Exit code 1 when there is none."""
    with _answering():
        (customer_id,) = resolve([identifier])
        if customer_id is None:
            _give_up(f"nobody is known as {identifier}")
        store, config = _open()
        rows = store.query_rows(
            f"SELECT {COLUMNS} FROM customers WHERE customer_id = {{id:String}}", {"id": customer_id}
        )
        if not rows:
            _give_up(f"{identifier} is customer {customer_id}, not yet in ClickHouse: try again in a second")
        found = from_row(rows[0], config.calendar.day(now_ms()), config.calendar)
        if as_json_:
            _print_json(found)
            return
        last = store.query_rows(_TIMELINE, {"nodes": list(rows[0]["nodes"]), "most": LAST_EVENTS})
        moments = [Moment(r["at_ms"], r["name"], r["source"], r["amount_minor"], r["currency"]) for r in last]
        console.print(card(found, moments))


def customers(
    as_of: Annotated[
        str, typer.Option(metavar="DATE", help="as they were at the end of that business day, e.g. 2011-12-09")
    ] = "",
    as_json_: Annotated[bool, typer.Option("--json", help="one JSON object a line and customer")] = False,
    most: Annotated[int, typer.Option("--limit", min=1, help="rows of the table; --json prints all")] = TABLE_ROWS,
) -> None:
    """List all customers, by customer id."""
    with _answering():
        day = _day(as_of)
        store, config = _open()
        found = _current(store, config) if day is None else _past(store, config, day)
        if as_json_:
            for customer in found:
                _print_json(customer)
            return
        shown = list(islice(found, most))
        console.print(table(shown, "customers" + (f" at the end of {as_of}" if as_of else ""), sum(1 for _ in found)))


def _current(store: Clickhouse, config: ProfileConfig) -> Iterator[Customer]:
    today = config.calendar.day(now_ms())
    rows = store.query_rows(f"SELECT {COLUMNS} FROM customers ORDER BY customer_id")
    return (from_row(row, today, config.calendar) for row in rows)


def _past(store: Clickhouse, config: ProfileConfig, day: int) -> Iterator[Customer]:
    def identifiers() -> dict[str, list[str]]:
        return {row["customer_id"]: list(row["identifiers"]) for row in store.query_rows(IDENTIFIERS)}

    rows = store.stream_rows(EVENTS, {"end_ms": config.calendar.start_ms(day + 1)})
    passed_over: list[int] = []
    yield from customers_as_of(rows, identifiers, day, config, passed_over.append)
    say_passed_over(sum(passed_over), partial(complaints.print, markup=False))


def _day(text: str) -> int | None:
    if not text:
        return None
    try:
        return (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise typer.BadParameter(f"--as-of {text!r}: expected a date like 2011-12-09") from None


def _open() -> tuple[Clickhouse, ProfileConfig]:
    settings = load_settings(ProfileSettings)
    return connect(settings, TIMEOUT_S), load_config(settings.config, settings.tags, settings.time_zone)


def _print_json(customer: Customer) -> None:
    print(json.dumps(as_json(customer), ensure_ascii=False))


@contextmanager
def _answering() -> Iterator[None]:
    """What the chassis raises, as a sentence and exit code 1."""
    try:
        yield
    except (SettingsError, Fatal, Retriable) as error:
        _give_up(str(error))


def _give_up(text: str) -> NoReturn:
    complaints.print(text, style="red", markup=False, highlight=False, emoji=False, soft_wrap=True)
    raise typer.Exit(1)
