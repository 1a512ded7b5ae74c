"""What the stack's processes use while the load runs: CPU seconds and resident memory from /proc, and the lag."""

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from deploy.local import pidfile
from deploy.local.settings import LocalSettings
from services.chassis.errors import Retriable
from services.chassis.kafka.offsets import end_offsets
from services.chassis.redis.client import RedisError, sync_client
from services.chassis.redis.inspect import ledgers

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """One process: CPU seconds so far and resident bytes now."""

    cpu_s: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Sample:
    """The stack at one moment; lag counts records not yet worked, per service."""

    at_s: float
    lag: dict[str, int]
    rss_bytes: dict[str, int]


def usage(settings: LocalSettings) -> dict[str, Usage]:
    """CPU and memory of every running process of the stack by name."""
    found = {}
    for started in pidfile.remembered(settings.run_dir):
        try:
            stat = Path(f"/proc/{started.pid}/stat").read_text().rpartition(")")[2].split()
            resident = int(Path(f"/proc/{started.pid}/statm").read_text().split()[1]) * PAGE
        except (OSError, IndexError):
            continue
        found[started.name] = Usage((int(stat[11]) + int(stat[12])) / TICKS, resident)
    return found


def lag(settings: LocalSettings) -> dict[str, int]:
    """Service → records between its ledgers' positions and the ends of its topics."""
    client = sync_client(settings.redis_url)
    try:
        found = ledgers(client)
    finally:
        client.close()
    ends = end_offsets(settings.kafka_bootstrap, sorted({ledger.topic for ledger in found}))
    behind: dict[str, int] = {}
    for ledger in found:
        missing = max(0, ends.get((ledger.topic, ledger.partition), 0) - ledger.position)
        # Archive reads six topics, each with a ledger service of its own name.
        name = ledger.service.split(".")[0]
        behind[name] = behind.get(name, 0) + missing
    return behind


class Watch:
    """Samples in the background until closed."""

    def __init__(self, settings: LocalSettings, every_s: float = 3.0) -> None:
        self.samples: list[Sample] = []
        self._settings, self._every_s = settings, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            try:
                behind = lag(self._settings)
            except (Retriable, RedisError):
                continue  # the next look counts
            resident = {name: used.rss_bytes for name, used in usage(self._settings).items()}
            self.samples.append(Sample(time.time(), behind, resident))

    def close(self) -> list[Sample]:
        """Stop and return what was seen."""
        self._stop.set()
        self._thread.join(timeout=15)
        return self.samples
