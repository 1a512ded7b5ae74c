"""What libraries do not do by themselves: end when told to, and say the same thing only now and then."""

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Coroutine
from typing import Any, NoReturn

LEFTOVERS_S = 2.0
SAME_LINE_S = 5.0


def run_to_end(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on an event loop of its own; what it leaves behind gets LEFTOVERS_S and is then abandoned.

    asyncio.run would wait for ever for a library's task that does not take its cancellation (aiokafka, broker away).
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main)
    finally:
        leftovers = asyncio.all_tasks(loop)
        for task in leftovers:
            task.cancel()
        if leftovers:
            loop.run_until_complete(asyncio.wait(leftovers, timeout=LEFTOVERS_S))


def leave(code: int) -> NoReturn:
    """End the process with this code, also when a thread of a library would keep it alive."""
    sys.stdout.flush()
    sys.stderr.flush()
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    if others:
        os._exit(code)
    sys.exit(code)


class _Seldom(logging.Filter):
    """Passes the same message of the same logger once in SAME_LINE_S."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key, now = (record.name, str(record.msg)), time.monotonic()
        if now - self._last.get(key, -SAME_LINE_S) < SAME_LINE_S:
            return False
        self._last[key] = now
        return True


def say_seldom() -> None:
    """Calm the standard library's log: aiokafka repeats itself ten times a second while a broker is away."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(found, _Seldom) for found in handler.filters):
            handler.addFilter(_Seldom())
