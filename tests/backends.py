"""The broker that tests run on, and any backend as a process of a test's own.

TOUCHSTREAM_TEST_KAFKA=apache puts integration and end-to-end tests on Apache Kafka (`make test-kafka`); without it they
run on the local stack's own broker. Every test that wants an empty broker gets a new one: it is there within 2 s.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from deploy.local import broker
from deploy.local.child import spawn
from deploy.local.settings import LocalSettings
from services.chassis.testing.waiting import wait_for
from services.chassis.topics import create_topics, load_topics

CHOSEN = os.environ.get("TOUCHSTREAM_TEST_KAFKA", "tansu")
# On Apache Kafka as in production: what is acknowledged is on the disk of Valkey.
VARIABLES = {
    "tansu": {"TOUCHSTREAM_LOCAL_BROKER": "tansu"},
    "apache": {"TOUCHSTREAM_LOCAL_BROKER": "apache", "TOUCHSTREAM_LOCAL_APPENDFSYNC": "always"},
}
if CHOSEN not in VARIABLES:
    raise ValueError(f"TOUCHSTREAM_TEST_KAFKA={CHOSEN!r}: one of {', '.join(VARIABLES)}")


def chosen() -> dict[str, str]:
    """The variables of the local stack that choose it."""
    return dict(VARIABLES[CHOSEN])


@contextmanager
def running(
    name: str, command: Sequence[str], settings: LocalSettings, environ: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process with its log in the state folder; killed at the end, and with the tests should they be killed."""
    child = spawn(name, command, {**os.environ, **(environ or {})}, settings.logs_dir, settings.run_dir)
    try:
        yield child.process
    finally:
        child.process.kill()
        child.wait(0)


@contextmanager
def running_broker(settings: LocalSettings, partitions: int = 0) -> Iterator["subprocess.Popen[bytes]"]:
    """The broker of these settings; `partitions`: with every topic, of so many each."""
    broker.prepare(settings)
    with running("broker", broker.command(settings), settings, broker.environment(settings)) as process:
        wait_for(lambda: broker.is_ready(settings), "the broker answers", 90)
        if partitions:
            create_topics(settings.kafka_bootstrap, load_topics().values(), partitions)
        yield process
