"""docker-compose.yml agrees with the code, as far as that can be known without a Docker engine.

Every kind of mistake the checks are for is planted once; the checks work on a parsed file, a plant is an edit of it.
"""

import json
import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import typer.main
import yaml

from cli.docs import settings_classes
from cli.main import app
from services.chassis.settings import SettingsError, SharedSettings, env_name, load_settings

REPO = Path(__file__).resolve().parents[2]
Compose = dict[str, Any]


def load(root: Path = REPO) -> Compose:
    return yaml.safe_load((root / "docker-compose.yml").read_text())


def environment(service: Compose) -> dict[str, str]:
    """Variables of a service as its container sees them when the shell sets none."""
    plain = {name: str(value) for name, value in service.get("environment", {}).items()}
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for name, value in plain.items()}


def ports(service: Compose) -> dict[int, int]:
    """Container port → published port."""
    return {int(p.split(":")[-1]): int(p.split(":")[-2]) for p in service.get("ports", [])}


def ours(compose: Compose) -> Iterator[tuple[str, Compose, type[SharedSettings]]]:
    """The services built from our Dockerfile with their settings classes; `init` reads only the shared ones."""
    classes = settings_classes()
    for name, service in compose["services"].items():
        if str(service.get("image", "")).startswith("touchstream-"):
            yield name, service, SharedSettings if name == "init" else classes[name]


def schema_problems(compose: Compose) -> list[str]:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(compose)]


def variable_problems(compose: Compose) -> list[str]:
    problems = []
    for name, service, cls in ours(compose):
        known = {env_name(cls, field) for field in cls.model_fields}
        given = {key: value for key, value in environment(service).items() if key.startswith("TOUCHSTREAM_")}
        problems += [f"{name}: no setting {key}" for key in given if key not in known]
        try:
            load_settings(cls, {key: value for key, value in given.items() if key in known})
        except SettingsError as error:
            problems.append(f"{name}: {error}")
    return problems


def address_problems(compose: Compose) -> list[str]:
    """Backends named in the environment must be services here, on a port that they listen on."""
    problems = []
    for name, service, _ in ours(compose):
        for key, value in environment(service).items():
            if not key.endswith(("_URL", "_BOOTSTRAP")):
                continue
            url = urlsplit(value if "//" in value else f"//{value}")
            target = compose["services"].get(url.hostname)
            if target is None:
                problems.append(f"{name}: {key}={value}: no service {url.hostname}")
            elif url.port not in set(ports(target)) | {int(port) for port in target.get("expose", [])}:
                problems.append(f"{name}: {key}={value}: {url.hostname} does not listen on {url.port}")
    return problems


def port_problems(compose: Compose) -> list[str]:
    """What is published must be what the settings listen on, at the numbers that `make up` uses."""
    problems = []
    for name, service, cls in ours(compose):
        fields = {field for field in cls.model_fields if field == "port" or field.endswith("_port")}
        listens = {int(load_settings(cls, {}).model_dump()[field]) for field in fields}
        if listens != set(ports(service)):
            problems.append(f"{name}: publishes {sorted(ports(service))}, settings listen on {sorted(listens)}")
        host = environment(service).get(env_name(cls, "host")) if "host" in cls.model_fields else "0.0.0.0"
        if host != "0.0.0.0":
            problems.append(f"{name}: listens on {host}, which a published port does not reach")
        args = service.get("build", {}).get("args", {})
        ops = environment(service).get("OPS_PORT", args.get("OPS_PORT"))
        if "metrics_port" in fields and ops != str(cls.model_fields["metrics_port"].default) != str(ops):
            problems.append(f"{name}: OPS_PORT {ops} is not the metrics port")
    shared = load_settings(SharedSettings, {})
    for address in (f"//{shared.kafka_bootstrap}", shared.redis_url, shared.clickhouse_url):
        published = {port for service in compose["services"].values() for port in ports(service).values()}
        if urlsplit(address).port not in published:
            problems.append(f"{address}: the default address of a backend is published by no service")
    open_ports = [p for s in compose["services"].values() for p in s.get("ports", []) if not p.startswith("127.0.0.1:")]
    return problems + [f"port {port} is published to the network" for port in open_ports]


def mount_problems(compose: Compose, root: Path = REPO) -> list[str]:
    problems = []
    for name, service in compose["services"].items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                problems += [] if (root / source).exists() else [f"{name}: mount {source} does not exist"]
            elif source not in compose["volumes"]:
                problems.append(f"{name}: volume {source} is not declared")
    return problems


def command_problems(compose: Compose) -> list[str]:
    """Commands must exist: modules of services, commands of `touchstream`."""
    problems = []
    program = typer.main.get_command(app)
    for name, service, _ in ours(compose):
        build = service.get("build", {})
        command = service.get("command", [])
        if build.get("target") == "command":
            if command[0] not in program.commands:  # type: ignore[attr-defined]
                problems.append(f"{name}: touchstream has no command {command[0]}")
            continue
        module = command[2] if command else f"services.{build['args']['SERVICE']}"
        if not (REPO / module.replace(".", "/") / "__main__.py").exists():
            problems.append(f"{name}: no module {module} to start")
    return problems


def secret_problems(compose: Compose, root: Path = REPO) -> list[str]:
    """Every `env:NAME` of the shipped destinations can reach notify, from a file that git and images leave out."""
    wanted = set(re.findall(r"\benv:(\w+)", (root / "deploy" / "config" / "destinations.yaml").read_text()))
    notify = compose["services"]["notify"]
    ignored = (root / ".gitignore").read_text().splitlines()
    if (root / ".dockerignore").read_text().splitlines()[-1] != "**/*.env":
        return ["an image may take a file of secrets: the last line of .dockerignore wins"]
    problems = []
    for file in notify.get("env_file", []):
        if file["path"] not in ignored or not file["path"].endswith(".env"):
            problems.append(f"notify: {file['path']} holds secrets and is not ignored by git and Docker")
        if file.get("required", True):
            problems.append(f"notify: nobody has {file['path']} to begin with, and it is required")
    given = wanted if notify.get("env_file") else set(environment(notify))
    problems += [f"notify: nothing gives it {name}" for name in sorted(wanted - given)]
    return problems


CHECKS: list[Callable[[Compose], list[str]]] = [
    schema_problems,
    variable_problems,
    address_problems,
    port_problems,
    mount_problems,
    command_problems,
    secret_problems,
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_compose_file_agrees_with_the_code(check: Callable[[Compose], list[str]]) -> None:
    assert check(load()) == []


def test_every_service_with_settings_is_in_the_compose_file() -> None:
    started = {name for name, _, _ in ours(load())}
    mains = {path.parent.name for path in REPO.glob("services/**/__main__.py")}
    assert mains <= started


def test_make_kafka_runs_the_version_and_the_settings_of_the_compose_file() -> None:
    kafka = load()["services"]["kafka"]
    pom = (REPO / "deploy" / "kafka" / "pom.xml").read_text()
    assert f"<kafka.version>{kafka['image'].split(':')[1]}</kafka.version>" in pom
    lines = (REPO / "deploy" / "kafka" / "broker.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    for name in ("auto.create.topics.enable", "log.message.timestamp.type", "offsets.retention.minutes"):
        assert properties[name] == kafka["environment"]["KAFKA_" + name.upper().replace(".", "_")]


# (what is changed, path in the file, new value (None removes), what must be said)
PLANTS = [
    (schema_problems, "services.ingest.portz", ["8080:8080"], "portz"),
    (schema_problems, "services.kafka.depends_on", "valkey", "'valkey' is not valid"),
    (
        variable_problems,
        "services.rules.environment.TOUCHSTREAM_RULEZ_FOLDER",
        "x",
        "no setting TOUCHSTREAM_RULEZ_FOLDER",
    ),
    (
        variable_problems,
        "services.rules.environment.TOUCHSTREAM_INGEST_PORT",
        "1",
        "no setting TOUCHSTREAM_INGEST_PORT",
    ),
    (variable_problems, "services.rules.environment.TOUCHSTREAM_PARTITIONS", "many", "TOUCHSTREAM_PARTITIONS='many'"),
    (address_problems, "services.rules.environment.TOUCHSTREAM_REDIS_URL", "redis://redis:6379/0", "no service redis"),
    (
        address_problems,
        "services.rules.environment.TOUCHSTREAM_KAFKA_BOOTSTRAP",
        "kafka:9999",
        "does not listen on 9999",
    ),
    (port_problems, "services.ingest.ports", ["127.0.0.1:8081:8081"], "publishes [8081]"),
    (
        port_problems,
        "services.ingest.environment.TOUCHSTREAM_INGEST_HOST",
        "127.0.0.1",
        "a published port does not reach",
    ),
    (port_problems, "services.rules.build.args.OPS_PORT", 9105, "OPS_PORT 9105 is not the metrics port"),
    (port_problems, "services.archive.environment.OPS_PORT", 9103, "OPS_PORT 9103 is not the metrics port"),
    (port_problems, "services.kafka.ports", ["127.0.0.1:9092:19092"], "19092: the default address of a backend"),
    (port_problems, "services.valkey.ports", ["16379:6379"], "published to the network"),
    (mount_problems, "services.prometheus.volumes", ["./deploy/prom:/etc/prometheus"], "./deploy/prom does not exist"),
    (mount_problems, "services.valkey.volumes", ["data:/data"], "volume data is not declared"),
    (command_problems, "services.init.command", ["sing"], "no command sing"),
    (command_problems, "services.archive.command", ["python", "-m", "services.archive"], "no module services.archive"),
    (secret_problems, "services.notify.env_file", [], "nothing gives it CRM_WEBHOOK_SECRET"),
    (
        secret_problems,
        "services.notify.env_file",
        [{"path": "deploy/secrets.env", "required": False}],
        "deploy/secrets.env holds secrets",
    ),
    (secret_problems, "services.notify.env_file", [{"path": "deploy/notify.env"}], "and it is required"),
]


@pytest.mark.parametrize(("check", "path", "value", "named"), PLANTS)
def test_a_planted_mistake_is_named(
    check: Callable[[Compose], list[str]], path: str, value: object, named: str
) -> None:
    compose = json.loads(json.dumps(load()))  # anchors made the services share parts; a plant belongs to one of them
    *parents, last = path.split(".")
    node = compose
    for parent in parents:
        node = node[parent]
    node[last] = value
    assert any(named in problem for problem in check(compose)), check(compose)
