"""What `touchstream up` and `touchstream status` show of the stack's processes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from deploy.local import figures
from deploy.local.figures import Figures
from deploy.local.processes import Spec

STYLES = {"running": "green", "starting": "yellow", "restarting": "red", "stopped": "dim", "down": "red"}


@dataclass(frozen=True, slots=True)
class Row:
    """One process as shown; `state` as of the supervisor, or running/starting/down when seen from outside."""

    name: str
    state: str
    pid: int
    restarts: int
    figures: Figures | None = None


class Readings:
    """The last reading of every service, so that the next one has a rate."""

    def __init__(self, specs: Sequence[Spec]) -> None:
        self._specs = specs
        self._last: dict[str, Figures] = {}

    def take(self) -> Mapping[str, Figures]:
        """Scrape every service once; those that do not answer are left out. Blocks a second for each that hangs."""
        fresh = {}
        for spec in self._specs:
            if spec.metrics_url:
                at_s = time.monotonic()
                read = figures.read(spec.name, spec.metrics_url, at_s, self._last.get(spec.name))
                if read is not None:
                    fresh[spec.name] = read
        self._last = fresh
        return fresh


def table(rows: Sequence[Row], title: str) -> Table:
    """One line per process."""
    shown = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False, padding=(0, 1))
    shown.add_column("process", no_wrap=True)
    shown.add_column("state")
    for heading in ("pid", "rate/s", "events", "lag", "errors", "restarts"):
        shown.add_column(heading, justify="right")
    for row in rows:
        # Text, not markup: lines printed above a live table without markup would take it from the table too.
        state = Text(row.state, STYLES.get(row.state, ""))
        shown.add_row(row.name, state, str(row.pid or "-"), *_numbers(row.figures), _alarming(row.restarts))
    return shown


def _numbers(read: Figures | None) -> tuple[str | Text, ...]:
    if read is None:
        return "", "", "", ""
    return f"{read.rate_per_s:,.0f}", f"{read.worked:,.0f}", f"{read.lag:,.0f}", _alarming(read.errors)


def _alarming(count: float) -> Text:
    return Text(f"{count:,.0f}", "red" if count else "")


def as_json(row: Row, log: str) -> dict[str, object]:
    """One process for `status --json`; numbers are null where a process has none."""
    read = row.figures
    return {
        "name": row.name,
        "state": row.state,
        "pid": row.pid or None,
        "restarts": row.restarts,
        "events_per_s": round(read.rate_per_s, 1) if read else None,
        "events": round(read.worked) if read else None,
        "lag": round(read.lag) if read else None,
        "errors": round(read.errors) if read else None,
        "log": log,
    }
