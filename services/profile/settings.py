"""Settings of profile."""

from typing import ClassVar

from pydantic import Field

from services.chassis.settings import SharedSettings


class ProfileSettings(SharedSettings):
    """What profile reads beyond the shared settings."""

    ENV_PREFIX: ClassVar[str] = "PROFILE"

    metrics_port: int = Field(9103, ge=0, le=65535, description="port of /metrics, /healthz and /readyz")
    config: str = Field("deploy/config/profile.yaml", description="file with windows and event vocabularies")
    tags: str = Field("deploy/config/tags.yaml", description="file with counters, lifecycle stages, tags and segments")
    batch_max: int = Field(3_000, ge=1, le=10_000, description="records per round")
    cache_customers: int = Field(200_000, ge=0, description="customer states kept in memory (about 1 KB each)")
    thresholds_interval_s: int = Field(300, ge=1, description="how often RFM thresholds are computed from ClickHouse")
    import_quiet_s: int = Field(
        60, ge=1, description="an import with --clock event counts as over when this long no event of it has come"
    )
