"""Wiring and layout of `touchstream quality`."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Any

import typer
from rich.table import Table

from cli.browse import answering, console, iso
from cli.quality.completeness import Field, completeness
from cli.quality.conflicts import Conflict, conflicts
from cli.quality.masking import shown
from cli.quality.standardised import Standard, standardised
from cli.quality.store import asked, known_source, open_store, share
from services.chassis.settings import load_settings
from services.ingest.settings import IngestSettings
from services.ingest.write_keys import load_keyring

TABLE_ROWS = 50
app = typer.Typer(no_args_is_help=True, help="Data quality: what sources send, leave out, and disagree on.")
From = Annotated[str, typer.Option("--source", help="only this source")]
Days = Annotated[int, typer.Option("--days", min=0, help="only what was received in so many days; 0: all")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object a line")]


@app.command(name="completeness")
def completeness_(source: From = "", days: Days = 0, as_json: AsJson = False) -> None:
    """Show how many events and customers of each source have each identifier kind, trait and required field.

    Of what was accepted; what a rule refused is in `touchstream rejected`. Customers are counted within 1 %.
    """
    with answering():
        store = open_store()
        known_source(store, source)
        sources = load_keyring(load_settings(IngestSettings).write_keys).sources()
        found = completeness(store, sources, asked(source, days))
    if _as_lines(found, as_json):
        return
    for name in dict.fromkeys(one.source for one in found):
        own = [one for one in found if one.source == name]
        console.print(_completeness(name, own), markup=False)
    _or_nothing(found)


@app.command(name="conflicts")
def conflicts_(
    source: From = "", days: Days = 0, as_json: AsJson = False,
    most: Annotated[int, typer.Option("--limit", min=1, help="rows of the table; --json prints all")] = TABLE_ROWS,
) -> None:  # fmt: skip
    """Show the customers of whom two sources say different things now, and which of them counts and why.

    --source: those in which it takes part; --days: those in which somebody spoke since. Values are masked where they
    may be personal.
    """
    with answering():
        store = open_store()
        known_source(store, source)
        found = conflicts(store, source, asked(source, days))
        if as_json:
            for one in found:
                print(json.dumps(one.as_json(), ensure_ascii=False))
            return
        first = list(islice(found, most))
        counts = Counter((one.trait, one.statements[0].source) for one in first)
        counts.update((one.trait, one.statements[0].source) for one in found)
    _or_nothing(first)
    if first:
        console.print(_conflicts(first))
        left = sum(counts.values()) - len(first)
        console.print(f"{left:,} more (--limit, --json)" if left else "", markup=False)
        summary = Table(title="which source counts", title_justify="left")
        for column in ("trait", "source", "customers"):
            summary.add_column(column, justify="right" if column == "customers" else "left")
        for (trait, winner), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            summary.add_row(trait, winner, f"{count:,}")
        console.print(summary)


@app.command(name="standardised")
def standardised_(source: From = "", days: Days = 0, as_json: AsJson = False) -> None:
    """Show how many values of each source were changed by standardising, were invalid, or were times that are clamped.

    Invalid values are no traits: they are kept as the original only. A region that GB/T 2260 does not list stays as it
    is, and so counts as neither. The examples are masked.
    """
    with answering():
        store = open_store()
        known_source(store, source)
        found = standardised(store, asked(source, days))
    if not _as_lines(found, as_json):
        if found:
            console.print(_standardised(found))
        _or_nothing(found)


def _as_lines(found: Iterable[Field | Standard], as_json: bool) -> bool:
    if as_json:
        for one in found:
            print(json.dumps(one.as_json(), ensure_ascii=False))
    return as_json


def _or_nothing(found: Iterable[Any]) -> None:
    if not list(found):
        console.print("nothing found")


def _table(title: str, *columns: tuple[str, bool]) -> Table:
    table = Table(title=title, title_justify="left")
    for name, is_number in columns:
        table.add_column(name, justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    return table


def _completeness(source: str, fields: list[Field]) -> Table:
    table = _table(
        f"source {source}", ("kind", False), ("field", False), ("events", True), ("share", True), ("customers", True),
        ("of them", True), ("first", True), ("last", True),
    )  # fmt: skip
    for one in fields:
        seen = [iso(ms)[:10] if one.events else "never" for ms in (one.first_ms, one.last_ms)]
        table.add_row(
            one.kind, f"{one.field} of {one.of}" if one.of else one.field, f"{one.events:,}",
            f"{share(one.events, one.of_events):.1%}", f"{one.customers:,}",
            f"{share(one.customers, one.of_customers):.1%}", *seen,
        )  # fmt: skip
    return table


def _conflicts(found: list[Conflict]) -> Table:
    table = _table("conflicts", ("customer", False), ("trait", False), ("counts", False), ("against", False),
                   ("why", False))  # fmt: skip
    for one in found:
        said = [f"{shown(one.trait, s.value)} ({s.source})" for s in one.statements]
        table.add_row(one.customer_id, one.trait, said[0], "\n".join(said[1:]), one.why)
    return table


def _standardised(found: list[Standard]) -> Table:
    table = _table(
        "standardised", ("source", False), ("field", False), ("values", True), ("changed", True), ("invalid", True),
        ("clamped", True), ("examples", False),
    )  # fmt: skip
    for one in found:
        numbers = (f"{one.values:,}" if one.values else "", f"{one.changed:,}", f"{one.invalid:,}", f"{one.clamped:,}")
        table.add_row(one.source, one.field, *numbers, "\n".join(one.examples))
    return table
