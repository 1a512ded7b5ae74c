"""A real Valkey for the scripts: what they do is in Lua, and only a server runs it."""

import subprocess
from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio

from deploy.local import valkey
from deploy.local.settings import local_settings
from services.chassis.redis.client import async_client
from services.chassis.testing.clock import FakeClock
from services.chassis.testing.waiting import free_port, wait_for
from services.notify.adapters.store import DAY_MS, Store


@pytest.fixture(scope="session")
def notify_redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Valkey of this session's own."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    state = str(tmp_path_factory.mktemp("notify-valkey"))
    settings = local_settings({"TOUCHSTREAM_REDIS_URL": url, "TOUCHSTREAM_LOCAL_STATE_DIR": state})
    process = subprocess.Popen(valkey.command(settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: valkey.is_ready(settings), "Valkey answers")
    yield url
    process.kill()
    process.wait()


@pytest.fixture
async def redis_db(notify_redis_url: str) -> "AsyncIterator[redis.asyncio.Redis]":
    """A client of an emptied Valkey."""
    client = async_client(notify_redis_url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves only when told to."""
    return FakeClock()


@pytest.fixture
def store(redis_db: "redis.asyncio.Redis", clock: FakeClock) -> Store:
    """The store on that Valkey and that clock."""
    return Store(redis_db, 8 * DAY_MS, clock)
