"""What a verification found, for people (a table, then every difference with a way out) and for programs (JSON)."""

from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.verify.run import Report


def show(report: Report, seconds: float, console: Console) -> None:
    """Print the table and the differences."""
    console.print(_table(report))
    for line in report.begins:
        console.print(line, style="dim", markup=False, soft_wrap=True)
    for check in report.checks:
        for difference in check.differences:
            console.print(f"\n{check.hop}: {difference.count:,} {difference.what}", style="bold red", markup=False)
            for name in difference.examples:
                console.print(f"  {name}", markup=False, soft_wrap=True)
            if difference.count > len(difference.examples):
                console.print(f"  … and {difference.count - len(difference.examples):,} more", markup=False)
            console.print(f"  do: {difference.todo}", style="yellow", markup=False, soft_wrap=True)
    found = sum(len(check.differences) for check in report.checks)
    verdict = "all equal" if report.is_equal else f"{found} kinds of difference"
    console.print(
        f"\n{verdict}: {report.records:,} records of the topics looked at in {seconds:,.1f} s",
        style="green" if report.is_equal else "red", markup=False,
    )  # fmt: skip


def _table(report: Report) -> Table:
    shown = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 1))
    shown.add_column("hop", no_wrap=True)
    shown.add_column("what")
    for heading in ("expected", "got", "on its way"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("")
    shown.add_column("", style="dim")
    for check in report.checks:
        verdict = Text("differs", "red") if check.differences else Text("equal", "green")
        waiting = f"{check.waiting:,}" if check.waiting else ""
        shown.add_row(
            check.hop, check.what, f"{check.expected:,}", f"{check.got:,}", waiting, verdict, Text(check.note)
        )
    return shown


def as_textfile(report: Report | None, finished_s: float) -> str:
    """What node_exporter's textfile collector takes (or a push gateway); None: something could not be looked at."""
    lines = [
        "# HELP touchstream_verify_finished_timestamp_seconds when `touchstream verify` last ended",
        "# TYPE touchstream_verify_finished_timestamp_seconds gauge",
        f"touchstream_verify_finished_timestamp_seconds {finished_s:.0f}",
        "# HELP touchstream_verify_blind 1: something could not be looked at",
        "# TYPE touchstream_verify_blind gauge",
        f"touchstream_verify_blind {int(report is None)}",
        "# HELP touchstream_verify_differences what was found to differ, by hop",
        "# TYPE touchstream_verify_differences gauge",
    ]
    counts: dict[str, int] = {}
    for check in report.checks if report is not None else ():
        found = sum(difference.count for difference in check.differences)
        counts[check.hop] = counts.get(check.hop, 0) + found
    lines += [f'touchstream_verify_differences{{hop="{hop}"}} {count}' for hop, count in counts.items()]
    return "\n".join(lines) + "\n"


def as_json(report: Report, seconds: float) -> dict[str, object]:
    """The fixed interface of `verify --json`."""
    return {
        "equal": report.is_equal,
        "seconds": round(seconds, 1),
        "records": report.records,
        "hops": [asdict(check) | {"equal": not check.differences} for check in report.checks],
        "begins": list(report.begins),
    }
