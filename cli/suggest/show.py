"""What suggestions look like, and the progress on the way to them. Only layout."""

import time
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from cli.suggest.explain import Reason
from cli.suggest.learn import Learned
from cli.suggest.pairs import Suggestion

# Where stderr is no terminal: how often it says where it stands.
PLAIN_EVERY_S = 5.0
READING = 0.2


class Display:
    """Progress on stderr: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console, self._shown_s = console, time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description:<28}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=1.0)

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def read(self, customers: int, of: int) -> None:
        """How many customers have been read."""
        self._show(f"{customers:,} customers read", READING * customers / max(1, of))

    def compare(self, what: str, share: float) -> None:
        """What the model is at, and how far."""
        self._show(what, READING + (1 - READING) * share)

    def _show(self, what: str, share: float) -> None:
        self._progress.update(self._task, description=what, completed=share)
        if not self._console.is_terminal and time.monotonic() - self._shown_s >= PLAIN_EVERY_S:
            self._shown_s = time.monotonic()
            self._console.print(f"{share:4.0%} {what}", highlight=False)


def listed(shown: Iterable[Suggestion], more: int, learned: Learned, seconds: float) -> RenderableType:
    """The list with its last lines: how many were left out, and what the scores rest on."""
    blocks: list[RenderableType] = [card(one) for one in shown]
    if not blocks:
        blocks.append(Text("nobody is suggested"))
    if more:
        blocks.append(Text(f"and {more:,} more (--limit, --json)", style="dim"))
    blocks.append(Text(basis(learned, seconds), style="dim"))
    return Group(*blocks)


def basis(learned: Learned, seconds: float) -> str:
    """What the scores rest on."""
    one_in = f"one pair in {1 / learned.prior:,.0f}" if learned.prior else "no pair"
    return (
        f"{learned.customers:,} customers, {learned.pairs:,} pairs that agree on a key and weigh something,"
        f" {one_in} of all pairs is taken for one person; {seconds:,.1f} s"
    )


def card(one: Suggestion) -> RenderableType:
    """One pair: score, both customers, what speaks for and against."""
    lines = [Text(f"{one.score:.2%}  {one.weight:+.1f} bits", style="bold")]
    for customer, identifiers in zip(one.customers, one.identifiers, strict=True):
        lines.append(Text.assemble("  ", (customer, "cyan"), f"  {', '.join(identifiers)}"))
    lines += _side("for", [reason for reason in one.reasons if reason.bits >= 0], "green")
    lines += _side("against", [reason for reason in one.reasons if reason.bits < 0], "red")
    if one.unknown:
        lines.append(Text(f"  not known  {', '.join(one.unknown)}", style="dim"))
    return Padding(Group(*lines), (0, 0, 1, 0))


def _side(title: str, reasons: list[Reason], style: str) -> list[Text]:
    return [Text(f"  {title if not place else '':<9}{reason}", style=style) for place, reason in enumerate(reasons)]
