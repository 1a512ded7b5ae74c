"""What an operator can set for ingest. The table in README.md is generated from here."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from services.chassis.settings import SharedSettings


class IngestSettings(SharedSettings):
    """Settings of the HTTP collector: TOUCHSTREAM_INGEST_<FIELD>."""

    ENV_PREFIX: ClassVar[str] = "INGEST"

    host: str = Field("127.0.0.1", description="address that the HTTP interface listens on")
    port: int = Field(8080, ge=0, le=65_535, description="port of the HTTP interface; 0 picks a free one")
    metrics_port: int = Field(9101, ge=0, le=65_535, description="port of /metrics, /healthz and /readyz")
    write_keys: Path = Field(Path("deploy/config/write_keys.yaml"), description="file of sources and their write keys")
    cors_origins: str = Field("*", description="browser origins that may send, comma-separated; * = all")
    max_event_bytes: int = Field(32_768, ge=1_024, le=512_000, description="largest event")
    max_batch_bytes: int = Field(512_000, ge=1_024, description="largest body of /v1/batch, before and after gzip")
    max_import_bytes: int = Field(10_485_760, ge=1_024, description="largest body of /v1/import, before and after gzip")
    max_request_events: int = Field(20_000, ge=1, description="most events in one body; above: 413")
    # Lower: 503 under a burst that the machine could hold. Higher: memory, about twice this much at worst.
    max_in_flight_bytes: int = Field(
        134_217_728, ge=1_048_576, description="bytes of requests being read or not yet acknowledged; above: 503"
    )
    # The producer's own queue takes 500,000; at 10,000 events/s this many is 20 s of a broker that stands still.
    max_unacknowledged_events: int = Field(
        200_000, ge=1, le=400_000, description="events handed to the producer and not yet acknowledged; above: 503"
    )
    # Lower: a leader election (a few seconds) becomes 503s. Higher than the SDKs' own 15 s helps nobody.
    ack_timeout_ms: int = Field(10_000, ge=100, description="how long a request waits for the broker; then 503")
    body_timeout_ms: int = Field(30_000, ge=100, description="how long a body may take to arrive; then 408")
    drain_timeout_ms: int = Field(15_000, ge=0, description="how long a stop waits for requests under way")
    linger_ms: float = Field(5.0, ge=0, le=1_000, description="how long the producer gathers a batch")

    def origins(self) -> list[str]:
        """cors_origins as a list."""
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]
