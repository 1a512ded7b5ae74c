"""`touchstream rebuild` on a large deployment: is everything in Redis as it was, and how long did that take?

`python -m tests.bench.rebuild [--events N] [--rate N] [--again]`: the real services take N touchpoints of the
benchmark's traffic, and one in a hundred of everything else that happens to customers (splits, erasures, dead
letters); they end, Redis is written down, emptied, rebuilt, and compared key by key. On Apache Kafka (Java 17, Maven),
ports of its own and a folder of its own (TOUCHSTREAM_LOCAL_STATE_DIR). Exit code 1 when a key differs. `--again`: once
more on what the last run left.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from cli.bench.load import send
from cli.bench.workload import BATCH, Workload
from deploy.local.child import Child, spawn
from deploy.local.idle import Look, wait_idle
from deploy.local.processes import SERVICES, Spec, ingest_port, local_stack, metrics_urls
from deploy.local.settings import ROOT, LocalSettings, child_environment, local_settings
from deploy.local.stack import setup
from services.chassis.clickhouse import connect
from services.chassis.testing.waiting import free_port, wait_for
from tests.integration.rebuild_lab import Lab
from tests.integration.redis_dump import differences

STATE = Path(os.environ.get("TOUCHSTREAM_LOCAL_STATE_DIR", Path(tempfile.gettempdir()) / "touchstream-bench-rebuild"))
SLICE = 20_000
# Of every slice: what the benchmark's traffic does not do.
STORY = 200
# Destinations whose queue is empty, and sends of the last minute that limit the next ones.
LEFT_OUT = ("{notify}:queues", "{notify}:rate:")
SHOWN = 10


class Stack:
    """The processes of one deployment. Services are started and ended as a whole."""

    def __init__(self) -> None:
        own = {f"TOUCHSTREAM_{name.upper()}_METRICS_PORT": str(free_port()) for name, _, _ in SERVICES}
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TOUCHSTREAM_")}, **own,
            "TOUCHSTREAM_INGEST_PORT": str(free_port()), "TOUCHSTREAM_NOTIFY_SINK_PORT": str(free_port()),
            "TOUCHSTREAM_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
            "TOUCHSTREAM_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
            "TOUCHSTREAM_CLICKHOUSE_URL": f"http://127.0.0.1:{free_port()}",
            "TOUCHSTREAM_LOCAL_STATE_DIR": str(STATE), "TOUCHSTREAM_LOCAL_BROKER": "apache",
            "TOUCHSTREAM_LOCAL_APPENDFSYNC": "always", "TOUCHSTREAM_PARTITIONS": "4",
            # As a deployment has it: every new version has all customers looked at again.
            "TOUCHSTREAM_PROFILE_THRESHOLDS_INTERVAL_S": "300",
        }  # fmt: skip
        self.settings: LocalSettings = local_settings(self.environ)
        self.told = child_environment(self.settings, self.environ)
        self._running: list[Child] = []

    def __enter__(self) -> "Stack":
        self._start([spec for spec in self._specs() if spec.is_backend])
        setup(self.settings, self.told)
        return self

    def __exit__(self, *_: object) -> None:
        self._end(self._running)

    def _specs(self) -> list[Spec]:
        return local_stack(self.settings, self.environ)

    def _start(self, specs: list[Spec]) -> list[Child]:
        started = []
        for spec in specs:
            spec.before()
            environ = {**self.told, **spec.environ}
            started.append(spawn(spec.name, spec.command, environ, self.settings.logs_dir, self.settings.run_dir))
            self._running.append(started[-1])
        for spec in specs:
            wait_for(spec.is_ready, f"{spec.name} answers", self.settings.ready_timeout_s, 0.2)
        return started

    def _end(self, children: list[Child]) -> None:
        for child in reversed(children):
            child.terminate()
            child.wait(30.0)
        self._running = [child for child in self._running if child not in children]

    def fill(self, events: int, rate: int) -> None:
        """Send so many touchpoints through all services, and end these when nothing is left to do."""
        services = self._start([spec for spec in self._specs() if not spec.is_backend])
        bodies, lab = Workload(42, "r").batches(), Lab(self.settings)
        port = ingest_port(self.environ)
        started = time.monotonic()
        for number, first in enumerate(range(0, events, SLICE)):
            lab.story(number, STORY)
            part = list(islice(bodies, min(SLICE, events - first) // BATCH))
            send(f"http://{port.host}:{port.number}", "local", part, BATCH / rate)
            print(f"sent {first + len(part) * BATCH:,} in {time.monotonic() - started:.0f} s", flush=True)
        left = wait_idle(Look(self.settings, metrics_urls(self.environ)), 3_600.0, 2.0)
        assert not left, left
        print(f"worked off after {time.monotonic() - started:.0f} s", flush=True)
        self._end(services)

    def rebuild(self) -> "resource.struct_rusage":
        """Run the command as an operator would; what it used."""
        command = [sys.executable, "-c", "from cli.main import main; main()", "rebuild"]
        process = subprocess.Popen(command, env={**self.told, "COLUMNS": "140"}, cwd=ROOT)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"the rebuild ended with {os.waitstatus_to_exitcode(status)}")
        return used


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rebuild")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=4_000, help="events per second offered")
    parser.add_argument("--again", action="store_true", help="on what the last run left")
    given = parser.parse_args()
    if not given.again:
        shutil.rmtree(STATE, ignore_errors=True)
    with Stack() as stack:
        if not given.again:
            stack.fill(given.events, given.rate)
        lab = Lab(stack.settings)
        before = lab.dump()
        _say_what_there_is(stack, before)
        lab.lose()
        load = os.getloadavg()[0]
        used = stack.rebuild()
        found = differences(before, lab.dump(), LEFT_OUT)
    cpu_s = used.ru_utime + used.ru_stime
    print(f"CPU {cpu_s:.0f} s, peak memory {used.ru_maxrss / 1024:,.0f} MB; load of the machine before {load:.1f}")
    print(f"{len(before):,} keys compared, {len(found)} differ")
    for line in found[:SHOWN]:
        print(line[:600])
    sys.exit(1 if found else 0)


def _say_what_there_is(stack: Stack, before: dict[str, Any]) -> None:
    tables = ("events_raw", "identity_changes_raw", "triggers_raw", "deliveries_raw")
    asked = ", ".join(f"(SELECT count() FROM {table}) AS {table}" for table in tables)
    (row,) = connect(stack.settings).query_rows(f"SELECT {asked}")
    print(f"{len(before):,} keys in Redis; rows in ClickHouse: {row}", flush=True)


if __name__ == "__main__":
    main()
