"""WeCom (企业微信) group robot: one JSON message to a group, at most 20 a minute per robot."""

import json
from collections.abc import Callable

import httpx

from services.chassis.http import client
from services.notify.channels.base import judge_http
from services.notify.channels.webhook import NOT_SENT
from services.notify.core.model import Delivery, Outcome, Result

MARKDOWN_BYTES = 4_096  # the provider's limit for markdown content
TEXT_BYTES = 2_048
BUSY = {-1: 1_000, 45009: 60_000, 45033: 5_000}  # errcode → ms to wait: busy, too many a minute, too many at once
# The message itself is refused: wrong type, empty, too long, invalid parameter, not UTF-8, not JSON.
REFUSED = {40008, 40033, 40035, 40058, 44004, 45002, 45008, 47001}


class WecomSender:
    """The robot's webhook address holds its key, so it is a secret and never part of an error text."""

    def __init__(self, url: str, kind: str, timeout_s: float, clock: Callable[[], int]) -> None:
        """kind: markdown or text."""
        self._url, self._kind, self._clock = url, kind, clock
        self._client = client(timeout_s, 2)

    def compose(self, delivery: Delivery) -> bytes:
        """The JSON, byte for byte the same on every attempt: WeCom drops an identical repeat."""
        limit = MARKDOWN_BYTES if self._kind == "markdown" else TEXT_BYTES
        content = cut_utf8(delivery.content.text.strip(), limit)
        return json.dumps({"msgtype": self._kind, self._kind: {"content": content}}, ensure_ascii=False).encode()

    async def send(self, delivery: Delivery) -> Outcome:
        """errcode 0 delivered; 45009 and other limits transient with their pause; refused content permanent."""
        headers = {"content-type": "application/json; charset=utf-8"}
        try:
            response = await self._client.post(self._url, content=self.compose(delivery), headers=headers)
        except NOT_SENT as error:
            return Outcome(Result.TRANSIENT, type(error).__name__)
        except httpx.HTTPError as error:
            return Outcome(Result.AMBIGUOUS, type(error).__name__)
        if response.status_code != 200:
            return judge_http(response.status_code, response.headers.get("retry-after"), self._clock())
        return judge_answer(response.content)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def judge_answer(body: bytes) -> Outcome:
    """The provider's JSON answer as an outcome. Other codes (key revoked, robot removed …) are the robot's fault."""
    try:
        code = int(json.loads(body)["errcode"])
    except (ValueError, KeyError, TypeError):
        return Outcome(Result.AMBIGUOUS, "WeCom answered 200 without an errcode")
    if code == 0:
        return Outcome(Result.DELIVERED)
    if code in REFUSED:
        return Outcome(Result.PERMANENT, f"WeCom errcode {code}")
    return Outcome(Result.TRANSIENT, f"WeCom errcode {code}", retry_after_ms=BUSY.get(code, 0))


def cut_utf8(text: str, limit_bytes: int) -> str:
    """The text within limit_bytes of UTF-8, never inside a character; an ellipsis where it was cut."""
    raw = text.encode()
    if len(raw) <= limit_bytes:
        return text
    return raw[: limit_bytes - len("…".encode())].decode(errors="ignore") + "…"
