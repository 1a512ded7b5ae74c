"""Logs: JSON lines on stderr, and a storm of one failure stays readable."""

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from services.chassis import logs
from services.chassis.logs import limited


class Lines:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append(("error", event, fields))


@pytest.fixture
def clock() -> Any:
    now = SimpleNamespace(value=100.0)
    with patch.object(logs, "time", SimpleNamespace(monotonic=lambda: now.value)):
        yield now


def test_the_same_event_is_logged_at_most_once_a_second_with_a_count(clock: Any) -> None:
    lines = Lines()
    one = limited(lines)
    for _ in range(5):
        one.warning("redis.away", attempt=1)
        clock.value += 0.25
    assert lines.lines == [
        ("warning", "redis.away", {"attempt": 1}),
        ("warning", "redis.away", {"attempt": 1, "suppressed": 3}),
    ]


def test_another_event_is_not_held_back(clock: Any) -> None:
    lines = Lines()
    one = limited(lines)
    one.error("kafka.away")
    one.error("kafka.away")
    one.warning("redis.away")
    assert [event for _, event, _ in lines.lines] == ["kafka.away", "redis.away"]


def test_after_quiet_the_count_begins_anew(clock: Any) -> None:
    lines = Lines()
    one = limited(lines)
    one.error("kafka.away")
    clock.value += 60
    one.error("kafka.away")
    assert [fields for _, _, fields in lines.lines] == [{}, {}]


def test_lines_are_json_on_stderr_below_the_level_nothing() -> None:
    code = (
        "from services.chassis.logs import configure_logs, get_logger\n"
        "import logging\n"
        "configure_logs('rules', 'warning')\n"
        "get_logger().info('too.quiet')\n"
        "get_logger().warning('rule.failed', rule='welcome')\n"
        "logging.getLogger('lib').warning('of a library')\n"
        "try: 1/0\n"
        "except ZeroDivisionError as error: get_logger().error('it.broke', exc_info=error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    first, library, last = [json.loads(line) for line in done.stderr.splitlines()]
    assert (first["event"], first["service"], first["level"], first["rule"]) == (
        "rule.failed", "rules", "warning", "welcome",
    )  # fmt: skip
    assert first["timestamp"].endswith("Z")
    assert library["event"] == "library.log"
    assert "ZeroDivisionError" in last["exception"]


def test_what_a_library_logs_is_one_json_line_whatever_it_says() -> None:
    code = (
        "from services.chassis.logs import configure_logs\n"
        "import logging\n"
        "configure_logs('rules')\n"
        "logging.getLogger('lib').warning('it said \"no\"\\nand %s', 'more\\\\')\n"
        "try: raise ValueError('li@example.com')\n"
        "except ValueError: logging.getLogger('lib').exception('it broke')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [json.loads(line) for line in done.stderr.splitlines()] == [
        {"level": "warning", "event": "library.log", "service": "rules", "text": 'lib: it said "no"\nand more\\'},
        {"level": "error", "event": "library.log", "service": "rules", "text": "lib: it broke", "error": "ValueError"},
    ]


def test_a_broker_that_refuses_is_one_json_line_of_the_kafka_client_too() -> None:
    code = (
        "from services.chassis.kafka.client import producer\n"
        "from services.chassis.logs import configure_logs\n"
        "import logging, socket, time\n"
        "configure_logs('rules')\n"
        "with socket.socket() as taken:\n"
        "    taken.bind(('127.0.0.1', 0))\n"
        "    client = producer(f'127.0.0.1:{taken.getsockname()[1]}', 'test')\n"
        "    said, end = [], time.monotonic() + 30\n"
        "    logging.getLogger('librdkafka').addFilter(lambda record: said.append(record) or True)\n"
        "    while not said and time.monotonic() < end: client.poll(0.1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert lines
    assert {line["event"] for line in lines} == {"library.log"}
    assert "Connect to" in lines[0]["text"]
