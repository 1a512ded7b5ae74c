"""What the notifier reads from the environment. The table in README.md is generated from here."""

from typing import ClassVar

from pydantic import Field

from services.chassis.settings import SharedSettings


class NotifySettings(SharedSettings):
    """Settings of the process `python -m services.notify`."""

    ENV_PREFIX: ClassVar[str] = "NOTIFY"

    metrics_port: int = Field(9105, ge=0, le=65535, description="port of /metrics, /healthz and /readyz; 0 picks one")
    sink_port: int = Field(9115, ge=0, le=65535, description="port of the built-in sink's /sink; 0 picks one")
    sink_size: int = Field(10_000, ge=1, description="deliveries the sink remembers")
    destinations: str = Field("deploy/config/destinations.yaml", description="file of destinations")
    templates: str = Field("deploy/config/templates", description="folder of templates")
    remember_days: float = Field(
        8.0, gt=0, description="days a finished delivery id is remembered; longer than the retention of `triggers`"
    )
    fetch_wait_ms: int = Field(
        25, ge=1, le=5_000, description="longest wait of one fetch; brokers that poll (Tansu) answer at half of it"
    )
    commit_interval_ms: int = Field(500, ge=10, description="how often consumed offsets are committed")
    intake_batch: int = Field(200, ge=1, le=5_000, description="triggers accepted in one round trip to Redis")
    lease_margin_s: float = Field(
        5.0, gt=0, description="added to a destination's timeout: after it another replica may take the delivery over"
    )
    stop_timeout_s: float = Field(10.0, gt=0, description="how long sends under way may take when stopping")
