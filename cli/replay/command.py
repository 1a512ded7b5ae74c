"""`touchstream replay`: history from a file through the same door as live events."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import httpx
import typer
from rich.console import Console

from cli.http import uses_proxies
from cli.replay import report
from cli.replay.batches import BATCH_LINES, Batch, MessageOf, make_batches, pass_through
from cli.replay.bind import bind_mapping
from cli.replay.files import CSV, CsvFile, FileRefused, JsonLinesFile, fingerprint, format_of
from cli.replay.journal import Journal, JournalFile
from cli.replay.mapping import parse_mapping
from cli.replay.order import assert_in_order
from cli.replay.run import IN_FLIGHT_BATCHES, Pace, Replay
from cli.replay.sender import IMPORT, TIMEOUT_S, Sender
from cli.replay.spec import MappingRefused, MappingSpec
from cli.replay.tally import Tally, total
from cli.replay.trial import try_out
from cli.settings import CliSettings
from deploy.local.settings import local_settings
from services.chassis.clock import now_ms
from services.chassis.errors import Fatal
from services.chassis.run import Stop, run
from services.chassis.settings import SettingsError, load_settings

FIRST_MESSAGES = 3
WALL, EVENT = "wall", "event"
# Where history goes whose times are the customers' clock (services/ingest/endpoints.py).
LIVED = "/v1/import/lived"
console = Console(highlight=False)
if not console.is_terminal:
    console.width = 120  # a file or a pipe has no width of its own; 80 would fold the reasons
complaints = Console(stderr=True, highlight=False)


def replay(
    file: Annotated[Path, typer.Argument(help="CSV or JSON lines, plain or gzip", exists=True, dir_okay=False)],
    format_: Annotated[str, typer.Option("--format", help="csv or jsonl; by default by the file's name")] = "",
    mapping: Annotated[
        Path | None, typer.Option(help="how lines become messages; JSON lines without one are messages already")
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="lines per second at most; 0: as fast as ingest takes them")] = 0,
    clock: Annotated[
        str, typer.Option(help="event: new customers live through the history, tags and stages begin and end when due")
    ] = WALL,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="map and check everything, send nothing")] = False,
    again: Annotated[bool, typer.Option("--again", help="from the beginning, although it was begun or done")] = False,
    url: Annotated[str, typer.Option(help="base URL of ingest; by default TOUCHSTREAM_CLI_URL, else local")] = "",
    write_key: Annotated[str, typer.Option(help="names the source; by default TOUCHSTREAM_CLI_WRITE_KEY")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="the final report as one JSON object")] = False,
) -> None:
    """Send a file's history through ingest's import endpoint. Run it again to go on where it was interrupted.

    Exit code 0 when every line is accounted for: accepted, refused by ingest (its bytes are kept with the reasons) or
    skipped by the mapping.
    """
    if format_ not in ("", "csv", "jsonl"):
        raise typer.BadParameter("csv or jsonl", param_hint="--format")
    if clock not in (WALL, EVENT):
        raise typer.BadParameter("wall or event", param_hint="--clock")
    with _explaining():
        opened = _Opened(file, format_, mapping)
        if clock == EVENT:
            assert_in_order(opened.batches(0))
            opened = _Opened(file, format_, mapping)
        if dry_run:
            raise typer.Exit(_try_out(opened, as_json))
        settings = load_settings(CliSettings)
        url, write_key = url or settings.ingest_url(), write_key or settings.write_key.get_secret_value()
        folder = local_settings().state_dir / "journals"
        kept = JournalFile(folder, opened.file_id, opened.mapping_bytes, url, write_key)
        with kept.locked():
            journal = None if again else kept.load()
            if journal is None:
                journal = Journal(str(file), url, Tally(), now_ms())
            if journal.finished_at:
                complaints.print(f"this file was replayed to {url} before; --again sends it once more. Its report:")
            else:
                _send(opened, kept, journal, url, write_key, rate, clock == EVENT)
        if as_json:
            print(json.dumps(report.as_json(journal), ensure_ascii=False))
        else:
            console.print(report.books(journal))
        raise typer.Exit(0 if journal.finished_at and journal.tally.is_complete else 1)


class _Opened:
    """The file, read as the options and the mapping say. Raises FileRefused, MappingRefused."""

    def __init__(self, path: Path, form: str, mapping: Path | None) -> None:
        self.file_id = fingerprint(path)
        self.mapping_bytes = mapping.read_bytes() if mapping else b""
        spec = parse_mapping(str(mapping), self.mapping_bytes) if mapping else None
        self.data: CsvFile | JsonLinesFile
        self.message_of: MessageOf
        if format_of(path, form, spec.format if spec else "") == CSV:
            if spec is None:
                raise FileRefused(f"{path}: a CSV file needs --mapping, which says what its columns mean")
            self.data = CsvFile(path, spec.csv)
        else:
            self.data = JsonLinesFile(path, raw=spec is None)
        self.message_of = self._bound(spec) if spec else pass_through(self.file_id)

    def _bound(self, spec: MappingSpec) -> MessageOf:
        return bind_mapping(spec, self.data.column_of, self.file_id).message

    def batches(self, done_records: int, most: int = BATCH_LINES) -> Iterator[Batch]:
        """What is left of the file."""
        return make_batches(self.data.records(), self.message_of, done_records, most)


def _send(
    opened: _Opened, kept: JournalFile, journal: Journal, url: str, write_key: str, rate: float, is_lived: bool
) -> None:
    if journal.tally.records:
        complaints.print(f"going on after {journal.tally.records:,} lines that have their verdict")
    failed: list[Exception] = []

    def main(stop: Stop) -> None:
        try:
            asyncio.run(_replay(opened, kept, journal, url, write_key, rate, is_lived, stop))
        except (Fatal, FileRefused) as error:
            failed.append(error)

    run(main)
    for error in failed:
        complaints.print(str(error), style="red", markup=False, soft_wrap=True)


async def _replay(
    opened: _Opened, kept: JournalFile, journal: Journal, url: str, write_key: str, rate: float, is_lived: bool,
    stop: Stop,
) -> None:  # fmt: skip
    async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=uses_proxies(url)) as client:
        sender = Sender(client, url, write_key, stop, LIVED if is_lived else IMPORT)
        with report.Display(complaints, opened.data.size_bytes, journal) as display:
            replay_ = Replay(
                sender, journal, kept, Pace(rate), stop,
                show=lambda: display.show(opened.data.position_bytes(), sender.trouble),
                in_flight=1 if is_lived else IN_FLIGHT_BATCHES,
            )  # fmt: skip
            # One batch a second at least, or a slow pace would come in bursts.
            most = max(1, min(BATCH_LINES, int(rate) or BATCH_LINES))
            if await replay_.run(opened.batches(journal.tally.records, most)):
                journal.finished_at = now_ms()
                kept.save(journal, now=True)


def _try_out(opened: _Opened, as_json: bool) -> int:
    tally, first = try_out(opened.batches(0), FIRST_MESSAGES)
    if as_json:
        journal = Journal("", "", tally, 0)
        print(json.dumps(report.as_json(journal), ensure_ascii=False))
    else:
        for line, message in first:
            console.print(f"line {line} becomes", style="bold")
            console.print(message, markup=False)
        console.print(report.trial(tally))
    return 1 if total(tally.failed) else 0


@contextmanager
def _explaining() -> Iterator[None]:
    """Mistakes of the operator's files and settings as text, exit code 1."""
    try:
        yield
    except MappingRefused as refused:
        for mistake in refused.mistakes:
            complaints.print(str(mistake), markup=False, soft_wrap=True)
        _give_up(f"{len(refused.mistakes)} mistake(s) in the mapping")
    except (FileRefused, SettingsError, Fatal, OSError) as error:
        _give_up(str(error))


def _give_up(text: str) -> NoReturn:
    complaints.print(text, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(1)
