"""What a replay says: progress while it runs, the books at the end. Only layout."""

import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cli.replay.journal import Journal
from cli.replay.tally import Reason, Reasons, Tally, total

PLAIN_EVERY_S = 5.0


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.fields['rate']:,.0f}/s", style="cyan")


class Display:
    """Progress on stderr: a bar with rate and remaining time on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, size_bytes: int, journal: Journal) -> None:
        self._console, self._size_bytes, self._tally = console, size_bytes, journal.tally
        self._began_s = self._shown_s = time.monotonic()
        self._before = journal.tally.records
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), _Rate(),
            TimeRemainingColumn(compact=True), TextColumn("{task.fields[state]}", style="dim"),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._progress.add_task("replay", total=max(1, size_bytes), rate=0.0, state="")

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def show(self, position_bytes: int, trouble: str) -> None:
        """Where the reading stands in the file; `trouble`: why nothing gets on at the moment."""
        now_s = time.monotonic()
        rate = (self._tally.records - self._before) / max(0.001, now_s - self._began_s)
        refused = total(self._tally.refused)
        state = f"{self._tally.records:,} lines, {refused:,} refused" + (f", waiting: {trouble}" if trouble else "")
        self._progress.update(self._task, completed=position_bytes, rate=rate, state=state)
        if not self._console.is_terminal and now_s - self._shown_s >= PLAIN_EVERY_S:
            self._shown_s = now_s
            share = position_bytes / max(1, self._size_bytes)
            left_s = (now_s - self._began_s) * (1 - share) / max(share, 0.001)
            text = f"{share:4.0%} {rate:,.0f}/s, about {left_s:,.0f} s left: {state}"
            self._console.print(text, highlight=False, soft_wrap=True)


def books(journal: Journal) -> RenderableType:
    """The final report."""
    tally = journal.tally
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(Text("lines read", style="bold"), f"{tally.records:,}", f"in {_duration(journal)}")
    table.add_row("sent", f"{tally.sent:,}", "")
    table.add_row("  accepted", f"{tally.accepted:,}", "")
    _rows(table, "  refused by ingest", tally.refused, "see `touchstream rejected`")
    _rows(table, "skipped by the mapping", tally.skipped, "")
    _rows(table, "do not fit the mapping", tally.failed, "not sent, nowhere kept: mend the mapping or the file")
    if tally.remarked:
        _rows(table, "accepted with a remark", tally.remarked, "something was set aside, see `originals`")
    return Group(table, Text(verdict(journal), style="green" if _is_good(journal) else "red"))


def verdict(journal: Journal) -> str:
    """The last line."""
    if not journal.finished_at:
        return "not finished: the same command goes on from here"
    if journal.tally.is_complete:
        return "every line is accounted for"
    return f"{total(journal.tally.failed):,} lines are in no books but these"


def as_json(journal: Journal) -> dict[str, Any]:
    """The report as one JSON object."""
    tally = journal.tally
    return {
        "file": journal.file,
        "finished": journal.finished_at > 0,
        "complete": _is_good(journal),
        "elapsed_s": round(journal.elapsed_s, 1),
        "lines": tally.records,
        "sent": tally.sent,
        "accepted": tally.accepted,
        "refused": _reasons(tally.refused),
        "skipped": _reasons(tally.skipped),
        "failed": _reasons(tally.failed),
        "remarked": _reasons(tally.remarked),
    }


def _is_good(journal: Journal) -> bool:
    return journal.finished_at > 0 and journal.tally.is_complete


def _reasons(reasons: Reasons) -> dict[str, Any]:
    return {key: {"count": one.count, "lines": one.lines, "text": one.text} for key, one in reasons.items()}


def _duration(journal: Journal) -> str:
    rate = journal.tally.records / max(0.001, journal.elapsed_s)
    return f"{journal.elapsed_s:,.1f} s, {rate:,.0f} a second"


def _rows(table: Table, title: str, reasons: Reasons, hint: str) -> None:
    table.add_row(title, f"{total(reasons):,}", Text(hint if reasons else "", style="dim"))
    for key, reason in _by_count(reasons):
        text = f"{key}: {reason.text}" if reason.text else key
        lines = ", ".join(map(str, reason.lines)) + (", …" if reason.count > len(reason.lines) else "")
        table.add_row("", f"{reason.count:,}", Text(f"{text} (line {lines})"))


def _by_count(reasons: Reasons) -> Iterable[tuple[str, Reason]]:
    return sorted(reasons.items(), key=lambda item: -item[1].count)


def trial(tally: Tally) -> RenderableType:
    """The books of a dry run."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(Text("lines read", style="bold"), f"{tally.records:,}", "nothing was sent")
    table.add_row("would be accepted", f"{tally.accepted:,}", Text("by the general rules of ingest", style="dim"))
    _rows(table, "would be refused", tally.refused, "fields that a source requires are not looked at here")
    _rows(table, "skipped by the mapping", tally.skipped, "")
    _rows(table, "do not fit the mapping", tally.failed, "")
    if tally.remarked:
        _rows(table, "accepted with a remark", tally.remarked, "something would be set aside")
    return table
