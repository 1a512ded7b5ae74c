"""deploy/service.Dockerfile names what exists, pins what is locked and runs nobody as root.

That what it copies is enough to start a service is shown in tests/integration/test_service_images.py.
"""

import re
import tomllib
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
DOCKERFILE = REPO / "deploy" / "service.Dockerfile"
SERVICES = sorted(path.parent.name for path in REPO.glob("services/*/pyproject.toml") if path.parent.name != "chassis")


def problems(text: str) -> list[str]:
    found = []
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M):
        for source in line.split()[:-1]:
            paths = dict.fromkeys(source.replace("${SERVICE}", service) for service in SERVICES)
            found += [f"COPY {path}: no such file" for path in paths if not (REPO / path).exists()]
    locked = {package["name"]: package for package in tomllib.loads((REPO / "uv.lock").read_text())["package"]}
    if f"ARG UV_VERSION={locked['uv']['version']}\n" not in text:
        found.append(f"UV_VERSION is not {locked['uv']['version']}, the version in uv.lock")
    for stage in ("command", "service"):
        body = text.split(f" AS {stage}\n")[1].split("\nFROM ")[0]
        if not re.findall(r"^USER (?!root|0)", body, re.M):
            found.append(f"{stage} runs as root")
    if "/healthz" not in text:
        found.append("no HEALTHCHECK on /healthz")
    return found


def test_the_dockerfile_agrees_with_the_tree() -> None:
    assert problems(DOCKERFILE.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("COPY schemas schemas", "COPY schemata schemata", "COPY schemata: no such file"),
        (
            "COPY services/${SERVICE}/pyproject.toml",
            "COPY services/${SERVICE}/setup.py",
            "services/rules/setup.py: no such",
        ),
        ("ARG UV_VERSION=", "ARG UV_VERSION=0", "the version in uv.lock"),
        ("USER 10001\n# Alive", "USER root\n# Alive", "service runs as root"),
        ("USER 10001\nENTRYPOINT", "ENTRYPOINT", "command runs as root"),
        ("/healthz", "/health", "no HEALTHCHECK"),
    ],
)
def test_a_planted_mistake_is_named(old: str, new: str, named: str) -> None:
    text = DOCKERFILE.read_text()
    assert old in text
    assert any(named in problem for problem in problems(text.replace(old, new)))
