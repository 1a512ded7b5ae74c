"""`replay --dry-run`: the mapping tried on the whole file, and ingest's own checks, without sending anything."""

from collections.abc import Iterator

import msgspec

from cli.replay.batches import Batch
from cli.replay.tally import Tally, Verdicts
from services.chassis.clock import now_ms
from services.ingest.core.model import Accepted, Arrival
from services.ingest.core.source import Source
from services.ingest.core.touchpoint import judge


def try_out(batches: Iterator[Batch], shown: int) -> tuple[Tally, list[tuple[int, str]]]:
    """The books as they would be for a source without rules of its own, and the first messages: (line, JSON)."""
    tally = Tally()
    first: list[tuple[int, str]] = []
    arrival = Arrival(Source("dry-run"), now_ms(), is_import=True)
    for batch in batches:
        verdicts = Verdicts()
        for message, line in [*zip(batch.messages, batch.lines, strict=True), *batch.malformed]:
            if len(first) < shown:
                first.append(
                    (
                        line,
                        msgspec.json.format(message, indent=2).decode()
                        if message in batch.messages
                        else message.decode(errors="replace"),
                    )
                )
            verdict = judge(message, arrival, lambda: "")
            problems = verdict.remarks if isinstance(verdict, Accepted) else verdict.problems
            if isinstance(verdict, Accepted):
                verdicts.accepted += 1
            kept = verdicts.remarked if isinstance(verdict, Accepted) else verdicts.refused
            kept += [(problem.code, line, problem.message) for problem in problems[:1]]
        tally.add(batch, verdicts)
    return tally, first


def _readable(message: bytes) -> str:
    try:
        return msgspec.json.format(message, indent=2).decode()
    except (msgspec.DecodeError, ValueError):
        return message.decode(errors="replace")
