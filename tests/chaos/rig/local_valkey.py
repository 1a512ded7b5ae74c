"""One Valkey of a test's own, as the local stack runs it: started, killed, started again on the same port and data."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local import valkey
from deploy.local.settings import local_settings
from services.chassis.testing.waiting import free_port, wait_for
from tests.chaos.rig.power import Victim


class Valkey:
    """A server with its data in folder/valkey. `appendfsync` as in its configuration."""

    def __init__(self, folder: Path, appendfsync: str = "always") -> None:
        self.port = free_port()
        self._settings = local_settings(
            {
                "TOUCHSTREAM_REDIS_URL": f"redis://127.0.0.1:{self.port}/0",
                "TOUCHSTREAM_LOCAL_STATE_DIR": str(folder),
                "TOUCHSTREAM_LOCAL_APPENDFSYNC": appendfsync,
            }
        )
        self.url = self._settings.redis_url
        self.log = folder / "valkey.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def victim(self) -> Victim:
        """What power.py needs."""
        return Victim(self.url, self._settings.state_dir / "valkey", self.kill)

    def start(self) -> None:
        """Start and wait until it answers; AssertionError with its log when it does not."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(valkey.command(self._settings), stdout=out, stderr=out)
        wait_for(self._answers, "Valkey answers", timeout_s=15.0)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Valkey ended: {self.log.read_text()[-2_000:]}"
        return valkey.is_ready(self._settings)

    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """kill -9, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def running(folder: Path, appendfsync: str = "always") -> Iterator[Valkey]:
    """A started server, killed at the end."""
    server = Valkey(folder, appendfsync)
    server.start()
    try:
        yield server
    finally:
        server.kill()
