"""The end of the demo for people: what was played, what became of it, the proof, where things are, what to try next."""

from collections import Counter
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cli.demo.books import Books
from cli.demo.facts import Facts, percentile
from cli.demo.reconcile import Check

SHARES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))
STAGES = ("prospect", "first_purchase", "repeat", "loyal", "dormant", "churned")
# Columns between tables that stand beside each other.
GAP = 2
OUTCOMES = {"delivered": "green", "suppressed": "yellow", "unknown": "yellow", "failed": "red"}


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: the stack's start (0: it ran before), the play, the wait until everything had arrived."""

    start_s: float
    play_s: float
    settle_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the summary shows. `restarts`: what the supervisor had to start again meanwhile; `notes`: asides."""

    run: int
    seed: int
    timing: Timing
    books: Books
    facts: Facts
    checks: list[Check]
    places: list[tuple[str, str]]
    try_next: list[tuple[str, str]]
    restarts: dict[str, int]
    notes: list[str]

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return not any(check.differences for check in self.checks)


def show(report: Report, console: Console) -> None:
    """Print it."""
    for part in (
        _title(report), _events_and_customers(report, console), _stages_and_tags(report.facts, console),
        _triggers(report.facts, console), _latency(report), _proof(report),
    ):  # fmt: skip
        console.print(Padding(part, (1, 0, 0, 1), expand=False))
    for title, pairs in (("Where things are", report.places), ("What to try next", report.try_next)):
        console.print(f"\n {title}", style="bold")
        width = max(len(name) for name, _ in pairs)
        for name, value in pairs:
            # Never folded: a command that is copied must be whole.
            console.print(Text.assemble((f" {name:<{width}}  ", "dim"), value), soft_wrap=True)
    console.print()


def _title(report: Report) -> RenderableType:
    timing = report.timing
    text = Text.assemble(("Touchstream demo", "bold"), f"  run {report.run} · seed {report.seed} · ")
    began = f"stack up in {timing.start_s:.1f} s · " if timing.start_s else ""
    text.append(f"{began}played {timing.play_s:.1f} s · all arrived {timing.settle_s:.1f} s later")
    lines = [text, *(Text(note, style="yellow") for note in report.notes)]
    if report.restarts:
        names = ", ".join(name if count == 1 else f"{name} ({count}×)" for name, count in report.restarts.items())
        lines.append(Text(f"On the way the supervisor started again: {names}.", style="yellow"))
    return Group(*lines)


def _events_and_customers(report: Report, console: Console) -> RenderableType:
    books, facts = report.books, report.facts
    events = _table("Events", "")
    events.add_row("sent", _n(books.sent))
    events.add_row("accepted", _n(len(books.accepted)))
    events.add_row("sent twice, dropped", _n(books.copies))
    events.add_row("refused", _n(books.refused.total()))
    refused = _table("Refused, by reason", "")
    for code, count in books.refused.most_common():
        refused.add_row(code, _n(count))
    kinds = Counter(row["kind"] for row in facts.changes)
    customers = _table("Customers", "")
    customers.add_row("identifiers seen", _n(len(facts.nodes)))
    customers.add_row("ever begun", _n(len(facts.profiles) + kinds["merged"]))
    customers.add_row("merged into another", _n(kinds["merged"]))
    customers.add_row("customers now", _n(len(facts.profiles)))
    if kinds["conflict"] or kinds["blocked"]:
        customers.add_row("kept apart by a guard", _n(kinds["conflict"] + kinds["blocked"]))
    return _beside(console, events, refused, customers)


def _stages_and_tags(facts: Facts, console: Console) -> RenderableType:
    stages, tags = _table("Lifecycle stage", "customers"), _table("Tag", "customers")
    of_stage = Counter(row["stage"] for row in facts.profiles)
    for stage in (*STAGES, *sorted(of_stage.keys() - set(STAGES))):
        stages.add_row(stage, _n(of_stage[stage]), _bar(of_stage[stage], max(of_stage.values(), default=1)))
    of_tag = Counter(tag for row in facts.profiles for tag in row["tags"])
    for tag, count in of_tag.most_common():
        tags.add_row(tag, _n(count), _bar(count, max(of_tag.values())))
    return _beside(console, stages, tags)


def _triggers(facts: Facts, console: Console) -> RenderableType:
    rules, channels = _table("Trigger, by rule", "fired"), _table("Delivery, by channel", "")
    for rule, count in Counter(row["rule"] for row in facts.triggers).most_common():
        rules.add_row(rule, _n(count))
    outcomes = Counter((row["channel"], row["status"]) for row in facts.deliveries)
    for (channel, status), count in sorted(outcomes.items()):
        channels.add_row(channel, _n(count), Text(status, OUTCOMES.get(status, "red")))
    reasons = Counter(row["error"] for row in facts.deliveries if row["status"] != "delivered")
    parts: list[RenderableType] = [_beside(console, rules, channels)]
    parts += [Text(f"{count:,} not sent: {reason}", style="dim") for reason, count in reasons.most_common(3)]
    return Group(*parts)


def _latency(report: Report) -> RenderableType:
    latencies = report.facts.latencies_ms()
    if not latencies:
        return Text("Nothing was delivered, so there is no latency to tell.", style="yellow")
    text = Text.assemble(("From acceptance to delivery  ", "bold"))
    for name, share in SHARES:
        text.append(f" {name} ", style="dim").append(f"{percentile(latencies, share):,} ms ", style="cyan")
    return text.append(f"  over {len(latencies):,} deliveries", style="dim")


def _proof(report: Report) -> RenderableType:
    parts: list[RenderableType] = [Text("Does it add up?", style="bold")]
    grid = Table.grid(padding=(0, 1))
    for check in report.checks:
        is_good = not check.differences
        grid.add_row(Text("✓", "green") if is_good else Text("✗", "red"), Text(check.text))
        for line in check.differences:
            grid.add_row("", Text(line, style="red"))
    parts.append(grid)
    parts.append(
        Text("Everything adds up.", style="bold green") if report.holds else Text("It does not add up.", "bold red")
    )
    return Group(*parts)


def _table(title: str, count: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(title, overflow="fold")
    table.add_column(Text(count, style="dim"), justify="right", no_wrap=True)
    table.add_column("")
    return table


def _beside(console: Console, *tables: RenderableType) -> RenderableType:
    """Beside each other where that needs no wrapping, else one below the other."""
    needed = sum(Measurement.get(console, console.options, table).maximum + GAP for table in tables)
    if needed > console.width:
        return Group(*tables)
    row = Table.grid(padding=(0, GAP))
    row.add_row(*tables)
    return row


def _bar(count: int, most: int) -> Text:
    return Text("▇" * max(1, round(14 * count / most)) if count else "", style="cyan")


def _n(count: int) -> str:
    return f"{count:,}"
