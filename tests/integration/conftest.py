"""Real backends for integration tests: the local stack's own programs on free ports, one set a test."""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import redis

from deploy.local import valkey
from deploy.local.settings import LocalSettings, local_settings
from services.chassis.redis.client import sync_client
from services.chassis.testing.waiting import free_port, wait_for
from tests.backends import chosen, running, running_broker


@pytest.fixture
def backend_settings(tmp_path: Path) -> LocalSettings:
    """Settings of a stack of this test's own."""
    state = tmp_path / "state"
    return local_settings(
        {
            "TOUCHSTREAM_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
            "TOUCHSTREAM_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
            "TOUCHSTREAM_CLICKHOUSE_URL": f"http://127.0.0.1:{free_port()}",
            "TOUCHSTREAM_LOCAL_STATE_DIR": str(state),
            "TOUCHSTREAM_LOCAL_APPENDFSYNC": "always",
            **chosen(),
            # Whatever the local stack has: the tests' keys are spread over four.
            "TOUCHSTREAM_PARTITIONS": "4",
        }
    )


@pytest.fixture
def kafka(backend_settings: LocalSettings) -> Iterator[str]:
    """Bootstrap address of a broker that has every topic."""
    with running_broker(backend_settings, backend_settings.partitions):
        yield backend_settings.kafka_bootstrap


@pytest.fixture
def redis_url(backend_settings: LocalSettings) -> Iterator[str]:
    """URL of a Valkey with appendfsync always."""
    with running("valkey", valkey.command(backend_settings), backend_settings):
        wait_for(lambda: valkey.is_ready(backend_settings), "Valkey answers")
        yield backend_settings.redis_url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator["redis.Redis"]:
    """A client of an emptied Valkey."""
    client = sync_client(redis_url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def clickhouse_url(backend_settings: LocalSettings) -> Iterator[str]:
    """URL of ClickHouse behind its HTTP front."""

    env = {
        "TOUCHSTREAM_CLICKHOUSE_URL": backend_settings.clickhouse_url,
        "TOUCHSTREAM_LOCAL_STATE_DIR": str(backend_settings.state_dir),
    }

    def answers() -> bool:
        try:
            return httpx.get(f"{backend_settings.clickhouse_url}/ping").status_code == 200
        except httpx.TransportError:
            return False

    with running("clickhouse", [sys.executable, "-m", "deploy.local.clickhouse"], backend_settings, env):
        wait_for(answers, "ClickHouse answers")
        yield backend_settings.clickhouse_url
