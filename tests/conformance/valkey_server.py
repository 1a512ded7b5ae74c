"""A Valkey of a test run's own, on a free port."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local import valkey
from deploy.local.settings import local_settings
from services.chassis.testing.waiting import free_port, wait_for


@contextmanager
def valkey_server(folder: Path, appendfsync: str = "always") -> Iterator[str]:
    """The URL of a running server; killed at the end."""
    settings = local_settings(
        {
            "TOUCHSTREAM_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
            "TOUCHSTREAM_LOCAL_STATE_DIR": str(folder),
            "TOUCHSTREAM_LOCAL_APPENDFSYNC": appendfsync,
        }
    )
    with (folder / "valkey.log").open("wb") as log:
        process = subprocess.Popen(valkey.command(settings), stdout=log, stderr=log)
    try:
        wait_for(lambda: valkey.is_ready(settings), "Valkey answers")
        yield settings.redis_url
    finally:
        process.kill()
        process.wait()
