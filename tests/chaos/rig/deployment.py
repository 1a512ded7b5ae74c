"""The running system under test: real services on Apache Kafka, Valkey (`appendfsync always`) and ClickHouse's front.

Every process is a child of the main thread with a log of its own; whoever dies is started again by tick(), as an
orchestrator would, unless it was told to stay down. Between every service process and every backend stands a proxy.
Only the main thread may call anything here but names, links, urls and log().
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType

from deploy.kafka.cluster import Cluster
from deploy.local.probe import answers
from deploy.local.settings import ROOT
from services.chassis.topics import create_topics, load_topics
from tests.chaos.rig.backends import backends, migrate, settings_of
from tests.chaos.rig.brokers import Brokers
from tests.chaos.rig.clickhouse_faults import ClickhouseFront
from tests.chaos.rig.links import Links
from tests.chaos.rig.member import Member, Start
from tests.chaos.rig.ports import free_block
from tests.chaos.rig.processes import (
    CLICKHOUSE,
    REDIS,
    Place,
    module_command,
    names_of,
    service_environment,
    write_config,
)
from tests.chaos.rig.proxy import Proxy
from tests.chaos.rig.receiver import Receiver

POLL_S = 0.05
READY_TIMEOUT_S = 120.0


class Deployment:
    """start() … close(), or `with`. `replicas` by service (1 where not named), `environ` for every service process."""

    def __init__(
        self, folder: Path, brokers: int = 1, replicas: Mapping[str, int] | None = None, partitions: int = 4,
        environ: Mapping[str, str] | None = None, with_proxies: bool = True,
    ) -> None:  # fmt: skip
        self.folder, self.partitions, self._extra = folder, partitions, dict(environ or {})
        named = names_of(replicas or {})
        linked = len(named) if with_proxies else 0
        of_cluster = brokers * (2 + linked)
        block = free_block(of_cluster + 2 + 2 * len(named) + brokers * linked)
        ports = iter(block[of_cluster:])
        self.settings = settings_of(folder, next(ports), next(ports), partitions)
        self.places = {
            name: Place(name, service, next(ports), next(ports) if service in ("ingest", "notify") else 0)
            for name, service in named
        }
        told = {name: {n: next(ports) for n in range(1, brokers + 1)} for name in self.places} if with_proxies else {}
        self.cluster = Cluster(folder / "kafka", brokers, told, block[0])
        self.brokers = Brokers(self.cluster)
        self.receiver = Receiver()
        # Between the proxies and ClickHouse: what an HTTP server can do wrong, a TCP proxy cannot.
        self.house = ClickhouseFront(0, self.settings.clickhouse_url)
        self._links = Links(told, self.cluster, self.settings.redis_address, ("127.0.0.1", self.house.port))
        self._members: dict[str, Member] = {}

    def start(self) -> None:
        """Backends, topics and tables, services; returns when all are ready. Raises AssertionError with a log's end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cluster.start()
        for name, command, environ, is_ready in backends(self.settings):
            self._members[name] = self._member(name, command, environ, is_ready)
            self._members[name].start()
        for name in (REDIS, CLICKHOUSE):
            self.wait_ready(name)
        create_topics(self.cluster.bootstrap, load_topics().values(), self.partitions)
        migrate(self.settings)
        config = write_config(self.folder, self.receiver.url)
        for place in self.places.values():
            addresses = self._links.addresses(place)
            environ = service_environment(place, addresses, config, self.partitions)
            command = module_command(place.module)
            member = self._member(place.name, command, environ, partial(answers, place.ready_url), place.module)
            self._members[place.name] = member
            member.start()
        for name in self.places:
            self.wait_ready(name)

    def close(self) -> None:
        """End everything; services first, with five seconds to drain together."""
        services = [self._members[name] for name in self.places if name in self._members]
        for member in services:
            member.keep_up = False
            member.thaw()
            if member.child is not None:
                member.child.terminate()
        deadline = time.monotonic() + 5.0
        for member in [*services, *(self._members[name] for name in (REDIS, CLICKHOUSE) if name in self._members)]:
            member.thaw()
            member.end(signal.SIGTERM, keep_up=False, timeout_s=max(0.1, deadline - time.monotonic()))
        self.cluster.close()
        self._links.close()
        self.receiver.close()
        self.house.close()

    def __enter__(self) -> "Deployment":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def names(self) -> list[str]:
        """Every process: kafka-1 …, redis, clickhouse, ingest-1 …"""
        return [*self.brokers.names, REDIS, CLICKHOUSE, *self.places]

    @property
    def ingest_urls(self) -> list[str]:
        """Where events are sent."""
        return [f"http://127.0.0.1:{place.port}" for place in self.places.values() if place.service == "ingest"]

    @property
    def sink_url(self) -> str:
        """Notify's built-in sink (of its first process)."""
        return f"http://127.0.0.1:{self.places['notify-1'].port}/sink"

    def link(self, name: str, backend: str) -> Proxy:
        """The proxy between a service process and `kafka`, `redis` or `clickhouse`. Raises KeyError."""
        return self._links.proxies[name, backend]

    @property
    def links(self) -> Mapping[tuple[str, str], Proxy]:
        """All of them."""
        return self._links.proxies

    def log(self, name: str) -> Path:
        """The log of a process, over all its lives."""
        return self.brokers.log(name) if name in self.brokers.names else self.settings.logs_dir / f"{name}.log"

    def is_running(self, name: str) -> bool:
        """Whether its process is there; a frozen one is."""
        return self.brokers.is_running(name) if name in self.brokers.names else self._members[name].is_running

    def life(self, name: str) -> int:
        """How often a service or Valkey or ClickHouse was started so far."""
        return self._members[name].starts

    def ends(self, name: str) -> list[int]:
        """Exit codes of a service or backend process so far (negative: the signal)."""
        return list(self._members[name].ends)

    def kill(self, name: str, keep_up: bool = False) -> None:
        """kill -9; it stays down until start_again, or with `keep_up` until tick() brings it back."""
        if name in self.brokers.names:
            self.brokers.kill(name)
        else:
            self._members[name].end(signal.SIGKILL, keep_up)

    def term(self, name: str, keep_up: bool = False) -> None:
        """SIGTERM, and wait for its end (killed after 30 s); stays down like kill."""
        if name in self.brokers.names:
            self.brokers.term(name)
        else:
            self._members[name].end(signal.SIGTERM, keep_up)

    def freeze(self, name: str) -> None:
        """SIGSTOP."""
        if name in self.brokers.names:
            self.brokers.freeze(name)
        else:
            self._members[name].freeze()

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        if name in self.brokers.names:
            self.brokers.thaw(name)
        else:
            self._members[name].thaw()

    def start_again(
        self, name: str, environ: Mapping[str, str] | None = None, module: str = "", code: Path | None = None
    ) -> None:
        """Start what is down, for this one life with more environment, another `-m` module or another tree of code."""
        if name in self.brokers.names:
            self.brokers.start_again(name)
        else:
            self._members[name].start(Start(environ or {}, module, code))

    def heal(self) -> None:
        """Every fault ends: links healed, frozen processes go on, what is down comes back."""
        self._links.heal()
        self.receiver.heal()
        self.house.heal()
        self.brokers.heal()
        for member in self._members.values():
            member.calm()
            member.thaw()
            if not member.is_running:
                member.keep_up, member.again_at_s = True, 0.0
        self.tick()

    def tick(self) -> None:
        """Look after every process once; call it at least every 100 ms. Returns at once."""
        for member in self._members.values():
            member.tick()

    def wait_ready(self, name: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until it answers, looking after all others meanwhile. Raises AssertionError with the end of its log."""
        if name in self.brokers.names:
            self.brokers.wait_ready(name, timeout_s)
            return
        member = self._members[name]
        self.wait_until(member.is_ready, f"{name} is ready", timeout_s, self.log(name))

    def not_ready(self) -> list[str]:
        """Processes that do not answer or are not able to work."""
        down = [name for name in self.brokers.names if not self.brokers.is_running(name)]
        return down + [name for name, member in self._members.items() if not member.is_ready()]

    def wait_until(self, condition: Callable[[], object], what: str, timeout_s: float, log: Path | None = None) -> None:
        """tick() until condition() is true. Raises AssertionError after timeout_s."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                end = log.read_text(errors="replace")[-2000:] if log and log.exists() else ""
                raise AssertionError(f"{what}: not within {timeout_s:.0f} s\n{end}")
            self.tick()
            time.sleep(POLL_S)

    def _member(
        self, name: str, command: tuple[str, ...], environ: Mapping[str, str], is_ready: Callable[[], bool],
        module: str = "",
    ) -> Member:  # fmt: skip
        # Nothing of ours from outside: a variable of another stack would lead this one's processes to it.
        base = {key: value for key, value in os.environ.items() if not key.startswith("TOUCHSTREAM_")}
        extra = self._extra if module else {}
        environ = {**base, "PYTHONPATH": str(ROOT), **environ, **extra}
        return Member(name, command, environ, is_ready, self.settings.logs_dir, self.settings.run_dir, module)
