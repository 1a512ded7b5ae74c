"""Backends without services, for tests that start single services themselves: Apache Kafka, Valkey, ClickHouse."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from deploy.kafka.cluster import Cluster
from deploy.local.settings import ROOT
from services.chassis.clickhouse import Clickhouse
from services.chassis.redis.client import sync_client
from services.chassis.testing.waiting import wait_for
from services.chassis.topics import create_topics, load_topics
from tests.chaos.rig import local_valkey
from tests.chaos.rig.processes import Place, module_command, service_environment, write_config
from tests.integration import archive_backends

PARTITIONS = 2
ASK_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class World:
    """Running backends; `config` holds rules and destinations, `logs` gets one file a process."""

    kafka: str
    redis: redis.Redis
    redis_port: int
    clickhouse: Clickhouse
    config: Path
    logs: Path

    def environment(self, service: str, metrics_port: int = 0) -> dict[str, str]:
        """The right environment of a service."""
        clickhouse = self.clickhouse.url.removeprefix("http://")
        addresses = {"kafka": self.kafka, "redis": f"127.0.0.1:{self.redis_port}", "clickhouse": clickhouse}
        found = service_environment(Place(f"{service}-1", service, metrics_port), addresses, self.config, PARTITIONS)
        return found | {"TOUCHSTREAM_CLICKHOUSE_DATABASE": self.clickhouse.database}

    def start(self, service: str, environ: Mapping[str, str], module: str = "") -> "Started":
        """A service as a process of its own; `environ` on top of the right one."""
        place = Place(f"{service}-1", service, 0)
        log = self.logs / f"{service}.log"
        base = {key: value for key, value in os.environ.items() if not key.startswith("TOUCHSTREAM_")}
        with log.open("wb") as out:
            process = subprocess.Popen(
                module_command(module or place.module),
                env=base | self.environment(service) | dict(environ), stdout=out, stderr=out, cwd=ROOT,
            )  # fmt: skip
        return Started(process, log)


@dataclass(frozen=True, slots=True)
class Started:
    """A process and what it says."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text(errors="replace")

    def ended(self, timeout_s: float = 180.0) -> int:
        """Its exit code, once it has ended by itself. Raises AssertionError, and kills it, when it has not."""
        try:
            wait_for(lambda: self.process.poll() is not None, "the process ends by itself", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{self.said()[-3_000:]}") from None
        finally:
            self.process.kill()
            self.process.wait()
        return int(self.process.returncode)


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Backends with every topic and table, in their right configuration."""
    settings = archive_backends.settings_of(folder)
    with ExitStack() as stack:
        cluster = stack.enter_context(Cluster(folder / "kafka"))
        server = stack.enter_context(local_valkey.running(folder))
        url = stack.enter_context(archive_backends.clickhouse(settings))
        create_topics(cluster.bootstrap, load_topics().values(), PARTITIONS)
        database = stack.enter_context(archive_backends.database(url, "touchstream"))
        client = stack.enter_context(sync_client(server.url))
        config = write_config(folder, "http://127.0.0.1:9/hook")
        yield World(cluster.bootstrap, client, server.port, database, config, folder)


@contextmanager
def redis_setting(world: World, name: str, value: str) -> Iterator[None]:
    """A directive of Valkey is another one."""
    former = str(world.redis.config_get(name)[name])
    world.redis.config_set(name, value)
    try:
        yield
    finally:
        world.redis.config_set(name, former)


@contextmanager
def topic_setting(world: World, topic: str, name: str, value: str) -> Iterator[None]:
    """A setting of a topic is another one."""
    admin = AdminClient({"bootstrap.servers": world.kafka})
    (found,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    former = str(found.result(ASK_TIMEOUT_S)[name].value)

    def change(to: str) -> None:
        entry = ConfigEntry(name, to, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        (done,) = admin.incremental_alter_configs([resource]).values()
        done.result(ASK_TIMEOUT_S)

    change(value)
    try:
        yield
    finally:
        change(former)


def create_anew(bootstrap: str, topic: str) -> None:
    """Delete a topic and create it again: the same name, another id."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (done,) = admin.delete_topics([topic]).values()
    done.result(ASK_TIMEOUT_S)
    wait_for(lambda: topic not in admin.list_topics(timeout=5).topics, f"{topic} is gone")
    create_topics(bootstrap, [load_topics()[topic]], PARTITIONS)
