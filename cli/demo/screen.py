"""What the demo shows while it works: on a terminal one live picture, elsewhere plain lines without control codes.

The playing thread and the supervisor's thread write into `Progress`; drawing only reads it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.demo.watch import Item, Seen

REFRESH_PER_S = 8
# Between two lines of progress where there is no terminal.
LINE_EVERY_S = 3.0
BAR_WIDTH = 34
SUBJECT_CHARS = 32
# The width of the other columns, and room for the ^C that the terminal itself writes: a line that it folds could not be
# erased any more.
LEFT_OF_DETAIL, LEFT_OF_WHAT = 66, 65


@dataclass(slots=True)
class Progress:
    """Where the demo is. `done` of `total` steps of `stage`; the counts are of the whole run."""

    stage: str = ""
    done: int = 0
    total: int = 0
    detail: str = ""
    sent: int = 0
    refused: int = 0
    copies: int = 0
    rate_per_s: float = 0.0
    seen: Seen = field(default_factory=Seen)


class Screen:
    """`say` adds a lasting line, `stage` and the fields of `progress` change the picture."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress()
        self._live: Live | None = None
        self._line_at = 0.0
        self._last = ""

    def say(self, text: str, style: str = "dim") -> None:
        """A line that stays."""
        self.console.print(text, style=style, markup=False, highlight=False)

    def stage(self, name: str, total: int = 0) -> None:
        """The next stage begins; total 0: nobody knows how long it takes."""
        progress = self.progress
        progress.stage, progress.done, progress.total, progress.detail = name, 0, total, ""
        self.moved(is_new=True)

    def moved(self, is_new: bool = False) -> None:
        """Something changed: a terminal draws by itself, elsewhere a line is printed now and then."""
        now = time.monotonic()
        if self.console.is_terminal or not (is_new or now - self._line_at >= LINE_EVERY_S):
            return
        line = _line(self.progress)
        if line != self._last:
            self._line_at, self._last = now, line
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The live picture, on a terminal; it is gone at the end."""
        if not self.console.is_terminal:
            yield
            return
        live = Live(get_renderable=self._draw, console=self.console, refresh_per_second=REFRESH_PER_S, transient=True)
        with live:
            # Live hides it; a second Ctrl-C ends the process without giving it back.
            self.console.show_cursor(True)
            self._live = live
            yield
        self._live = None

    def hide(self) -> None:
        """Take the picture away for good: what follows is printed below each other."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> RenderableType:
        progress = self.progress
        parts: list[RenderableType] = [_bar(progress, self.console.width - LEFT_OF_DETAIL)]
        if progress.sent:
            parts += [Text(_counts(progress), style="dim"), Text()]
            parts.append(_arrivals(progress.seen, max(1, min(10, self.console.height - 8)), self.console.width))
        return Group(*parts)


def _bar(progress: Progress, detail_chars: int) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    row.add_column(width=24, no_wrap=True)
    row.add_column(width=BAR_WIDTH)
    row.add_column(no_wrap=True)
    bar = ProgressBar(
        total=progress.total or None, completed=progress.done, width=BAR_WIDTH, pulse=not progress.total,
        complete_style="cyan", finished_style="cyan", pulse_style="cyan",
    )  # fmt: skip
    count = f"{progress.done:,} / {progress.total:,}" if progress.total else ""
    detail = Text(f"{count}  {progress.detail}".strip(), style="dim")
    detail.truncate(max(0, detail_chars), overflow="ellipsis")
    row.add_row(Text(progress.stage, style="bold"), bar, detail)
    return row


def _arrivals(seen: Seen, rows: int, width: int) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", expand=False)
    # Fixed widths: a table that breathes with its rows is hard to read.
    table.add_column("at", no_wrap=True, width=8)
    table.add_column("rule", style="cyan", no_wrap=True, width=14)
    table.add_column("delivered to", no_wrap=True, width=23)
    table.add_column("what", no_wrap=True, width=max(8, min(SUBJECT_CHARS, width - LEFT_OF_WHAT)))
    table.add_column("after", justify="right", no_wrap=True, width=7)
    for item in list(seen.latest)[-rows:]:
        table.add_row(_clock(item.at_ms), item.rule, _to(item), what(item), _after(item.latency_ms))
    return table


def _line(progress: Progress) -> str:
    count = f" {progress.done:,} of {progress.total:,}" if progress.total else ""
    parts = [progress.stage + count, progress.detail]
    if progress.sent and progress.total:
        parts.append(_counts(progress))
    if progress.total and progress.seen.latest:
        item = progress.seen.latest[-1]
        parts.append(f"latest: {item.rule} → {_to(item)} “{what(item)}” after {_after(item.latency_ms)}")
    return " · ".join(part for part in parts if part)


def _counts(progress: Progress) -> str:
    rules = ", ".join(f"{rule} {count:,}" for rule, count in progress.seen.by_rule.most_common())
    parts = [f"{progress.rate_per_s:,.0f} events/s" if progress.rate_per_s else "", f"{progress.refused:,} refused"]
    parts += [
        f"{progress.copies:,} sent twice",
        f"{progress.seen.total:,} delivered" + (f" ({rules})" if rules else ""),
    ]
    return " · ".join(part for part in parts if part)


def what(item: Item) -> str:
    """The gist of a delivery: its subject, else the first words of its text, else the template's name."""
    text = item.subject or ("" if item.text.lstrip().startswith(("{", "[")) else item.text.strip())
    first = text.splitlines()[0].strip("*# ") if text else item.template.replace("_", " ")
    return first if len(first) <= SUBJECT_CHARS else first[: SUBJECT_CHARS - 1] + "…"


def _to(item: Item) -> str:
    # The label of a mailbox begins with its destination's name.
    return f"{item.channel} {item.destination.partition(':')[2] or item.destination}"


def _clock(at_ms: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at_ms / 1000))


def _after(latency_ms: int) -> str:
    return f"{latency_ms / 1000:.2f} s" if latency_ms >= 0 else ""
