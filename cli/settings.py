"""Settings of the command line, for the commands that send: TOUCHSTREAM_CLI_*."""

import os
from typing import ClassVar

from pydantic import Field, SecretStr

from deploy.local.processes import ingest_port
from services.chassis.settings import SharedSettings


class CliSettings(SharedSettings):
    """Where ingest is, and in whose name something is sent."""

    ENV_PREFIX: ClassVar[str] = "CLI"

    url: str = Field("", description="base URL of ingest; empty: the local stack's")
    write_key: SecretStr = Field(SecretStr("local"), description="write key; it names the source")

    def ingest_url(self) -> str:
        """`url`, or where the local stack's ingest listens."""
        if self.url:
            return self.url.rstrip("/")
        port = ingest_port(os.environ)
        return f"http://{port.host}:{port.number}"
