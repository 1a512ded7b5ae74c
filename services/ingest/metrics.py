"""What ingest counts. Labels are closed lists: sources of the write-keys file, codes of core/problems.py, our paths."""

from collections.abc import Sequence
from functools import cache

from services.chassis import metrics
from services.ingest.core.model import Accepted, Refused

EVENTS = metrics.counter(
    "ingest", "events", "events decided, after the broker's acknowledgement", ("source", "verdict")
)
REJECTED = metrics.counter(
    "ingest", "rejected", "reasons of refused events (an event may have several)", ("source", "reason")
)
REMARKS = metrics.counter("ingest", "remarks", "values left out or changed in accepted events", ("source", "reason"))
REQUESTS = metrics.counter("ingest", "requests", "HTTP requests", ("endpoint", "status"))
RECEIVED_BYTES = metrics.counter("ingest", "received_bytes", "bytes of bodies as they came")
IN_FLIGHT_BYTES = metrics.gauge("ingest", "in_flight_bytes", "bytes of requests being read or not yet acknowledged")
UNACKNOWLEDGED = metrics.gauge("ingest", "unacknowledged_events", "events handed to the producer, not yet acknowledged")
REQUEST_SECONDS = metrics.histogram("ingest", "request_seconds", "from the request's head to its answer", ("endpoint",))
PRODUCE_SECONDS = metrics.histogram("ingest", "produce_seconds", "from handing over to the last acknowledgement")


# The children of closed label sets, kept: looking one up in its metric costs as much as half an event.
_events = cache(EVENTS.labels)
_requests = cache(REQUESTS.labels)
_request_seconds = cache(REQUEST_SECONDS.labels)


def count_request(path: str, status: int, seconds: float) -> None:
    """Count one answer; `path` is the endpoint's own."""
    _requests(path, str(status)).inc()
    _request_seconds(path).observe(seconds)


def count_verdicts(source: str, verdicts: Sequence[Accepted | Refused]) -> None:
    """Count the events of one request, once the broker has them."""
    accepted = 0
    reasons: dict[str, int] = {}
    remarks: dict[str, int] = {}
    for verdict in verdicts:
        if isinstance(verdict, Refused):
            for problem in verdict.problems:
                reasons[problem.code] = reasons.get(problem.code, 0) + 1
        else:
            accepted += 1
            for problem in verdict.remarks:
                remarks[problem.code] = remarks.get(problem.code, 0) + 1
    _events(source, "accepted").inc(accepted)
    _events(source, "rejected").inc(len(verdicts) - accepted)
    for code, count in reasons.items():
        REJECTED.labels(source, code).inc(count)
    for code, count in remarks.items():
        REMARKS.labels(source, code).inc(count)
