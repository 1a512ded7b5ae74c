"""Ending although a library does not, and a calm log."""

import asyncio
import io
import logging
import subprocess
import sys
import time

import pytest

from services.notify.process import run_to_end, say_seldom


def test_a_task_that_ignores_its_cancellation_does_not_keep_the_loop_alive() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        found.append(asyncio.create_task(stubborn()))
        await asyncio.sleep(0)

    found: list[asyncio.Task[None]] = []
    started = time.monotonic()
    run_to_end(main())
    assert time.monotonic() - started < 30
    assert not found[0].done()


def test_an_error_of_the_main_coroutine_is_handed_on() -> None:
    async def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_to_end(main())


@pytest.mark.parametrize("code", [0, 1])
def test_a_thread_that_never_ends_does_not_keep_the_process_alive(code: int) -> None:
    program = (
        "import threading, time\nfrom services.notify.process import leave\n"
        f"threading.Thread(target=time.sleep, args=(600,)).start()\nprint('bye')\nleave({code})"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (code, b"bye\n")


def test_the_same_line_of_a_library_is_logged_once_in_a_while() -> None:
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    logging.getLogger().addHandler(handler)
    try:
        say_seldom()
        say_seldom()
        for _ in range(100):
            logging.getLogger("aiokafka").error("Unable to connect %s", 1)
        logging.getLogger("aiokafka").error("another line")
    finally:
        logging.getLogger().removeHandler(handler)
        for other in logging.getLogger().handlers:
            other.filters.clear()
    assert lines.getvalue().splitlines() == ["Unable to connect 1", "another line"]
