"""Answers as JSON: what a sender is told about each of its events."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from services.ingest.core.envelope import encode_json
from services.ingest.core.model import Accepted, Refused
from services.ingest.core.problems import Problem
from services.ingest.endpoints import ANSWER_CODES, RETRY_STATUSES

Verdict = Accepted | Refused
# A batch that is refused as a whole has its first errors at the top, where SDKs look; `events` has all of them.
MAX_ERRORS = 20
BODY_TIMEOUT = 408


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def answer_error(status: int, code: str, message: str = "", errors: Sequence[Problem] = (), retry_s: int = 1) -> Answer:
    """An answer about the request as a whole. SDKs read `code` and `message` and fail without them."""
    body: dict[str, object] = {"code": code, "message": message or ANSWER_CODES.get(code, code)}
    body["errors"] = [_error(problem) for problem in errors]
    headers = {"Retry-After": str(retry_s)} if status in RETRY_STATUSES else {}
    if status == BODY_TIMEOUT:
        # The rest of the body may never come, and nobody waits for it.
        headers["Connection"] = "close"
    return Answer(status, encode_json(body), headers)


def answer_one(verdict: Verdict) -> Answer:
    """The answer to a single message: 200, or 400 (413 when too large) with every error."""
    if isinstance(verdict, Accepted):
        body: dict[str, object] = {"success": True, "messageId": verdict.touchpoint.event_id}
        if verdict.remarks:
            body["remarks"] = [_error(problem) for problem in verdict.remarks]
        return Answer(200, encode_json(body))
    first = verdict.problems[0]
    status = 413 if first.code == "event_too_large" else 400
    return answer_error(status, first.code, first.message, verdict.problems)


def answer_batch(verdicts: Sequence[Verdict], lists_accepted: bool) -> Answer:
    """200 with a verdict per event when at least one (or none was sent) is accepted; 400 when all are refused.

    SDKs drop a batch at 400 and tell the application, which is right: the same bytes would be refused again. A batch
    with accepted events must never be a 400, or they would be counted as lost by the sender although they are stored.
    """
    accepted = sum(isinstance(verdict, Accepted) for verdict in verdicts)
    events = [
        _event(place, verdict)
        for place, verdict in enumerate(verdicts)
        if lists_accepted or isinstance(verdict, Refused) or verdict.remarks
    ]
    body: dict[str, object] = {"success": True, "accepted": accepted, "rejected": len(verdicts) - accepted}
    if verdicts and not accepted:
        problems = (problem for verdict in verdicts if isinstance(verdict, Refused) for problem in verdict.problems)
        body = {
            "code": "batch_refused",
            "message": ANSWER_CODES["batch_refused"],
            "errors": [_error(problem) for problem in islice(problems, MAX_ERRORS)],
        } | body | {"success": False}  # fmt: skip
    return Answer(400 if verdicts and not accepted else 200, encode_json(body | {"events": events}))


def _event(place: int, verdict: Verdict) -> dict[str, object]:
    if isinstance(verdict, Accepted):
        event: dict[str, object] = {"index": place, "messageId": verdict.touchpoint.event_id, "accepted": True}
        if verdict.remarks:
            event["remarks"] = [_error(problem) for problem in verdict.remarks]
        return event
    errors = [_error(problem) for problem in verdict.problems]
    return {"index": place, "messageId": verdict.event_id, "accepted": False, "errors": errors}


def _error(problem: Problem) -> dict[str, str]:
    return {"field": problem.field, "rule": problem.code, "message": problem.message}
