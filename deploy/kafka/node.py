"""One node, broker and controller in one process: its properties, its empty log, and the command line that runs it."""

import shutil
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.kafka import jars

BASE = Path(__file__).resolve().parent / "broker.properties"
HOST = "127.0.0.1"
# Small and quick to start: a quick compiler only (half the CPU of a start), a collector without threads of its own.
JVM = ("-Xms128m", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xshare:auto")
# What first_start.py leaves for later ones.
CLASSES, CHECKPOINT = "classes.jsa", "bootstrap.checkpoint"
LOGGER = "org.slf4j.simpleLogger"


@dataclass(frozen=True, slots=True)
class Link:
    """A listener for one client: where the broker listens, and the port it tells that client (a proxy's)."""

    listen_port: int
    advertised_port: int


@dataclass(frozen=True, slots=True)
class Node:
    """Where one node listens and keeps its log. `voters`: node id → controller port of the whole cluster."""

    number: int
    folder: Path
    port: int
    voters: Mapping[int, int]
    links: Mapping[str, Link] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """The folder of its log."""
        return self.folder / f"node-{self.number}"

    @property
    def config(self) -> Path:
        """Its properties file."""
        return self.folder / f"node-{self.number}.properties"

    def properties(self) -> str:
        """The text of its properties file."""
        copies, names = min(3, len(self.voters)), {name: name.upper().replace("-", "_") for name in self.links}
        listeners = [("PLAIN", self.port, self.port)]
        listeners += [(names[name], link.listen_port, link.advertised_port) for name, link in self.links.items()]
        controller = f"CONTROLLER://{HOST}:{self.voters[self.number]}"
        kinds = [f"{name}:PLAINTEXT" for name in ("CONTROLLER", *(name for name, _, _ in listeners))]
        mine = {
            "node.id": self.number,
            "listeners": ",".join([*(f"{name}://{HOST}:{port}" for name, port, _ in listeners), controller]),
            "advertised.listeners": ",".join(f"{name}://{HOST}:{port}" for name, _, port in listeners),
            "listener.security.protocol.map": ",".join(kinds),
            "controller.quorum.voters": ",".join(f"{n}@{HOST}:{port}" for n, port in self.voters.items()),
            "log.dirs": self.data,
            "default.replication.factor": copies,
            # All but one must have a record before it counts as written, as for our own topics.
            "min.insync.replicas": max(1, copies - 1),
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": max(1, copies - 1),
        }
        return BASE.read_text(encoding="utf-8") + "".join(f"{name}={value}\n" for name, value in mine.items())

    def write(self, cluster_id: str) -> None:
        """Its properties, and what `StorageTool format` leaves, without a start of Java; a log that is there stays.

        The checkpoint may be that of any node of this version: it holds the levels of its features only.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        self.config.write_text(self.properties(), encoding="utf-8")
        meta = self.data / "meta.properties"
        if not meta.exists():
            shutil.copy(jars.first_start(JVM) / CHECKPOINT, self.data / CHECKPOINT)
            lines = (f"node.id={self.number}", f"directory.id={new_id()}", "version=1", f"cluster.id={cluster_id}")
            meta.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def format_command(self, cluster_id: str) -> list[str]:
        """Makes its empty log."""
        tool = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster_id, "--config", str(self.config)]
        return [*_java(()), *tool]

    def run_command(self, options: tuple[str, ...] = ()) -> list[str]:
        """Runs it in the foreground. `options` of Java; without any, the classes of the first start are taken."""
        known = (f"-XX:SharedArchiveFile={jars.first_start(JVM) / CLASSES}",)
        return [*_java(options or known), "kafka.Kafka", str(self.config)]


def new_id() -> str:
    """An id in Kafka's own form; none that begins with '-', which would read as an option."""
    while (made := urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return made


def _java(options: tuple[str, ...]) -> list[str]:
    dates = (f"-D{LOGGER}.showDateTime=true", f"-D{LOGGER}.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX")
    return [jars.tool("java"), *JVM, *options, *dates, "-cp", jars.classpath()]
