"""Real backends in containers: the images, settings and files of docker-compose.yml, on ports that are free.

TOUCHSTREAM_TEST_KAFKA_BOOTSTRAP, _REDIS_URL and _CLICKHOUSE_URL name a given server instead, e.g. that of `make kafka`.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from docker.errors import DockerException
from testcontainers.core.container import DockerContainer

REPO = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((REPO / "docker-compose.yml").read_text())["services"]


@pytest.fixture(scope="session")
def engine() -> None:
    """A missing engine fails; a skip would look like a pass."""
    try:
        docker.from_env().ping()
    except DockerException as error:
        pytest.fail(f"these tests need a running Docker engine: {error}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    """Poll until the condition holds; an exception counts as not yet."""
    deadline, last = time.monotonic() + timeout_s, ""
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except Exception as error:  # noqa: BLE001 - whatever a starting backend answers
            last = repr(error)
        time.sleep(0.5)
    pytest.fail(f"{what}: not within {timeout_s:.0f} s. {last}")


def backend(name: str, container_port: int, **changes: str) -> tuple[DockerContainer, int]:
    """A container of the compose service `name`, and the port on 127.0.0.1 that leads to `container_port`."""
    service, port = COMPOSE[name], free_port()
    container = DockerContainer(service["image"]).with_bind_ports(container_port, port)
    plain = {key: str(value) for key, value in service.get("environment", {}).items()}
    for key, value in (plain | {key: text.format(port=port) for key, text in changes.items()}).items():
        container = container.with_env(key, value)
    for mount in service.get("volumes", []):
        source, target, *mode = mount.split(":")
        if source.startswith("."):
            container = container.with_volume_mapping((REPO / source).resolve(), target, mode[0] if mode else "rw")
    if "command" in service:
        container = container.with_command(service["command"])
    return container, port


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[str]:
    """Bootstrap address of an empty Apache Kafka."""
    if given := os.environ.get("TOUCHSTREAM_TEST_KAFKA_BOOTSTRAP"):
        yield given
        return
    request.getfixturevalue("engine")
    listeners = "INSIDE://127.0.0.1:9092,OUTSIDE://127.0.0.1:{port}"
    voters = "1@127.0.0.1:9093"
    container, port = backend(
        "kafka", 19092, KAFKA_ADVERTISED_LISTENERS=listeners, KAFKA_CONTROLLER_QUORUM_VOTERS=voters
    )
    with container:
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
        wait_for(lambda: bool(admin.list_topics(timeout=5).brokers), "Kafka answers")
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of an empty Valkey with deploy/redis/valkey.conf."""
    if given := os.environ.get("TOUCHSTREAM_TEST_REDIS_URL"):
        yield given
        return
    request.getfixturevalue("engine")
    container, port = backend("valkey", 6379)
    with container:
        import redis

        url = f"redis://127.0.0.1:{port}/0"
        wait_for(lambda: bool(redis.Redis.from_url(url).ping()), "Valkey answers")
        yield url


@pytest.fixture(scope="session")
def clickhouse_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """HTTP address of an empty ClickHouse; user and password `touchstream`."""
    if given := os.environ.get("TOUCHSTREAM_TEST_CLICKHOUSE_URL"):
        yield given
        return
    request.getfixturevalue("engine")
    container, port = backend("clickhouse", 8123, CLICKHOUSE_PASSWORD="touchstream")
    with container:
        import httpx

        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: httpx.get(f"{url}/ping", timeout=2).status_code == 200, "ClickHouse answers")
        yield url


@pytest.fixture(scope="session")
def wait() -> Callable[[Callable[[], bool], str], None]:
    """wait_for, with time for a first start in which images are pulled and built."""
    return lambda condition, what: wait_for(condition, what, 600)
