"""Settings: read once from the environment in `__main__`, frozen, every mistake reported together.

A service subclasses SharedSettings, sets ENV_PREFIX and adds its own fields; the variable of an own field is
TOUCHSTREAM_<PREFIX>_<FIELD>, of a shared one TOUCHSTREAM_<FIELD>. Nothing else may read the environment.
"""

import difflib
import os
from collections.abc import Mapping
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

PREFIX = "TOUCHSTREAM_"
# Variables of ours that belong to other processes may stand in the same environment file.
SERVICES = ("INGEST", "IDENTITY", "PROFILE", "ARCHIVE", "RULES", "NOTIFY", "LOCAL", "CLI", "TEST", "DEMO", "BENCH")


class SettingsError(Exception):
    """One or more variables are wrong; the text lists all of them with the value found and what was expected."""


class SharedSettings(BaseModel):
    """What every service reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    ENV_PREFIX: ClassVar[str] = ""

    kafka_bootstrap: str = Field("127.0.0.1:19092", description="Kafka bootstrap servers, host:port[,host:port]")
    kafka_session_timeout_ms: int = Field(
        45_000, ge=1_000, description="consumer group session timeout; lower finds a dead worker sooner"
    )
    kafka_fetch_wait_ms: int = Field(
        100, ge=1, le=5_000, description="how long a broker may hold an empty fetch; Tansu answers at half of it"
    )
    kafka_gather_ms: int = Field(
        20, ge=0, le=1_000,
        description="how long a batch goes on filling after its first record; 0 is fastest and costs most",
    )  # fmt: skip
    least_retention_ms: int = Field(
        0, ge=0, description="shortest `retention.ms` of a topic that is read; 0: what schemas/topics.toml says"
    )
    redis_url: str = Field("redis://127.0.0.1:16379/0", description="Redis or Valkey holding the ledgers")
    clickhouse_url: str = Field("http://127.0.0.1:18123", description="ClickHouse HTTP interface")
    clickhouse_user: str = Field("default", description="ClickHouse user")
    clickhouse_password: SecretStr = Field(SecretStr(""), description="ClickHouse password")
    clickhouse_database: str = Field("touchstream", description="ClickHouse database")
    schema_registry_url: str = Field("", description="Confluent-compatible Schema Registry; empty: ids from schemas/")
    partitions: int = Field(64, ge=1, le=1024, description="partitions of every topic; fixed when a deployment starts")
    replicas: int = Field(
        0, ge=0, le=9, description="copies of every topic; 0: as many as there are brokers, at most 3"
    )
    identifier_key: SecretStr = Field(
        SecretStr("touchstream-local"), min_length=16, max_length=64,
        description="secret that keys identifier digests (16 to 64 bytes)",
    )  # fmt: skip
    time_zone: str = Field("Asia/Shanghai", description="IANA zone of business days")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error")
    ops_host: str = Field("127.0.0.1", description="address that /metrics, /healthz and /readyz listen on")
    relaxed_durability: bool = Field(
        False, description="accept a Redis without `appendfsync always` (local stack only: a power cut may lose events)"
    )
    failpoints: str = Field("", description="fault injection for tests, e.g. identity.after_apply=kill@3")

    def identifier_key_bytes(self) -> bytes:
        """The digest key, at most 64 bytes (the limit of keyed BLAKE2b)."""
        return self.identifier_key.get_secret_value().encode()[:64]


S = TypeVar("S", bound=SharedSettings)


def env_name(cls: type[SharedSettings], field: str) -> str:
    """The environment variable of a field."""
    own = field not in SharedSettings.model_fields
    return PREFIX + (f"{cls.ENV_PREFIX}_" if own and cls.ENV_PREFIX else "") + field.upper()


def load_settings(cls: type[S], environ: Mapping[str, str] | None = None) -> S:
    """Read cls from the environment (default os.environ).

    Raises SettingsError naming every wrong variable, and every unknown variable of ours: a misspelt name that is
    silently ignored is a setting that somebody believes is on.
    """
    env = os.environ if environ is None else environ
    names = {env_name(cls, field): field for field in cls.model_fields}
    problems = [_unknown(name, names) for name in env if _is_ours(cls, name) and name not in names]
    values = {field: env[name] for name, field in names.items() if name in env}
    try:
        settings = cls(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        for item in error.errors():
            field = str(item["loc"][0])
            info: FieldInfo = cls.model_fields[field]
            shown = "***" if info.annotation is SecretStr else repr(item["input"])
            problems.append(f"{env_name(cls, field)}={shown}: {item['msg']} ({info.description})")
        settings = None
    if problems or settings is None:
        raise SettingsError("settings are wrong:\n  " + "\n  ".join(problems))
    return settings


def _is_ours(cls: type[SharedSettings], name: str) -> bool:
    if not name.startswith(PREFIX):
        return False
    owner = name[len(PREFIX) :].split("_", 1)[0]
    return owner == cls.ENV_PREFIX or owner not in SERVICES


def _unknown(name: str, known: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{name}: no such setting{hint}"
