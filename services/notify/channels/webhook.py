"""Signed webhooks after the Standard Webhooks specification: the receiver recognises a repeat by `webhook-id`."""

from collections.abc import Callable
from datetime import UTC, datetime

import httpx
from standardwebhooks.webhooks import Webhook

from services.chassis.http import client
from services.notify.channels.base import judge_http
from services.notify.core.model import Delivery, Outcome, Result

# Nothing has left this machine yet when these are raised; every other transport error may have come after acceptance.
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class WebhookSender:
    """POSTs the rendered JSON; the id is the delivery id every time, timestamp and signature are the attempt's."""

    def __init__(self, url: str, secret: str, timeout_s: float, concurrency: int, clock: Callable[[], int]) -> None:
        """Raises ValueError when the secret is not base64 (`whsec_…`)."""
        self._url = url
        self._signer = Webhook(secret)
        self._clock = clock
        self._client = client(timeout_s, concurrency)

    async def send(self, delivery: Delivery) -> Outcome:
        """2xx delivered; 5xx, 429 and faults of the endpoint transient; other 4xx permanent; lost answer ambiguous."""
        now_ms = self._clock()
        moment = datetime.fromtimestamp(now_ms // 1_000, UTC)
        body = delivery.content.body
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "touchstream-notify",
            "webhook-id": delivery.delivery_id,
            "webhook-timestamp": str(now_ms // 1_000),
            "webhook-signature": self._signer.sign(delivery.delivery_id, moment, body),
        }
        try:
            response = await self._client.post(self._url, content=body.encode(), headers=headers)
        except NOT_SENT as error:
            return Outcome(Result.TRANSIENT, type(error).__name__)
        except httpx.HTTPError as error:
            return Outcome(Result.AMBIGUOUS, type(error).__name__)
        return judge_http(response.status_code, response.headers.get("retry-after"), now_ms)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
