"""Settings of rules."""

from typing import ClassVar

from pydantic import Field

from services.chassis.settings import SharedSettings


class RulesSettings(SharedSettings):
    """What rules reads beyond the shared settings."""

    ENV_PREFIX: ClassVar[str] = "RULES"

    metrics_port: int = Field(9104, ge=0, le=65535, description="port of /metrics, /healthz and /readyz")
    folder: str = Field("deploy/config/rules", description="folder of rule files, one *.yaml a rule")
    reload_interval_ms: int = Field(
        1_000, ge=50, le=600_000, description="how often the folder is looked at for changes"
    )
    batch_max: int = Field(3_000, ge=1, le=10_000, description="profile changes per round")
