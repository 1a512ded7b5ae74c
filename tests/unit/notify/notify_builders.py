"""Builders and doubles for notify's tests; each shows only what the test is about."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from services.chassis.records import Output
from services.notify.core.model import Content, Delivery, Outcome, Result
from services.notify.core.plan import Action, Route, Routes, Trigger
from services.notify.core.templates import Templates

NOW_MS = 1_750_000_000_000
CUSTOMER = "00000000-0000-5000-8000-000000000001"
FILES = {
    "hello/email.en.txt": "Subject: Hello {{ traits.name }}\n\nDear {{ traits.name }}.\n",
    "hello/email.en.html": "<p>Dear {{ traits.name }}.</p>",
    "hello/email.zh.txt": "Subject: 您好 {{ traits.name }}\n\n{{ traits.name }}，您好。\n",
    "hello/wecom.en.md": "**{{ traits.name }}**",
    "hello/webhook.json": '{"type": "hello", "data": {"name": "{{ traits.name }}", "at": "{{ fired_at }}"}}',
    "hello/text.en.txt": "{{ traits.name }} is here",
}


def delivery(delivery_id: str = "d1", **more: Any) -> Delivery:
    """A webhook delivery to `crm`."""
    base = Delivery(
        delivery_id, "t1", CUSTOMER, "welcome", "webhook", "crm", "crm", "hello",
        Content(subject="Hello", text="Dear Lena", body='{"a":1}', language="en"), "", NOW_MS, NOW_MS, NOW_MS,
    )  # fmt: skip
    return msgspec.structs.replace(base, **more)


def email_delivery(delivery_id: str = "d1", **more: Any) -> Delivery:
    """An e-mail to Lena."""
    content = Content("Hello", "Dear Lena", "<p>Dear Lena</p>", language="en")
    base = {"channel": "email", "destination": "mail", "to": "lena@example.com", "content": content}
    return delivery(delivery_id, **{**base, **more})


def trigger(*actions: Action, **more: Any) -> Trigger:
    """A trigger of Lena's registration."""
    base = Trigger(
        "t1", "welcome", CUSTOMER, "Registered", NOW_MS, NOW_MS, list(actions),
        {"traits": {"name": "Lena", "email": "lena@example.com"}}, {},
    )  # fmt: skip
    return msgspec.structs.replace(base, **more)


def trigger_record(*actions: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A record of the topic `triggers`, decoded."""
    return {
        "trigger_id": "t1", "rule": "welcome", "rule_version": "1", "customer_id": CUSTOMER, "anchor": "e1",
        "cause": "1.0.0", "event_id": "e1", "name": "Registered", "fired_at": NOW_MS, "accepted_at": NOW_MS,
        "actions": json.dumps(actions).encode(),
        "profile": json.dumps({"traits": {"name": "Lena", "email": "lena@example.com"}}).encode(),
        "properties": b"{}", **more,
    }  # fmt: skip


def routes() -> Routes:
    """Three destinations."""
    found = [Route("crm", "webhook", "en"), Route("mail", "email", "en"), Route("group", "wecom", "en")]
    return Routes({route.name: route for route in found}, {"sms": "group"})


def templates() -> Templates:
    """One template in every form."""
    return Templates(FILES)


def ok() -> Outcome:
    """Accepted."""
    return Outcome(Result.DELIVERED, provider_id="p1")


def busy(retry_after_ms: int = 0) -> Outcome:
    """Not now."""
    return Outcome(Result.TRANSIENT, "HTTP 503", retry_after_ms=retry_after_ms)


class ScriptedSender:
    """A channel that answers from a list (the last answer for ever) and remembers what it was asked to send."""

    def __init__(self, *answers: Outcome) -> None:
        self.answers = list(answers) or [ok()]
        self.sent: list[str] = []
        self.under_way = 0
        self.most_under_way = 0
        self.gate: asyncio.Event | None = None
        self.is_closed = False

    async def send(self, delivery: Delivery) -> Outcome:
        self.sent.append(delivery.delivery_id)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.gate is not None:
                await self.gate.wait()
            return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        finally:
            self.under_way -= 1

    async def close(self) -> None:
        self.is_closed = True


class MemoryLog:
    """Kafka as the handler sees it; `failures` are raised first."""

    def __init__(self, *failures: Exception, prefix: int = 1_000) -> None:
        self.failures = list(failures)
        self.prefix = prefix
        self.records: dict[tuple[str, int], list[Output]] = {}

    async def publish(self, topic: str, partition: int, outputs: Sequence[Output]) -> int:
        if self.failures:
            raise self.failures.pop(0)
        taken = list(outputs)[: self.prefix]
        self.records.setdefault((topic, partition), []).extend(taken)
        return len(taken)

    def numbers(self, topic: str, partition: int) -> list[int]:
        return [int(dict(o.headers)["seq"].split(b":")[1]) for o in self.records.get((topic, partition), [])]


async def until(condition: Callable[[], object | Awaitable[object]], what: str, timeout_s: float = 20.0) -> None:
    """Wait for a condition with a deadline, letting the event loop work."""
    deadline = time.monotonic() + timeout_s
    last: object = None
    while time.monotonic() < deadline:
        last = condition()
        if isinstance(last, Awaitable):
            last = await last
        if last:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{what}: not within {timeout_s:.0f} s, last seen {last!r}")
