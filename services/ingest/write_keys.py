"""The write-keys file: sources, their field rules, the keys that act for them. Every mistake is reported at once."""

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from services.chassis.settings import SettingsError
from services.chassis.yaml_file import load_yaml
from services.ingest.core.keys import Grant, Keyring
from services.ingest.core.money import currency_code
from services.ingest.core.required import is_known_path
from services.ingest.core.source import CONTROL_TYPES, STANDARD_TYPES, FieldRules, Source


def _check_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{name!r} is no IANA time zone, e.g. Asia/Shanghai") from error
    return name


def _check_region(name: str) -> str:
    if name not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError(f"{name!r} is no ISO 3166 country code, e.g. CN")
    return name


def _check_currency(code: str) -> str:
    if currency_code(code) != code:
        raise ValueError(f"{code!r} is no ISO 4217 code, e.g. CNY")
    return code


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return pattern


def _check_path(path: str) -> str:
    if not all(is_known_path(choice) for choice in path.split("|")):
        raise ValueError(f"{path!r} is no field of a message, e.g. properties.order_id or traits.phone|traits.email")
    return path


def _check_type(name: str) -> str:
    if name not in STANDARD_TYPES | CONTROL_TYPES:
        raise ValueError(f"{name!r} is no type, expected one of {', '.join(sorted(STANDARD_TYPES | CONTROL_TYPES))}")
    return name


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Key(_Strict):
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    note: str = ""
    expires: date | None = None
    public: bool = False
    types: list[Annotated[str, AfterValidator(_check_type)]] = sorted(STANDARD_TYPES)
    events_per_s: float = Field(0.0, ge=0)
    burst_events: float = Field(0.0, ge=0)


class _Rule(_Strict):
    event: str = Field(min_length=1)
    required: list[Annotated[str, AfterValidator(_check_path)]]


class _Source(_Strict):
    region: Annotated[str, AfterValidator(_check_region)] = "CN"
    currency: Annotated[str, AfterValidator(_check_currency)] = "CNY"
    time_zone: Annotated[str, AfterValidator(_check_zone)] = "UTC"
    app_id: str = ""
    corp_id: str = ""
    phone: Literal["identity", "attribute"] = "identity"
    user_id_pattern: Annotated[str, AfterValidator(_check_pattern)] = ""
    max_future_hours: float = Field(24.0, ge=0, le=8_760)
    invalid: Literal["set_aside", "refuse"] = "set_aside"
    rules: list[_Rule] = []
    keys: list[_Key] = Field(min_length=1)


class _File(_Strict):
    sources: dict[Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")], _Source] = Field(min_length=1)


def load_keyring(path: Path) -> Keyring:
    """Read the file. Raises SettingsError with the file and every place that is wrong."""
    try:
        content = _File.model_validate(load_yaml(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"write keys {path}: {error}") from error
    except ValidationError as error:
        found = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
        raise SettingsError(f"write keys {path}:\n  " + "\n  ".join(found)) from error
    grants: dict[str, Grant] = {}
    for name, source in content.sources.items():
        for key in source.keys:
            if key.sha256 in grants:
                raise SettingsError(f"write keys {path}: sources.{name}: key {key.sha256[:8]}… stands twice")
            grants[key.sha256] = _grant(name, source, key)
    return Keyring(grants)


def _grant(name: str, source: _Source, key: _Key) -> Grant:
    by_name: dict[str, tuple[str, ...]] = {}
    for rule in source.rules:
        by_name[rule.event] = by_name.get(rule.event, ()) + tuple(rule.required)
    expires_at = 0
    if key.expires:
        expires_at = int(datetime(key.expires.year, key.expires.month, key.expires.day, tzinfo=UTC).timestamp()) * 1000
    return Grant(
        Source(
            name=name,
            key=key.sha256[:8],
            region=source.region,
            currency=source.currency,
            zone=ZoneInfo(source.time_zone),
            app_id=source.app_id,
            corp_id=source.corp_id,
            phone_identifies=source.phone == "identity",
            user_id_pattern=re.compile(source.user_id_pattern) if source.user_id_pattern else None,
            max_future_ms=int(source.max_future_hours * 3_600_000),
            rules=FieldRules(by_name, source.invalid == "refuse"),
            is_public=key.public,
            types=frozenset(key.types),
            events_per_s=key.events_per_s,
            burst_events=key.burst_events or key.events_per_s,
        ),
        expires_at,
    )
