"""The destinations file: where deliveries may go, how fast and with which secrets. Every mistake is told with its key.

Secrets are never in the file: a field that holds one says `env:NAME`, and the value is taken from the environment at
start. They are SecretStr from there on, so that no print shows them.
"""

import dataclasses
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
)

from services.chassis.errors import Fatal
from services.chassis.yaml_file import load_yaml
from services.notify.core.mask import is_mailbox
from services.notify.core.plan import Route, Routes
from services.notify.core.retry import POLICIES, Policy

NAME = re.compile(r"[a-z][a-z0-9_-]{0,40}")
RATE = re.compile(r"(\d+)/(\d+)s")


def _secret(value: object, info: ValidationInfo) -> object:
    """`env:NAME` → the variable's value."""
    name = value[len("env:") :] if isinstance(value, str) and value.startswith("env:") else ""
    if not name:
        raise ValueError("must read env:NAME; secrets do not belong in this file")
    context: Mapping[str, Any] = info.context or {}
    if context.get("test_mode"):
        return "d2hzZWNfdGVzdA=="  # nothing is sent to the real place
    found = context.get("environ", {}).get(name, "")
    if not found:
        raise ValueError(f"the environment variable {name} is not set")
    return found


def _rate(value: object) -> object:
    found = RATE.fullmatch(value) if isinstance(value, str) else None
    if not found or not int(found[1]) or not int(found[2]):
        raise ValueError("expected COUNT/SECONDSs, e.g. 20/60s")
    return int(found[1]), int(found[2]) * 1_000


def _endpoint(value: str) -> str:
    url = urlsplit(value)
    try:
        is_here = url.hostname == "localhost" or ip_address(url.hostname or "").is_loopback
    except ValueError:
        is_here = False
    if not url.hostname or url.scheme not in ("http", "https") or (url.scheme == "http" and not is_here):
        raise ValueError("expected an https address: messages hold personal data (http only to this machine)")
    return value


def _from(value: str) -> str:
    address = value.rpartition("<")[2].rstrip(">").strip()
    if not is_mailbox(address) or "\n" in value or "\r" in value:
        raise ValueError("expected `Name <local@domain>`")
    return value


Secret = Annotated[SecretStr, BeforeValidator(_secret)]
Rate = Annotated[tuple[int, int], BeforeValidator(_rate)]


class Retry(BaseModel):
    """Overrides of the channel's retry policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    first_s: float | None = Field(default=None, gt=0)
    longest_s: float | None = Field(default=None, gt=0)
    give_up_after_s: float | None = Field(default=None, gt=0)


class _Base(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    language: str = ""
    timeout_s: float = Field(10.0, gt=0, le=120)
    concurrency: int = Field(8, ge=1, le=500)
    rate: Rate = (0, 1)  # count 0: no limit
    retry: Retry = Retry()


class WebhookConfig(_Base):
    """A signed HTTP endpoint."""

    channel: Literal["webhook"]
    url: Annotated[str, AfterValidator(_endpoint)]
    secret: Secret


class EmailConfig(_Base):
    """An SMTP server to submit to."""

    channel: Literal["email"]
    host: str
    port: int = Field(587, ge=1, le=65535)
    security: Literal["none", "starttls", "tls"] = "starttls"
    sender: Annotated[str, AfterValidator(_from)]
    username: str = ""
    password: Secret = SecretStr("")
    timeout_s: float = Field(30.0, gt=0, le=120)


class WecomConfig(_Base):
    """A WeCom group robot; the url holds its key."""

    channel: Literal["wecom"]
    url: Secret
    kind: Literal["markdown", "text"] = "markdown"
    concurrency: int = Field(1, ge=1, le=5)
    # The provider counts 20 a minute at its own clock: a second more keeps ours out of its window's edge.
    rate: Rate = (20, 61_000)


class AppriseConfig(_Base):
    """Any address that the Apprise library knows; it usually holds a token."""

    channel: Literal["apprise"]
    url: Secret
    concurrency: int = Field(4, ge=1, le=50)


class SinkConfig(_Base):
    """The built-in sink."""

    channel: Literal["sink"]
    timeout_s: float = Field(2.0, gt=0, le=120)
    concurrency: int = Field(64, ge=1, le=500)


Config = WebhookConfig | EmailConfig | WecomConfig | AppriseConfig | SinkConfig


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    test_mode: bool = False
    language: str = "en"
    defaults: dict[str, str] = {}
    destinations: dict[str, Annotated[Config, Field(discriminator="channel")]] = Field(min_length=1)


@dataclasses.dataclass(frozen=True, slots=True)
class Destination:
    """One destination, ready to be opened. In test mode `is_sink` is set whatever the channel."""

    name: str
    config: Config
    policy: Policy
    is_sink: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Destinations:
    """The whole file. `language` is the last resort of templates."""

    by_name: dict[str, Destination]
    defaults: dict[str, str]
    language: str
    is_test: bool

    def routes(self, zone: str) -> Routes:
        """What planning needs, without addresses and secrets."""
        routes = {
            name: Route(name, item.config.channel, item.config.language or self.language)
            for name, item in self.by_name.items()
        }
        return Routes(routes, self.defaults, zone)


def load_destinations(path: str, environ: Mapping[str, str]) -> Destinations:
    """Read and check the file. Raises Fatal naming the file and every key that is wrong."""
    try:
        document = load_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise Fatal(f"destinations file {path} cannot be read: {error}") from error
    is_test = isinstance(document, dict) and document.get("test_mode") is True
    try:
        file = _File.model_validate(document, context={"environ": environ, "test_mode": is_test})
    except ValidationError as error:
        lines = [f"{path}: {_key(item['loc'])}: {item['msg']}" for item in error.errors(include_input=False)]
        raise Fatal("destinations file is wrong:\n  " + "\n  ".join(lines)) from error
    names = file.destinations
    mistakes = [f"destinations.{name}: expected {NAME.pattern}" for name in names if not NAME.fullmatch(name)]
    mistakes += [
        f"defaults.{channel}: no destination {name!r}" for channel, name in file.defaults.items() if name not in names
    ]
    if mistakes:
        raise Fatal("destinations file is wrong:\n  " + "\n  ".join(f"{path}: {text}" for text in mistakes))
    by_name = {
        name: Destination(name, config, _policy(config, is_test), is_test or config.channel == "sink")
        for name, config in names.items()
    }
    return Destinations(by_name, file.defaults, file.language, is_test)


def _policy(config: Config, is_test: bool) -> Policy:
    policy = POLICIES["sink" if is_test else config.channel]
    given = {
        "first_ms": config.retry.first_s,
        "longest_ms": config.retry.longest_s,
        "give_up_after_ms": config.retry.give_up_after_s,
    }
    return dataclasses.replace(policy, **{key: int(s * 1_000) for key, s in given.items() if s is not None})


def _key(loc: tuple[int | str, ...]) -> str:
    # The discriminator's value stands in pydantic's location; it is no key of the file.
    parts = [str(part) for part in loc]
    if len(parts) > 3 and parts[0] == "destinations":
        del parts[2]
    return ".".join(parts) or "the file"
