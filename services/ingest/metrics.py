"""What ingest counts. Labels are closed lists: sources of the write-keys file, codes of core/problems.py, our paths."""

from collections import Counter
from collections.abc import Sequence

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


def count_verdicts(source: str, verdicts: Sequence[Accepted | Refused]) -> None:
    """Count the events of one request, once the broker has them."""
    accepted = 0
    reasons: Counter[str] = Counter()
    remarks: Counter[str] = Counter()
    for verdict in verdicts:
        if isinstance(verdict, Refused):
            reasons.update(problem.code for problem in verdict.problems)
        else:
            accepted += 1
            if verdict.remarks:
                remarks.update(problem.code for problem in verdict.remarks)
    EVENTS.labels(source, "accepted").inc(accepted)
    EVENTS.labels(source, "rejected").inc(len(verdicts) - accepted)
    for code, count in reasons.items():
        REJECTED.labels(source, code).inc(count)
    for code, count in remarks.items():
        REMARKS.labels(source, code).inc(count)
