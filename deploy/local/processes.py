"""The one table of what the local stack consists of, in the order of starting. A new service is one line here."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from deploy.local import broker, valkey
from deploy.local.probe import answers
from deploy.local.settings import LocalSettings
from services.chassis.settings import SettingsError

# (service, module, default metrics port), most upstream first; stopping goes the other way round.
SERVICES: tuple[tuple[str, str, int], ...] = (
    ("ingest", "services.ingest", 9101),
    ("identity", "services.identity", 9102),
    ("profile", "services.profile", 9103),
    ("archive", "services.profile.archive", 9106),
    ("rules", "services.rules", 9104),
    ("notify", "services.notify", 9105),
)
INGEST_PORT = 8080
SINK_PORT = 9115


@dataclass(frozen=True, slots=True)
class Port:
    """A TCP port a process will listen on, and the variable that moves it."""

    variable: str
    host: str
    number: int


@dataclass(frozen=True, slots=True)
class Spec:
    """A process of the stack. `is_lasting`: its end ends the stack, because starting it again would lose its data.

    `before`: called before every start.
    """

    name: str
    command: tuple[str, ...]
    is_ready: Callable[[], bool]
    is_backend: bool = False
    is_lasting: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    metrics_url: str = ""
    before: Callable[[], None] = lambda: None


def local_stack(settings: LocalSettings, environ: Mapping[str, str] | None = None) -> list[Spec]:
    """All processes for these settings: backends, then services. Raises SettingsError for a wrong port."""
    env = os.environ if environ is None else environ
    return [*backends(settings), *(_service(settings, env, *row) for row in SERVICES)]


def backends(settings: LocalSettings) -> list[Spec]:
    """Broker, Valkey and the ClickHouse front."""
    kafka = Port("TOUCHSTREAM_KAFKA_BOOTSTRAP", *settings.kafka_address)
    redis = Port("TOUCHSTREAM_REDIS_URL", *settings.redis_address)
    house = Port("TOUCHSTREAM_CLICKHOUSE_URL", *settings.clickhouse_address)
    return [
        Spec(
            "broker", tuple(broker.command(settings)), lambda: broker.is_ready(settings), is_backend=True,
            is_lasting=broker.is_lasting(settings), environ=broker.environment(settings), ports=(kafka,),
            before=lambda: broker.prepare(settings),
        ),
        Spec(
            "valkey", tuple(valkey.command(settings)), lambda: valkey.is_ready(settings), is_backend=True,
            ports=(redis,),
        ),
        Spec(
            "clickhouse", (sys.executable, "-m", "deploy.local.clickhouse"),
            lambda: answers(f"{settings.clickhouse_url}/ping"), is_backend=True, ports=(house,),
            # Timestamps without a zone mean UTC, wherever the machine stands.
            environ={"TZ": "UTC"},
        ),
    ]  # fmt: skip


def metrics_port(environ: Mapping[str, str], service: str) -> Port:
    """Where a service serves /metrics, /healthz and /readyz."""
    default = next(port for name, _, port in SERVICES if name == service)
    return _port(environ, f"TOUCHSTREAM_{service.upper()}_METRICS_PORT", default)


def metrics_urls(environ: Mapping[str, str]) -> dict[str, str]:
    """/metrics of every service by its name."""
    ports = {name: metrics_port(environ, name) for name, _, _ in SERVICES}
    return {name: f"http://{port.host}:{port.number}/metrics" for name, port in ports.items()}


def ingest_port(environ: Mapping[str, str]) -> Port:
    """Where ingest takes events."""
    return _port(environ, "TOUCHSTREAM_INGEST_PORT", INGEST_PORT)


def sink_port(environ: Mapping[str, str]) -> Port:
    """Where notify's built-in sink shows what was delivered."""
    return _port(environ, "TOUCHSTREAM_NOTIFY_SINK_PORT", SINK_PORT)


def _service(settings: LocalSettings, environ: Mapping[str, str], name: str, module: str, _: int) -> Spec:
    metrics = metrics_port(environ, name)
    base = f"http://{metrics.host}:{metrics.number}"
    more = {"ingest": ingest_port, "notify": sink_port}.get(name)
    ports = (more(environ), metrics) if more else (metrics,)
    return Spec(
        name, (sys.executable, "-m", module), lambda: answers(f"{base}/readyz"), ports=ports,
        metrics_url=f"{base}/metrics",
    )  # fmt: skip


def _port(environ: Mapping[str, str], variable: str, default: int) -> Port:
    given = environ.get(variable, str(default))
    if not given.isdecimal() or not 0 < int(given) < 65536:
        raise SettingsError(f"{variable}={given!r}: give a TCP port, 1 to 65535")
    return Port(variable, "127.0.0.1", int(given))
