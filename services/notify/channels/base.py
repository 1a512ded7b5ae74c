"""What every channel is: something that sends one delivery and says what the provider answered."""

import math
from email.utils import parsedate_to_datetime
from typing import Protocol

from services.notify.core.model import Delivery, Outcome, Result

# The endpoint, not the message, is at fault (credentials, address, overload): an operator can mend it within hours.
ENDPOINT_FAULTS = {401, 403, 404, 407, 408, 421, 423, 425, 429}
LONGEST_RETRY_AFTER_MS = 24 * 3_600_000


class Sender(Protocol):
    """A channel bound to one destination."""

    async def send(self, delivery: Delivery) -> Outcome:
        """One attempt; the same delivery always sends the same id and content. Returns, does not raise; the caller
        bounds the time and takes a cancelled send as ambiguous."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


def judge_http(status: int, retry_after: str | None, now_ms: int) -> Outcome:
    """An HTTP status as an outcome, for providers that say nothing more in the body."""
    if 200 <= status < 300:
        return Outcome(Result.DELIVERED)
    error = f"HTTP {status}"
    if status >= 500 or status in ENDPOINT_FAULTS or 300 <= status < 400:
        return Outcome(Result.TRANSIENT, error, retry_after_ms=read_retry_after(retry_after, now_ms))
    return Outcome(Result.PERMANENT, error)


def read_retry_after(value: str | None, now_ms: int) -> int:
    """The header Retry-After (seconds or an HTTP date, RFC 9110 §10.2.3) in ms; 0 when absent or unreadable."""
    if not value:
        return 0
    try:
        delay_ms = float(value) * 1_000
    except ValueError:
        try:
            delay_ms = parsedate_to_datetime(value).timestamp() * 1_000 - now_ms
        except (TypeError, ValueError, OverflowError):
            return 0
    return int(min(max(delay_ms, 0.0), LONGEST_RETRY_AFTER_MS)) if math.isfinite(delay_ms) else 0
