"""Settings of the local stack: the services' shared ones with this stack's defaults, and its own (TOUCHSTREAM_LOCAL_*).

The addresses of the backends are the services' own variables, so that what is started and what is connected to cannot
differ. `child_environment` is what every process of the stack gets.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field

from services.chassis.settings import SettingsError, SharedSettings, env_name, load_settings

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = ("127.0.0.1", "localhost", "::1")
FOR_TANSU = {
    # It looks for new records at half of this: 25 costs 4 % of a core a consumer and saves 20 ms a hop.
    "TOUCHSTREAM_KAFKA_FETCH_WAIT_MS": "25",
    # And works 0.3 ms for every batch of records, however small: fewer partitions, longer gathering.
    "TOUCHSTREAM_INGEST_LINGER_MS": "20",
}


class LocalSettings(SharedSettings):
    """What `touchstream up` reads."""

    ENV_PREFIX: ClassVar[str] = "LOCAL"

    broker: Literal["tansu", "apache"] = Field("tansu", description="Tansu in memory; or Apache Kafka (Java 17, Maven)")
    partitions: int = Field(2, ge=1, le=1024, description="partitions of every topic")
    kafka_session_timeout_ms: int = Field(6_000, ge=1_000, description="a killed worker's work moves on after this")
    state_dir: Path = Field(ROOT / ".state", description="folder for data, logs and pid files of the local stack")
    # Every mode but `no` has its price: `always` 2 ms a round; `everysec` answers before it has written while an fsync
    # runs, so that kill -9 can undo what was acknowledged. `no` writes before it answers. At a power cut the in-memory
    # broker is gone anyway, so syncing every second would save nothing here.
    appendfsync: Literal["always", "everysec", "no"] = Field("no", description="Valkey's appendfsync")
    # Six services load about 10 s of modules; on two busy cores that has been seen to take 50 s.
    ready_timeout_s: float = Field(180.0, gt=0, description="how long a process may take until it answers")
    drain_timeout_s: float = Field(60.0, ge=0, description="how long a stop waits for events still on their way")
    stop_timeout_s: float = Field(15.0, ge=0, description="how long a process may take to stop before it is killed")
    restart_backoff_s: float = Field(0.5, gt=0, description="first pause before a dead process is started again")

    @property
    def kafka_address(self) -> tuple[str, int]:
        """Host and port of the broker."""
        return _loopback(self.kafka_bootstrap, "kafka_bootstrap", "tcp://" + self.kafka_bootstrap)

    @property
    def redis_address(self) -> tuple[str, int]:
        """Host and port of Valkey."""
        return _loopback(self.redis_url, "redis_url", self.redis_url)

    @property
    def clickhouse_address(self) -> tuple[str, int]:
        """Host and port of the ClickHouse front."""
        return _loopback(self.clickhouse_url, "clickhouse_url", self.clickhouse_url)

    @property
    def logs_dir(self) -> Path:
        """One <name>.log per process."""
        return self.state_dir / "logs"

    @property
    def run_dir(self) -> Path:
        """One <name>.json per process that was started."""
        return self.state_dir / "run"


def local_settings(environ: Mapping[str, str] | None = None) -> LocalSettings:
    """LocalSettings from the environment; a relative state folder counts from the repository. Raises SettingsError."""
    settings = load_settings(LocalSettings, environ)
    return settings.model_copy(update={"state_dir": (ROOT / settings.state_dir).resolve()})


def child_environment(settings: LocalSettings, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the stack's processes: the caller's, with this stack's defaults where the caller is silent."""
    told = {
        env_name(LocalSettings, "kafka_bootstrap"): settings.kafka_bootstrap,
        env_name(LocalSettings, "broker"): settings.broker,
        env_name(LocalSettings, "redis_url"): settings.redis_url,
        env_name(LocalSettings, "clickhouse_url"): settings.clickhouse_url,
        env_name(LocalSettings, "clickhouse_database"): settings.clickhouse_database,
        env_name(LocalSettings, "partitions"): str(settings.partitions),
        env_name(LocalSettings, "kafka_session_timeout_ms"): str(settings.kafka_session_timeout_ms),
        env_name(LocalSettings, "state_dir"): str(settings.state_dir),
        # Services refuse a Valkey that may lose a second unless told that this is meant.
        env_name(LocalSettings, "relaxed_durability"): str(settings.appendfsync != "always").lower(),
        "PYTHONUNBUFFERED": "1",
    }
    # A new shop's population changes by the second; production looks every few minutes.
    defaults = {"TOUCHSTREAM_PROFILE_THRESHOLDS_INTERVAL_S": "10"}
    if settings.broker == "tansu":
        defaults |= FOR_TANSU
    return {**defaults, **(os.environ if environ is None else environ), **told}


def _loopback(shown: str, field: str, url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.hostname not in LOOPBACK or parts.port is None:
        name = env_name(LocalSettings, field)
        raise SettingsError(f"{name}={shown!r}: the local stack listens on this machine only, give 127.0.0.1:<port>")
    return parts.hostname, parts.port
