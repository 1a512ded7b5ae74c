"""Fixtures of the local stack's tests: free ports, own state folders, ClickHouse fronts in processes of their own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.client import Client

from deploy.local.settings import ROOT

Front = subprocess.Popen[bytes]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# Loading chDB takes a second or two of CPU; on a machine that runs ten other things, half a minute.
START_S = 120


def _launch_front(port: int, state: Path, stderr: int | None = None) -> Front:
    own = {"TOUCHSTREAM_CLICKHOUSE_URL": f"http://127.0.0.1:{port}", "TOUCHSTREAM_LOCAL_STATE_DIR": str(state)}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TOUCHSTREAM_")}
    command = [sys.executable, "-m", "deploy.local.clickhouse"]
    return subprocess.Popen(command, env={**clean, **own, "TZ": "UTC"}, cwd=ROOT, stderr=stderr)


def _start_front(port: int, state: Path) -> Front:
    process = _launch_front(port, state)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the front ended with {process.returncode}"
        try:
            if httpx.get(f"http://127.0.0.1:{port}/ping").text == "Ok.\n":
                return process
        except httpx.TransportError:
            time.sleep(0.02)
    process.kill()
    raise AssertionError(f"the front did not answer within {START_S} s")


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A function that names a free TCP port."""
    return _free_port


@pytest.fixture(scope="session")
def start_front() -> Iterator[Callable[[int, Path], Front]]:
    """A function that starts a front on a port and a state folder; what still runs at the end is stopped."""
    started: list[Front] = []

    def start(port: int, state: Path) -> Front:
        started.append(_start_front(port, state))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            assert process.wait(timeout=20) == 0


@pytest.fixture(scope="session")
def front_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State folder of the front that all tests share."""
    return tmp_path_factory.mktemp("front")


@pytest.fixture(scope="session")
def front(start_front: Callable[[int, Path], Front], front_state: Path) -> tuple[str, int]:
    """Address of a front that all tests share."""
    port = _free_port()
    start_front(port, front_state)
    return "127.0.0.1", port


@pytest.fixture
def refused_front(front: tuple[str, int], front_state: Path) -> Iterator[Front]:
    """A second front on the folder of the shared one, its stderr to be read."""
    process = _launch_front(_free_port(), front_state, stderr=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def client(front: tuple[str, int]) -> Iterator[Client]:
    """A stock clickhouse-connect client in a database of its own."""
    database = f"t{os.urandom(4).hex()}"
    opened = clickhouse_connect.get_client(host=front[0], port=front[1], tz_mode="aware")
    opened.command(f"CREATE DATABASE {database}")
    opened.database = database
    yield opened
    opened.command(f"DROP DATABASE {database}")
    opened.close()
