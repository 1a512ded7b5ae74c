"""Apache Kafka on this machine: one broker or three, each of which can be killed, frozen and started again.

The data stay in the folder: whoever opens it again finds topics, records, offsets and the same cluster id. Every
process is a child of this one and dies with it; only the main thread may start one (deploy/local/child.py says why).
"""

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from deploy.kafka import jars
from deploy.kafka.first_start import record, until
from deploy.kafka.node import HOST, JVM, Link, Node, new_id
from deploy.kafka.ports import free_ports
from deploy.kafka.quorum import active_controller
from deploy.local import pidfile
from deploy.local.child import Child, spawn
from services.chassis.errors import Fatal
from services.chassis.kafka.brokers import leader, live_brokers

# A start takes 1 s; on two busy cores and after a kill -9 with much to check, many times that.
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 10.0
# Of three that end at once, the last wait 5 s for a quorum that is no more. Acknowledged records survive a kill.
CLOSE_TIMEOUT_S = 1.0


class Cluster:
    """Brokers 1 to n. `links`: name → {broker: the port its clients are told}, a listener of its own for each name."""

    def __init__(
        self, folder: Path, brokers: int = 1, links: Mapping[str, Mapping[int, int]] | None = None, port: int = 0
    ) -> None:
        """Choose ports, write nothing yet. `port`: of broker 1, the others follow; 0: free ones."""
        if brokers not in (1, 3):
            raise Fatal(f"{brokers} brokers: one, or three, of which any one may fail")
        wanted, numbers = links or {}, range(1, brokers + 1)
        ports = iter(free_ports(brokers * (2 + len(wanted))))
        plain = {number: port + number - 1 if port else next(ports) for number in numbers}
        voters = {number: next(ports) for number in numbers}
        self.folder = folder
        self._nodes = {
            number: Node(
                number, folder, plain[number], voters,
                {name: Link(next(ports), told[number]) for name, told in wanted.items()},
            )
            for number in numbers
        }  # fmt: skip
        self._children: dict[int, Child] = {}

    @property
    def numbers(self) -> list[int]:
        """The brokers' ids, from 1."""
        return list(self._nodes)

    @property
    def bootstrap(self) -> str:
        """host:port of every broker, past all links."""
        return ",".join(f"{HOST}:{node.port}" for node in self._nodes.values())

    def port(self, number: int) -> int:
        """Where a broker listens, past all links."""
        return self._nodes[number].port

    def link_port(self, link: str, number: int) -> int:
        """Where a broker listens for this link; what stands before it connects here."""
        return self._nodes[number].links[link].listen_port

    def link_bootstrap(self, link: str) -> str:
        """What the clients of a link are given: the advertised ports of all brokers."""
        return ",".join(f"{HOST}:{node.links[link].advertised_port}" for node in self._nodes.values())

    def command(self, number: int) -> list[str]:
        """The command line of a broker, for those who run it themselves, after prepare()."""
        return self._nodes[number].run_command()

    def prepare(self) -> None:
        """Have the jars, and write the brokers' properties and, where they have none, empty logs. Main thread only."""
        jars.fetch()
        jars.record_first_start(JVM, record)
        self.folder.mkdir(parents=True, exist_ok=True)
        mark = self.folder / "cluster.json"
        if not mark.exists():
            mark.write_text(json.dumps({"cluster_id": new_id(), "brokers": len(self._nodes)}), encoding="utf-8")
        known = json.loads(mark.read_text(encoding="utf-8"))
        if known["brokers"] != len(self._nodes):
            raise Fatal(f"{self.folder} was made for {known['brokers']} broker(s), not {len(self._nodes)}")
        for node in self._nodes.values():
            node.write(known["cluster_id"])

    def start(self) -> None:
        """Start all brokers and wait until each sees all others. Raises Fatal with a log's last lines."""
        for left in pidfile.remembered(self._run_dir):
            pidfile.end(left, STOP_TIMEOUT_S)
            pidfile.forget(self._run_dir, left.name)
        self.prepare()
        for number in self._nodes:
            self._spawn(number)
        for number in self._nodes:
            self.wait_ready(number)

    def close(self, patience_s: float = CLOSE_TIMEOUT_S) -> None:
        """End all brokers at once; those that have not ended by themselves after patience_s are killed."""
        for number, child in self._children.items():
            self.cont(number)
            child.terminate()
        deadline = time.monotonic() + patience_s
        for child in self._children.values():
            child.wait(max(0.0, deadline - time.monotonic()))
        self._children.clear()

    def __enter__(self) -> "Cluster":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def kill(self, number: int) -> None:
        """kill -9, and wait until it is gone; also a frozen one."""
        self._signal(number, signal.SIGKILL)
        self._children.pop(number).wait(STOP_TIMEOUT_S)

    def term(self, number: int) -> None:
        """Ask it to end (SIGTERM) and wait; it hands its partitions over first."""
        child = self._children.pop(number)
        child.terminate()
        child.wait(STOP_TIMEOUT_S)

    def stop(self, number: int) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing is answered."""
        self._signal(number, signal.SIGSTOP)

    def cont(self, number: int) -> None:
        """Let it go on (SIGCONT); nothing happens when it is not frozen or has ended."""
        if self.is_running(number):
            self._signal(number, signal.SIGCONT)

    def start_again(self, number: int, wait: bool = True) -> None:
        """Start a broker that was killed, on its data; `wait`: until it serves."""
        if self.is_running(number):
            raise Fatal(f"broker {number} still runs (pid {self._children[number].pid})")
        self._spawn(number)
        if wait:
            self.wait_ready(number)

    def is_running(self, number: int) -> bool:
        """Whether its process is there, frozen or not."""
        return number in self._children and self._children[number].process.poll() is None

    def pid(self, number: int) -> int:
        """Its process id."""
        return self._children[number].pid

    def log(self, number: int) -> Path:
        """What it wrote, over all its lives."""
        return self.folder / "logs" / f"kafka-{number}.log"

    def wait_ready(self, number: int, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until it takes requests and sees all running brokers. Raises Fatal when it ended or is too slow."""
        address, child = f"{HOST}:{self._nodes[number].port}", self._children[number]

        def sees_all() -> bool:
            if child.process.poll() is not None:
                raise Fatal(
                    f"broker {number} ended with {child.process.returncode}; {child.log}:\n{child.last_words()}"
                )
            return live_brokers(address) >= {other for other in self._nodes if self.is_running(other)}

        if not until(sees_all, timeout_s):
            raise Fatal(f"broker {number} is not ready after {timeout_s:.0f} s; {child.log}:\n{child.last_words()}")

    def leader_of(self, topic: str, partition: int) -> int:
        """The broker that leads a partition; -1 while none does."""
        return leader(self._running_bootstrap(), topic, partition)

    @property
    def controller(self) -> int:
        """The node whose controller is active; -1 while none is or nobody who could say answers."""
        ports = [self._nodes[number].port for number in self._nodes if self.is_running(number)]
        return next((found for port in ports if (found := active_controller(HOST, port)) > 0), -1)

    @property
    def _run_dir(self) -> Path:
        return self.folder / "run"

    def _running_bootstrap(self) -> str:
        return ",".join(f"{HOST}:{node.port}" for number, node in self._nodes.items() if self.is_running(number))

    def _signal(self, number: int, what: signal.Signals) -> None:
        os.kill(self._children[number].pid, what)

    def _spawn(self, number: int) -> None:
        name, logs = f"kafka-{number}", self.folder / "logs"
        self._children[number] = spawn(name, self.command(number), os.environ, logs, self._run_dir)
