"""`touchstream segments`: how many are in each, who, and the file that a campaign tool wants."""

import csv
import json
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cli.browse import answering, complaints, console, give_up
from cli.customer_facts import recency_on
from services.chassis.clickhouse import Clickhouse, connect
from services.chassis.clock import now_ms
from services.chassis.settings import load_settings
from services.profile.adapters import load_config
from services.profile.core.calendar import Calendar
from services.profile.core.config import ProfileConfig
from services.profile.core.tagging.catalogue import SEGMENT
from services.profile.settings import ProfileSettings

TIMEOUT_S = 600
_COUNTS = "SELECT segment, customers, toUnixTimestamp64Milli(last_entered) AS entered FROM segments"
# In the order of ids: two exports of the same members are the same file.
_MEMBERS = """
SELECT m.customer_id, toString(m.since), m.reason, c.identifiers, c.traits, c.stage, c.tags, c.segments,
    c.recency_days, c.frequency, c.monetary_minor, c.currency, c.r, c.f, c.m, toUnixTimestamp64Milli(c.updated_at)
FROM segment_members AS m INNER JOIN customers AS c ON c.customer_id = m.customer_id
WHERE m.segment = {segment:String} ORDER BY m.customer_id
"""
_FIELDS = (
    "customer_id", "since", "reason", "identifiers", "traits", "stage", "tags", "segments", "recency_days", "frequency",
    "monetary_minor", "currency", "r", "f", "m",
)  # fmt: skip


class Format(str, Enum):  # noqa: UP042 - typer shows the values of a str enum
    """What an export is written as."""

    CSV = "csv"
    JSONL = "jsonl"


app = typer.Typer(no_args_is_help=True, help="Segments: saved conditions, and who is in them.")
Name = Annotated[str, typer.Argument(help="the segment, as in tags.yaml")]


@app.command(name="list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False) -> None:
    """Show every segment with its live count."""
    with answering():
        store, config = _open()
        defined = _defined(config)
        counts = {row["segment"]: int(row["customers"]) for row in store.query_rows(_COUNTS)}
    rows = [(name, defined.get(name, "not defined any more"), counts.get(name, 0)) for name in {**defined, **counts}]
    if as_json:
        for name, condition, customers in rows:
            print(json.dumps({"segment": name, "if": condition, "customers": customers}, ensure_ascii=False))
        return
    table = Table()
    table.add_column("segment")
    table.add_column("customers", justify="right")
    table.add_column("if", overflow="fold")
    for name, condition, customers in rows:
        table.add_row(name, f"{customers:,}", condition)
    console.print(table)


@app.command()
def export(
    name: Name,
    form: Annotated[Format, typer.Option("--format", help="csv or JSON lines")] = Format.CSV,
    to: Annotated[Path | None, typer.Option("--to", help="the file; default: standard output")] = None,
) -> None:
    """Write who is in a segment now: ids, masked identifiers, traits, stage, tags, RFM, since when and why.

    A file appears whole or not at all.
    """
    with answering():
        store, config = _open()
        defined = _defined(config)
        counts = {row["segment"]: int(row["customers"]) for row in store.query_rows(_COUNTS)}
        if name not in defined and name not in counts:
            give_up(f"segment {name}: not in tags.yaml; it has {', '.join(sorted(defined)) or 'none'}")
        progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True),
            console=complaints, transient=True, disable=not complaints.is_terminal,
        )  # fmt: skip
        with progress:
            rows = progress.track(_members(store, name, config.calendar), total=counts.get(name, 0), description=name)
            if to is None:
                written = _write(rows, form, sys.stdout)
            else:
                part = to.with_name(to.name + ".part")
                with part.open("w", encoding="utf-8", newline="") as file:
                    written = _write(rows, form, file)
                part.replace(to)
        complaints.print(f"{written:,} customers of {name}" + (f" in {to}" if to else ""), markup=False)


def _members(store: Clickhouse, name: str, calendar: Calendar) -> Iterator[dict[str, Any]]:
    today = calendar.day(now_ms())
    for *row, updated_ms in store.stream_rows(_MEMBERS, {"segment": name}):
        member = dict(zip(_FIELDS, row, strict=True))
        member["recency_days"] = recency_on(today, member["recency_days"], updated_ms, calendar)
        member["traits"] = json.loads(member["traits"])
        yield member | {key: list(member[key]) for key in ("identifiers", "tags", "segments")}


def _write(rows: Iterator[dict[str, Any]] | Any, form: Format, file: TextIO) -> int:
    count = 0
    writer = csv.DictWriter(file, _FIELDS)
    if form is Format.CSV:
        writer.writeheader()
    for count, member in enumerate(rows, 1):  # noqa: B007 - counted
        if form is Format.JSONL:
            file.write(json.dumps(member, ensure_ascii=False) + "\n")
            continue
        traits = json.dumps(member["traits"], ensure_ascii=False)
        lists = {key: ";".join(member[key]) for key in ("identifiers", "tags", "segments")}
        writer.writerow(member | lists | {"traits": traits})
    return count


def _open() -> tuple[Clickhouse, ProfileConfig]:
    settings = load_settings(ProfileSettings)
    config = load_config(settings.config, settings.tags, settings.time_zone)
    return connect(settings, TIMEOUT_S), config


def _defined(config: ProfileConfig) -> dict[str, str]:
    """The segments that are defined: name → condition."""
    return {d.name.removeprefix(SEGMENT): d.source for d in config.catalogue.tags if d.name.startswith(SEGMENT)}
