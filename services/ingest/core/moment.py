"""When it happened: the client's time by the server's clock, or the receipt."""

from datetime import UTC

from services.ingest.core.envelope import Message
from services.ingest.core.model import FLAG_CLAMPED, FLAG_EVENT_CLOCK, FLAG_IMPORT, Arrival
from services.ingest.core.problems import Problem
from services.ingest.core.times import correct_skew, is_plausible, parse_time


def moment_of(
    message: Message, arrival: Arrival, originals: dict[str, object], problems: list[Problem]
) -> tuple[int, int]:
    """(occurred_at, flags). Without a time it is the receipt; an import's times are taken as they stand."""
    received_at, source = arrival.received_at, arrival.source
    flags = FLAG_IMPORT if arrival.is_import else 0
    if arrival.has_clock:
        flags |= FLAG_EVENT_CLOCK
    field = "timestamp" if message.timestamp is not None else "originalTimestamp"
    given = message.timestamp if message.timestamp is not None else message.original_timestamp
    if given is None or given == "":
        return received_at, flags
    stated = parse_time(given, source.zone)
    if stated is None:
        problems.append(Problem("time_invalid", field, "ISO 8601 text or a number of seconds or milliseconds expected"))
        return received_at, flags
    if not arrival.is_import:
        sent_at = message.sent_at if message.sent_at is not None else arrival.sent_at
        sent = parse_time(sent_at, UTC) if sent_at is not None else None
        corrected = correct_skew(stated, sent, received_at)
        if corrected != stated:
            originals[field] = given
        stated = corrected
    if is_plausible(stated, received_at, source.max_future_ms):
        return stated, flags
    originals[field] = given
    problems.append(Problem("time_implausible", field, "before 2000 or too far ahead: the time of receipt is used"))
    return received_at, flags | FLAG_CLAMPED
