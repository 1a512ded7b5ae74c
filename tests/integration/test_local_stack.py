"""The whole local stack, as a user runs it: real processes, own ports and folder, through the command line."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx
import pytest

from deploy.local import pidfile
from deploy.local.processes import SERVICES
from deploy.local.settings import ROOT
from tests.backends import CHOSEN, chosen

TOUCHSTREAM = str(Path(sys.executable).parent / "touchstream")
NAMES = ["broker", "valkey", "clickhouse", *(name for name, _, _ in SERVICES)]
pytestmark = pytest.mark.timeout(600)


class Stack:
    """One state folder and its ports; runs commands and looks at the outcome."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        names = ["INGEST_PORT", "NOTIFY_SINK_PORT", *(f"{name.upper()}_METRICS_PORT" for name, _, _ in SERVICES)]
        ports = _free_ports(len(names) + 3)
        self.kafka, self.redis, self.clickhouse = ports[:3]
        own = {f"TOUCHSTREAM_{name}": str(port) for name, port in zip(names, ports[3:], strict=True)}
        self.ingest = own["TOUCHSTREAM_INGEST_PORT"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TOUCHSTREAM_")}
        self.environ = clean | own | chosen() | {
            "TOUCHSTREAM_LOCAL_STATE_DIR": str(self.state),
            "TOUCHSTREAM_LOCAL_READY_TIMEOUT_S": "120",
            "TOUCHSTREAM_KAFKA_BOOTSTRAP": f"127.0.0.1:{self.kafka}",
            "TOUCHSTREAM_REDIS_URL": f"redis://127.0.0.1:{self.redis}/0",
            "TOUCHSTREAM_CLICKHOUSE_URL": f"http://127.0.0.1:{self.clickhouse}",
        }  # fmt: skip

    def run(self, *args: str) -> "subprocess.CompletedProcess[str]":
        """`touchstream ARGS`."""
        return subprocess.run(
            [TOUCHSTREAM, *args], env=self.environ, cwd=ROOT, capture_output=True, text=True, timeout=300
        )

    def must(self, *args: str) -> str:
        """`touchstream ARGS`, which has to succeed; its standard output."""
        done = self.run(*args)
        assert done.returncode == 0, f"{args}: {done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def status(self) -> dict[str, Any]:
        """`touchstream status --json`."""
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    def processes(self) -> list[pidfile.Started]:
        """What the stack has written down as running."""
        return pidfile.remembered(self.state / "run")

    def send(self, start: int, count: int) -> None:
        """Events of `count` visitors, numbered from `start`, each of them a customer of its own."""
        batch = [
            {"type": "track", "event": "Product Viewed", "anonymousId": f"visitor-{n}", "messageId": f"m-{n}"}
            for n in range(start, start + count)
        ]
        answer = httpx.post(
            f"http://127.0.0.1:{self.ingest}/v1/batch", json={"batch": batch}, auth=("local", ""), timeout=30
        )
        assert answer.status_code == 200, answer.text

    def archived(self) -> tuple[int, int]:
        """Events in ClickHouse and how many different ones."""
        client = clickhouse_connect.get_client(host="127.0.0.1", port=self.clickhouse, database="touchstream")
        row = client.query("SELECT count(), uniqExact(event_id) FROM events").result_rows[0]
        client.close()
        return int(row[0]), int(row[1])

    def logs(self) -> str:
        """The end of every log, for failures."""
        paths = sorted((self.state / "logs").glob("*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in paths)


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path)
    yield made
    left = [known for known in made.processes() if pidfile.is_running(known)]
    for known in reversed(left):
        pidfile.end(known, 1.0)


def _until(condition: Callable[[], object], stack: Stack, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, stack.logs()
        time.sleep(0.1)


def test_events_survive_a_killed_service_and_a_restart_of_the_stack(stack: Stack) -> None:
    stack.must("up", "--detach")
    status = stack.status()
    assert status["running"]
    assert [one["name"] for one in status["processes"]] == NAMES
    assert {one["state"] for one in status["processes"]} == {"running"}

    second = stack.run("up")
    assert second.returncode == 1
    assert "already runs" in second.stderr

    stack.send(0, 300)
    victim = next(known for known in stack.processes() if known.name == "profile")
    os.kill(victim.pid, signal.SIGKILL)
    stack.send(300, 300)
    _until(lambda: next(one for one in stack.status()["processes"] if one["name"] == "profile")["restarts"] == 1, stack)
    stack.must("wait-idle", "--timeout", "90")
    assert stack.archived() == (600, 600)

    before = stack.processes()
    assert {known.name for known in before} == {"supervisor", *NAMES}
    stack.must("down")
    assert not any(pidfile.is_running(known) for known in before)
    assert (stack.state / "drained").exists()
    assert stack.run("status").returncode == 1

    # A new broker with empty topics; Valkey and ClickHouse as they were.
    assert "not drained" not in stack.must("up", "--detach")
    stack.send(600, 100)
    stack.must("wait-idle", "--timeout", "90")
    assert stack.archived() == (700, 700)

    supervisor = next(known for known in stack.processes() if known.name == "supervisor")
    known = stack.processes()
    os.kill(supervisor.pid, signal.SIGKILL)
    _until(lambda: not any(pidfile.is_running(one) for one in known), stack)
    assert stack.run("status").returncode == 1
    assert "no local stack" in stack.must("down")


@pytest.mark.skipif(CHOSEN == "tansu", reason="Tansu's topics are in memory: what is not drained is gone")
def test_on_a_durable_broker_a_stack_that_was_killed_goes_on_where_it_was(stack: Stack) -> None:
    for start in (0, 300):
        assert "gone" not in stack.must("up", "--detach")
        stack.send(start, 300)
        # Hardly anything of it is in ClickHouse yet.
        (supervisor,) = (known for known in stack.processes() if known.name == "supervisor")
        known = stack.processes()
        os.kill(supervisor.pid, signal.SIGKILL)
        _until(lambda known=known: not any(pidfile.is_running(one) for one in known), stack)  # type: ignore[misc]
        assert not (stack.state / "drained").exists()
    stack.must("up", "--detach")
    stack.must("wait-idle", "--timeout", "90")
    assert stack.archived() == (600, 600)
    stack.must("down")


def test_the_foreground_drains_and_stops_on_ctrl_c(stack: Stack) -> None:
    process = subprocess.Popen([TOUCHSTREAM, "up"], env=stack.environ, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    _until(lambda: (stack.state / "ready").exists() or process.poll() is not None, stack, 150)
    stack.send(0, 500)
    known = stack.processes()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output + stack.logs()
    assert "every event was worked off" in output
    assert not any(pidfile.is_running(one) for one in known)
    assert stack.processes() == []


def test_a_taken_port_is_named(stack: Stack) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(stack.ingest)))
        other.listen()
        both = [stack.run("up"), stack.run("up", "--detach")]
    for done in both:
        assert done.returncode == 1
        assert f"port {stack.ingest} on 127.0.0.1 is in use" in done.stderr
        assert "TOUCHSTREAM_INGEST_PORT" in done.stderr
    assert stack.processes() == []
