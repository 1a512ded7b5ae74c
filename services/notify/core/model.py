"""The nouns of notify: an outcome of one send, a delivery on its way, and the record it ends as.

Pure data. A Delivery is stored in Redis before anything is sent (the INTENT); it carries the rendered content, so that
every attempt, also after a restart with other templates, sends the same bytes.
"""

from enum import StrEnum

import msgspec


class Status(StrEnum):
    """How a delivery ended, as the topic `deliveries` spells it."""

    DELIVERED = "delivered"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    UNKNOWN = "unknown"


class Result(StrEnum):
    """What one send came to."""

    DELIVERED = "delivered"  # the provider accepted it
    TRANSIENT = "transient"  # the provider did not take it and may later
    PERMANENT = "permanent"  # the provider will never take this message
    AMBIGUOUS = "ambiguous"  # it may or may not have taken it


class Outcome(msgspec.Struct, frozen=True):
    """One answer of a provider. `retry_after_ms` > 0 is the provider's own wish; `error` holds no address, no key."""

    result: Result
    error: str = ""
    provider_id: str = ""
    retry_after_ms: int = 0


class Content(msgspec.Struct, frozen=True):
    """Rendered content. Which parts are filled depends on the channel; `language` is the one that was found."""

    subject: str = ""
    text: str = ""
    html: str = ""
    body: str = ""  # JSON text, for webhooks
    language: str = ""


class Delivery(msgspec.Struct, frozen=True):
    """One action of one trigger, addressed and rendered. `status` is set when it ended before any send."""

    delivery_id: str
    trigger_id: str
    customer_id: str
    rule: str
    channel: str
    destination: str  # name in the destinations file; the queue it waits in
    label: str  # destination as people may see it, addresses masked
    template: str
    content: Content
    to: str
    fired_at: int
    accepted_at: int
    created_at: int  # ms, when notify planned it; retries are counted from here
    status: Status | None = None
    reason: str = ""


def delivery_record(
    delivery: Delivery, status: Status, attempts: int, error: str, provider_id: str, finished_at: int
) -> dict[str, object]:
    """The record of the topic `deliveries` (schemas/delivery/v1.avsc)."""
    return {
        "delivery_id": delivery.delivery_id,
        "trigger_id": delivery.trigger_id,
        "customer_id": delivery.customer_id,
        "rule": delivery.rule,
        "channel": delivery.channel,
        "destination": delivery.label,
        "status": str(status),
        "attempts": attempts,
        "error": error,
        "provider_id": provider_id,
        "fired_at": delivery.fired_at,
        "accepted_at": delivery.accepted_at,
        "finished_at": finished_at,
    }
