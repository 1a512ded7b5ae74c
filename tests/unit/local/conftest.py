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


def _start_front(port: int, state: Path) -> Front:
    own = {"TOUCHSTREAM_CLICKHOUSE_URL": f"http://127.0.0.1:{port}", "TOUCHSTREAM_LOCAL_STATE_DIR": str(state)}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TOUCHSTREAM_")}
    command = [sys.executable, "-m", "deploy.local.clickhouse"]
    process = subprocess.Popen(command, env={**clean, **own, "TZ": "UTC"}, cwd=ROOT)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the front ended with {process.returncode}"
        try:
            if httpx.get(f"http://127.0.0.1:{port}/ping").text == "Ok.\n":
                return process
        except httpx.TransportError:
            time.sleep(0.02)
    process.kill()
    raise AssertionError("the front did not answer within 30 s")


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
def front(start_front: Callable[[int, Path], Front], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """Address of a front that all tests share."""
    port = _free_port()
    start_front(port, tmp_path_factory.mktemp("front"))
    return "127.0.0.1", port


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
