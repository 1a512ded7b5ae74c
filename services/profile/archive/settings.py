"""Settings of the archive process: TOUCHSTREAM_ARCHIVE_*."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from services.chassis.settings import SharedSettings

ROOT = Path(__file__).resolve().parents[3]


class ArchiveSettings(SharedSettings):
    """What `python -m services.profile.archive` and its migrate command read."""

    ENV_PREFIX: ClassVar[str] = "ARCHIVE"

    metrics_port: int = Field(9106, ge=0, le=65535, description="port of /metrics, /healthz and /readyz; 0 = any free")
    linger_ms: int = Field(
        2_000,
        ge=0,
        description="longest wait of a record for its batch, so rows are visible within about 2 s; lower is fresher and"
        " makes more, smaller inserts (7 ms of CPU each, here and in ClickHouse)",
    )
    batch_rows: int = Field(
        20_000,
        ge=1,
        le=500_000,
        description="records of one insert at most; higher needs more memory while catching up",
    )
    batch_bytes: int = Field(
        16_777_216,
        ge=65_536,
        description="bytes of record values of one insert at most; bounds memory with large events",
    )
    inserts_per_s: float = Field(
        8.0,
        gt=0,
        description="batches a second this process aims at; with many busy partitions it waits longer instead",
    )
    buffer_bytes: int = Field(
        67_108_864, ge=1_048_576, description="record bytes held at most while ClickHouse is away; then reading pauses"
    )
    migrations: Path = Field(ROOT / "deploy" / "clickhouse", description="folder of the NNNN_*.sql files")
