"""Public data sets that are not part of this repository, and the way a file of theirs takes to the fold.

TOUCHSTREAM_TEST_DATA names the folder that holds them; without it, the folder shared/data next to the checkout. Tests
that need them skip where there is none, and fail where one was named and is empty.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.replay.bind import Skip, bind_mapping
from cli.replay.files import CsvFile
from cli.replay.mapping import parse_mapping
from services.ingest.core.model import Accepted, Arrival, Touchpoint
from services.ingest.core.source import Source
from services.ingest.core.touchpoint import judge

ROOT = Path(__file__).parents[1]
NAMED = os.environ.get("TOUCHSTREAM_TEST_DATA", "")
FOLDER = Path(NAMED) if NAMED else ROOT.parent / "shared" / "data"
# Later than everything in the files.
RECEIVED_MS = 1_700_000_000_000


def data_file(path: str) -> Path:
    """A file of the folder. Skips the test without a folder, fails it when a folder that was named lacks the file."""
    found = FOLDER / path
    if not found.exists():
        if NAMED:
            pytest.fail(f"TOUCHSTREAM_TEST_DATA={NAMED}: {path} is not there")
        pytest.skip(f"no public data set {path}: TOUCHSTREAM_TEST_DATA names the folder that holds it")
    return found


def touchpoints(path: Path, mapping: Path) -> Iterator[Touchpoint]:
    """What ingest makes of the file's lines as `touchstream replay` sends them, without refused and skipped ones."""
    spec = parse_mapping(str(mapping), mapping.read_bytes())
    file = CsvFile(path, spec.csv)
    mapper = bind_mapping(spec, file.column_of, "file")
    arrival = Arrival(Source("replay"), RECEIVED_MS, is_import=True)
    for record in file.records():
        message = mapper.message(record.row, record.line)
        if isinstance(message, Skip):
            continue
        verdict = judge(message, arrival, _no_id)
        if isinstance(verdict, Accepted):
            yield verdict.touchpoint


def event_row(one: Touchpoint, number: int) -> tuple[Any, ...]:
    """As the view `events` gives it to `touchstream customers --as-of`; whoever is the first identifier."""
    return (
        one.identifiers[0], one.identifiers[0], one.event_id, one.type, one.name, one.source, one.occurred_at,
        one.received_at, one.order_id, one.amount_minor, one.currency, one.traits.decode(), one.flags,
        one.properties.decode(), f"1.0.{number}",
    )  # fmt: skip


def _no_id() -> str:
    raise AssertionError("the mapping gives every line its message id")
