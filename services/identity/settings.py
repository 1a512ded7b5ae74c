"""Settings of identity."""

from typing import ClassVar

from pydantic import Field

from services.chassis.settings import SharedSettings


class IdentitySettings(SharedSettings):
    """What identity reads beyond the shared settings."""

    ENV_PREFIX: ClassVar[str] = "IDENTITY"

    metrics_port: int = Field(9102, ge=0, le=65535, description="port of /metrics, /healthz and /readyz")
    policy: str = Field("deploy/config/identity.yaml", description="file with kinds, guards, trust, windows")
    batch_max: int = Field(3_000, ge=1, le=10_000, description="touchpoints per round; the script takes 10 µs each")
    purge_interval_s: int = Field(60, ge=1, description="how often expired message ids are looked for")
