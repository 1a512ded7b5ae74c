"""The HTTP interface as tables (paths, limits, answers): the source of the routes, the OpenAPI document, the docs."""

from dataclasses import dataclass
from enum import Enum


class Limit(Enum):
    """Which size setting bounds an endpoint's body."""

    EVENT = "max_event_bytes"
    BATCH = "max_batch_bytes"
    IMPORT = "max_import_bytes"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A POST path. `type` is what every message sent there is; empty: each message says it itself.

    has_clock: an import whose times are the clock of its customers, see cli/replay/README.md.
    """

    path: str
    aliases: tuple[str, ...]
    type: str
    limit: Limit
    summary: str
    has_clock: bool = False


# The one-letter paths are those of Segment's browser SDK, /beacon is RudderStack's way to send while a page closes.
ENDPOINTS = (
    Endpoint("/v1/identify", ("/v1/i",), "identify", Limit.EVENT, "Who somebody is: identifiers and traits"),
    Endpoint("/v1/track", ("/v1/t",), "track", Limit.EVENT, "What somebody did: a named event with properties"),
    Endpoint("/v1/page", ("/v1/p",), "page", Limit.EVENT, "A page was viewed"),
    Endpoint("/v1/screen", ("/v1/s",), "screen", Limit.EVENT, "A screen of an app was viewed"),
    Endpoint("/v1/group", ("/v1/g",), "group", Limit.EVENT, "Somebody belongs to a group, e.g. a company"),
    Endpoint("/v1/alias", ("/v1/a",), "alias", Limit.EVENT, "Two ids are the same person"),
    Endpoint("/v1/batch", ("/v1/b", "/beacon/v1/batch"), "", Limit.BATCH, "Many messages at once, each with its type"),
    Endpoint(
        "/v1/import", (), "", Limit.IMPORT, "History: a batch, a JSON array or JSON lines; old times are accepted"
    ),
    Endpoint(
        "/v1/import/lived",
        (),
        "",
        Limit.IMPORT,
        "History in the order of its times: new customers live through it, what falls due in between included",
        True,
    ),
)

# Status → when. Every one has a body {"code", "message", "errors": [{"field", "rule", "message"}]} but 200.
ANSWERS: dict[int, str] = {
    200: "Stored: the broker has acknowledged every event (acks=all). A batch lists a verdict per event; some may be "
    "refused, they are kept with their reasons and sending them again unchanged would not help.",
    400: "Refused: malformed JSON, or no event of the request is acceptable. Kept with every reason; do not retry.",
    401: "No write key, or one that is unknown or expired.",
    408: "The body did not arrive in time. Retry.",
    413: "The body, or the one event in it, is too large.",
    429: "This write key sends more events than it may. Retry after `Retry-After` seconds.",
    503: "Nothing is promised: overloaded, stopping, or the broker did not acknowledge in time. "
    "Retry after `Retry-After` seconds with the same messageId; repetitions are dropped.",
}
# Codes of answers that are not about an event (those are in core/problems.py).
ANSWER_CODES: dict[str, str] = {
    "write_key_missing": "send the write key as Basic user, Bearer token or `writeKey` in the body",
    "write_key_unknown": "the write key is unknown or has expired",
    "batch_refused": "no event of the batch is acceptable; `events` has the reasons",
    "body_incomplete": "the body did not arrive in time or broke off",
    "rate_limited": "too many events for this write key",
    "overloaded": "more bytes under way than this server holds",
    "broker_unavailable": "the broker did not acknowledge in time",
    "starting": "the server has not reached its broker yet",
    "stopping": "the server is shutting down",
    "not_found": "no such path",
    "method_not_allowed": "this path takes another method",
    "internal_error": "a fault of the server, logged there",
}
RETRY_STATUSES = (408, 429, 503)
