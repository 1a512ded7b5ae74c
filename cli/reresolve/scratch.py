"""A Redis for one question: a Valkey started for it, or an empty one that was named; nothing of it is left."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.kafka.ports import free_ports
from deploy.local import valkey
from deploy.local.settings import local_settings
from services.chassis.errors import Fatal
from services.chassis.redis.client import RedisClient, sync_client

READY_S, LOOK_EVERY_S = 20.0, 0.05


@contextmanager
def scratch(url: str) -> Iterator[RedisClient]:
    """A client of an empty Redis; with an empty url of a Valkey of its own. Raises Fatal.

    Never the one of the services: it need not be as durable, and its memory is somebody else's.
    """
    if url:
        with sync_client(url) as client:
            if client.dbsize():
                raise Fatal(f"--scratch {url}: not empty ({client.dbsize()} keys); nothing was done there")
            try:
                yield client
            finally:
                client.flushdb()
        return
    with tempfile.TemporaryDirectory(prefix="touchstream-replay-") as folder, _own(Path(folder)) as client:
        yield client


@contextmanager
def _own(folder: Path) -> Iterator[RedisClient]:
    (port,) = free_ports(1)
    settings = local_settings(
        {
            "TOUCHSTREAM_REDIS_URL": f"redis://127.0.0.1:{port}/0", "TOUCHSTREAM_LOCAL_STATE_DIR": str(folder),
            "TOUCHSTREAM_LOCAL_APPENDFSYNC": "no",
        }
    )  # fmt: skip
    try:
        command = valkey.command(settings)
    except ImportError as error:
        raise Fatal("no Valkey is installed here: name an empty Redis with --scratch redis://…") from error
    command[command.index("--appendonly") + 1] = "no"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline_s = time.monotonic() + READY_S
        while not valkey.is_ready(settings):
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise Fatal(f"a Valkey of its own did not start: {(folder / 'log').read_text(errors='replace')[-500:]}")
            time.sleep(LOOK_EVERY_S)
        with sync_client(settings.redis_url) as client:
            yield client
    finally:
        process.kill()
        process.wait()
