"""A report of the producer that raised: nobody asked for the others any more, until another request came."""

import asyncio
from collections.abc import Callable
from typing import Any

from services.ingest.adapters import KafkaPublisher, Outgoing


class OnceBroken:
    """A producer whose first poll raises; the next one reports everything as written."""

    def __init__(self) -> None:
        self.polls = 0
        self._reports: list[Callable[[Any, Any], None]] = []

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, report: Callable[[Any, Any], None]) -> None:
        self._reports.append(report)

    def poll(self, timeout_s: float) -> None:
        self.polls += 1
        if self.polls == 1:
            raise RuntimeError("a report failed")
        for report in self._reports:
            report(None, None)
        self._reports.clear()


async def test_a_report_that_fails_does_not_silence_the_others() -> None:
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    publisher = KafkaPublisher(OnceBroken())
    stored = publisher.publish([Outgoing("touchpoints", 0, b"k", b"v")], lambda: None)
    async with asyncio.timeout(10):
        await stored
    assert publisher.unacknowledged == 0
