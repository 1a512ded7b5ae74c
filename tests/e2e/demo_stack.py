"""`touchstream` on ports and a state folder of a test's own."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import clickhouse_connect

from cli.demo.journal import Journal, load
from deploy.local import pidfile
from deploy.local.processes import SERVICES
from deploy.local.settings import ROOT
from tests.backends import chosen

TOUCHSTREAM = str(Path(sys.executable).parent / "touchstream")


class DemoStack:
    """Runs commands against one state folder and looks at what they leave."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        names = ["INGEST_PORT", "NOTIFY_SINK_PORT", *(f"{name.upper()}_METRICS_PORT" for name, _, _ in SERVICES)]
        kafka, redis, self.clickhouse, *ports = _free_ports(len(names) + 3)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TOUCHSTREAM_")}
        self.environ = clean | {
            **chosen(),
            "TOUCHSTREAM_LOCAL_STATE_DIR": str(self.state),
            "TOUCHSTREAM_LOCAL_READY_TIMEOUT_S": "120",
            "TOUCHSTREAM_KAFKA_BOOTSTRAP": f"127.0.0.1:{kafka}",
            "TOUCHSTREAM_REDIS_URL": f"redis://127.0.0.1:{redis}/0",
            "TOUCHSTREAM_CLICKHOUSE_URL": f"http://127.0.0.1:{self.clickhouse}",
            **{f"TOUCHSTREAM_{name}": str(port) for name, port in zip(names, ports, strict=True)},
        }

    def start(self, *args: str) -> "subprocess.Popen[str]":
        """`touchstream ARGS` in the background; output and complaints on one pipe."""
        return subprocess.Popen(
            [TOUCHSTREAM, *args], env=self.environ, cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *args: str) -> tuple[int, str]:
        """`touchstream ARGS` to its end: exit code and output."""
        process = self.start(*args)
        output, _ = process.communicate(timeout=280)
        return process.returncode, output

    def journal(self) -> Journal | None:
        """What the demo has written down."""
        return load(self.state)

    def answered(self) -> int:
        """Batches of the current run that ingest has answered."""
        journal = self.journal()
        return len(journal.answered) if journal else 0

    def process(self, name: str) -> pidfile.Started | None:
        """The running process of that name."""
        known = {one.name: one for one in pidfile.remembered(self.state / "run")}
        return known[name] if name in known and pidfile.is_running(known[name]) else None

    def running(self) -> list[str]:
        """Names of the stack's processes that run."""
        return [one.name for one in pidfile.remembered(self.state / "run") if pidfile.is_running(one)]

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Rows from ClickHouse."""
        client = clickhouse_connect.get_client(host="127.0.0.1", port=self.clickhouse, database="touchstream")
        try:
            return [tuple(row) for row in client.query(sql).result_rows]
        finally:
            client.close()

    def logs(self) -> str:
        """The end of every log, for failures."""
        paths = sorted((self.state / "logs").glob("*.log"))
        return "\n".join(f"== {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in paths)

    def end(self) -> None:
        """End what is left, most downstream first."""
        for one in reversed(pidfile.remembered(self.state / "run")):
            pidfile.end(one, 1.0)


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
