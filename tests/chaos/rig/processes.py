"""What a deployment consists of: the services' processes, what each connects to, and the environment each one gets."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.settings import ROOT

CONFIG = Path(__file__).resolve().parents[1] / "config"
KAFKA, REDIS, CLICKHOUSE = "kafka", "redis", "clickhouse"
SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS1jaGFvcy1yaWc="
# Ends that the services themselves may choose: 0 drained, 1 fatal (they come back), never -11 or the like.
MODULES = {
    "ingest": "services.ingest",
    "identity": "services.identity",
    "profile": "services.profile",
    "archive": "services.profile.archive",
    "rules": "services.rules",
    "notify": "services.notify",
}
# What each service connects to, and so what a link may be broken between.
BACKENDS = {
    "ingest": (KAFKA,),
    "identity": (KAFKA, REDIS),
    "profile": (KAFKA, REDIS, CLICKHOUSE),
    "archive": (KAFKA, REDIS, CLICKHOUSE),
    "rules": (KAFKA, REDIS),
    "notify": (KAFKA, REDIS),
}


@dataclass(frozen=True, slots=True)
class Place:
    """One service process: `identity-2` of `identity`, its metrics port and, of ingest and notify, the other port."""

    name: str
    service: str
    metrics_port: int
    port: int = 0

    @property
    def module(self) -> str:
        """What `python -m` runs."""
        return MODULES[self.service]

    @property
    def metrics_url(self) -> str:
        """/metrics."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    @property
    def ready_url(self) -> str:
        """/readyz."""
        return f"http://127.0.0.1:{self.metrics_port}/readyz"


def names_of(replicas: Mapping[str, int]) -> list[tuple[str, str]]:
    """(process, service) of every service process, most upstream first. Raises ValueError for an unknown service."""
    unknown = set(replicas) - set(MODULES)
    if unknown:
        raise ValueError(f"replicas of {sorted(unknown)}: services are {sorted(MODULES)}")
    return [(f"{service}-{n}", service) for service in MODULES for n in range(1, replicas.get(service, 1) + 1)]


def service_environment(place: Place, addresses: Mapping[str, str], config: Path, partitions: int) -> dict[str, str]:
    """The environment of one service process; `addresses` by backend, `config` holds rules and destinations."""
    prefix = f"TOUCHSTREAM_{place.service.upper()}_"
    own = {
        "ingest": {"PORT": str(place.port), "WRITE_KEYS": str(ROOT / "deploy/config/write_keys.yaml")},
        "identity": {"POLICY": str(config / "identity.yaml")},
        "profile": {"CONFIG": str(ROOT / "deploy/config/profile.yaml")},
        # Fresher than in production: nobody should wait two seconds for a verdict.
        "archive": {"LINGER_MS": "300"},
        "rules": {"FOLDER": str(config / "rules")},
        "notify": {
            "SINK_PORT": str(place.port), "DESTINATIONS": str(config / "destinations.yaml"),
            "TEMPLATES": str(config / "templates"), "LEASE_MARGIN_S": "1",
        },
    }[place.service]  # fmt: skip
    shared = {
        "TOUCHSTREAM_KAFKA_BOOTSTRAP": addresses[KAFKA],
        "TOUCHSTREAM_KAFKA_SESSION_TIMEOUT_MS": "6000",
        "TOUCHSTREAM_REDIS_URL": f"redis://{addresses[REDIS]}/0" if REDIS in addresses else "",
        "TOUCHSTREAM_CLICKHOUSE_URL": f"http://{addresses[CLICKHOUSE]}" if CLICKHOUSE in addresses else "",
        "TOUCHSTREAM_PARTITIONS": str(partitions),
        "CHAOS_WEBHOOK_SECRET": SECRET,
        "PYTHONUNBUFFERED": "1",
        f"{prefix}METRICS_PORT": str(place.metrics_port),
    }
    own = {prefix + name: value for name, value in own.items()}
    return {name: value for name, value in {**shared, **own}.items() if value}


def module_command(module: str) -> tuple[str, ...]:
    """How a module is run."""
    return (sys.executable, "-m", module)


def write_config(folder: Path, webhook_url: str) -> Path:
    """A copy of the rig's configuration with the address of its webhook receiver; returns its folder."""
    target = folder / "config"
    for source in CONFIG.rglob("*"):
        if source.is_file():
            place = target / source.relative_to(CONFIG)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(source.read_text(encoding="utf-8").replace("@WEBHOOK@", webhook_url), encoding="utf-8")
    return target
