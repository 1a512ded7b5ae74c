"""The way in: room for a request, its body read within bounds, unpacked and taken apart into events."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from services.ingest.core.compression import BrokenError, TooLargeError, unpack
from services.ingest.core.envelope import Body, split_batch, split_import
from services.ingest.core.limits import Budget
from services.ingest.core.problems import Problem
from services.ingest.endpoints import Limit
from services.ingest.metrics import RECEIVED_BYTES
from services.ingest.requests import BrokenOffError, Call
from services.ingest.settings import IngestSettings
from services.ingest.verdicts import Answer, answer_error

# What a body reserves before it arrives, and after that as many bytes as came: an announced length is only a promise,
# and who has no write key may give it too. Lower costs small requests a second look at the budget, higher lets idle
# connections hold more of it.
FIRST_RESERVATION_BYTES = 16_384
RETRY_AFTER_S = 2
# What an event takes beside its bytes while it is decided and waits for the broker: objects, record, queue entry.
EVENT_OVERHEAD_BYTES = 1_024


class Refusal(Exception):  # noqa: N818 - an outcome, not a fault
    """Carries an answer up to the one place that sends it; with problems and raw bytes when it must be kept."""

    def __init__(self, answer: Answer, problems: Sequence[Problem] = (), raw: bytes = b"") -> None:
        super().__init__(answer.status)
        self.answer = answer
        self.problems = list(problems)
        self.raw = raw


@dataclass(slots=True)
class Hold:
    """Bytes that one request has reserved."""

    budget: Budget
    held: int = 0

    def grow(self, to_bytes: int) -> None:
        """Hold at least to_bytes, or refuse the request."""
        more = to_bytes - self.held
        if more > 0:
            if not self.budget.take(more):
                raise Refusal(answer_error(503, "overloaded", retry_s=RETRY_AFTER_S))
            self.held = to_bytes

    def release(self) -> None:
        """Give everything back; doing it twice changes nothing."""
        self.budget.give_back(self.held)
        self.held = 0

    def move(self) -> "Hold":
        """The same bytes in other hands: this one holds nothing any more."""
        moved, self.held = Hold(self.budget, self.held), 0
        return moved


async def read_body(call: Call, settings: IngestSettings, hold: Hold) -> bytes:
    """The whole body, unpacked, within the endpoint's limit and the budget.

    Raises Refusal: 503 without room, 408 when it does not arrive, 413 with the part that was read (the sender is told
    and the evidence kept), 400 for broken gzip.
    """
    limit: int = getattr(settings, call.endpoint.limit.value)
    hold.grow(min(limit, FIRST_RESERVATION_BYTES if call.length is None else min(call.length, FIRST_RESERVATION_BYTES)))
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(settings.body_timeout_ms / 1000):
            async for chunk in call.chunks:
                parts.append(chunk)
                size += len(chunk)
                hold.grow(min(size, limit))
                if size > limit:
                    raise _too_large(limit, b"".join(parts))
    except (TimeoutError, BrokenOffError) as error:
        raise Refusal(answer_error(408, "body_incomplete", retry_s=RETRY_AFTER_S)) from error
    RECEIVED_BYTES.inc(size)
    packed = b"".join(parts)
    try:
        raw = unpack(packed, limit)
    except TooLargeError as error:
        raise _too_large(limit, packed) from error
    except BrokenError as error:
        raise _malformed(Problem("encoding_unsupported", "", f"broken gzip: {error}"), packed) from error
    hold.grow(len(raw))
    return raw


def split_body(call: Call, raw: bytes, settings: IngestSettings, hold: Hold) -> Body:
    """The events of a body. Raises Refusal: 400 when it cannot be taken apart, 413 for too many, 503 without room."""
    if call.endpoint.type:
        return Body([raw])
    split = split_import if call.endpoint.limit is Limit.IMPORT else split_batch
    body = split(raw, settings.max_request_events)
    if isinstance(body, Problem):
        status = 413 if body.code == "too_many_events" else 400
        raise Refusal(answer_error(status, body.code, body.message, [body]), [body], raw)
    hold.grow(len(raw) + len(body.events) * EVENT_OVERHEAD_BYTES)
    return body


def _too_large(limit: int, raw: bytes) -> Refusal:
    problem = Problem("body_too_large", "", f"at most {limit} bytes, before and after gzip")
    return Refusal(answer_error(413, problem.code, problem.message, [problem]), [problem], raw)


def _malformed(problem: Problem, raw: bytes) -> Refusal:
    return Refusal(answer_error(400, problem.code, problem.message, [problem]), [problem], raw)
