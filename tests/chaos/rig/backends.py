"""Valkey and ClickHouse of a deployment: where they listen, how they start, the tables."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from deploy.local import valkey
from deploy.local.probe import answers
from deploy.local.settings import ROOT, LocalSettings, local_settings
from tests.chaos.rig.processes import CLICKHOUSE, REDIS, module_command

MIGRATE_TIMEOUT_S = 180
# Name, command, environment, readiness.
Backend = tuple[str, tuple[str, ...], dict[str, str], Callable[[], bool]]


def settings_of(folder: Path, redis_port: int, clickhouse_port: int, partitions: int) -> LocalSettings:
    """Settings of backends with their data in a folder; Valkey acknowledges nothing before it is on disk."""
    return local_settings(
        {
            "TOUCHSTREAM_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "TOUCHSTREAM_CLICKHOUSE_URL": f"http://127.0.0.1:{clickhouse_port}",
            "TOUCHSTREAM_LOCAL_STATE_DIR": str(folder),
            "TOUCHSTREAM_LOCAL_APPENDFSYNC": "always",
            "TOUCHSTREAM_PARTITIONS": str(partitions),
        }
    )


def backends(settings: LocalSettings) -> list[Backend]:
    """What is started beside the brokers."""
    house = {
        "TOUCHSTREAM_CLICKHOUSE_URL": settings.clickhouse_url,
        "TOUCHSTREAM_LOCAL_STATE_DIR": str(settings.state_dir),
        "TZ": "UTC",
    }
    is_house_ready = partial(answers, f"{settings.clickhouse_url}/ping")
    return [
        (REDIS, tuple(valkey.command(settings)), {}, partial(valkey.is_ready, settings)),
        (CLICKHOUSE, module_command("deploy.local.clickhouse"), house, is_house_ready),
    ]


def migrate(settings: LocalSettings) -> None:
    """Bring the tables up to date. Raises AssertionError with what was said."""
    environ = {**os.environ, "TOUCHSTREAM_CLICKHOUSE_URL": settings.clickhouse_url, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "services.profile.archive.migrate"]
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=MIGRATE_TIMEOUT_S)
    assert done.returncode == 0, f"creating ClickHouse's tables failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
