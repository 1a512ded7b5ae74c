"""profile.yaml is checked: the message names the key and what was expected."""

from pathlib import Path

import pytest
import yaml

from services.chassis.errors import Fatal
from services.profile.adapters import load_config
from services.profile.core.configuration import ConfigError, parse_config
from tests.unit.profile.profile_builders import SHIPPED as TAGS

FOLDER = Path(__file__).parents[3] / "deploy" / "config"
SHIPPED = FOLDER / "profile.yaml"


def test_the_shipped_file_states_the_defaults():
    shipped = parse_config(yaml.safe_load(SHIPPED.read_text()), TAGS)
    default = parse_config(None, TAGS)
    assert (shipped.windows, shipped.kinds) == (default.windows, default.kinds)
    assert (shipped.passive, shipped.currency) == (default.passive, default.currency)
    assert shipped.calendar.zone == default.calendar.zone == "Asia/Shanghai"


def test_the_time_zone_of_the_file_beats_the_environment():
    assert parse_config({}, TAGS, "Europe/Berlin").calendar.zone == "Europe/Berlin"
    assert parse_config({"time_zone": "Asia/Tokyo"}, TAGS, "Europe/Berlin").calendar.zone == "Asia/Tokyo"


RATES = {"as_of": "2026-11-01", "to_main": {"USD": 7}}


@pytest.mark.parametrize(
    ("data", "is_another"),
    [
        ({"windows_days": {"rfm": 90}}, True),
        ({"currency": "EUR"}, True),
        ({"rates": RATES}, True),
        ({"rates": RATES | {"to_main": {"USD": 7.1}}}, True),
        ({"windows_days": {"rfm": 365}, "currency": "CNY"}, False),
        # A vocabulary counts for later events: nothing that was concluded is said otherwise.
        ({"events": {"login": ["Came In"]}}, False),
    ],
)
def test_what_counts_at_once_makes_another_version(data, is_another):
    assert (parse_config(data, TAGS).catalogue.version != parse_config(None, TAGS).catalogue.version) is is_another


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"limits": {"at_risk_days": 3}}, ["limits"]),
        ({"windows_days": {"rfm": 366}}, ["365", "$.windows_days.rfm"]),
        ({"windows_days": {"rfm": "a year"}}, ["int", "$.windows_days.rfm"]),
        ({"events": {"purchase": []}}, ["events.purchase", "at least one"]),
        ({"events": {"purchase": ["A"], "refund": ["A"]}}, ["'A'", "both"]),
        ({"events": {"quiet": ["Logged In"]}}, ["events.quiet", "Logged In"]),
        ({"time_zone": "Mars/Olympus"}, ["time_zone", "IANA", "Mars/Olympus"]),
        ({"currency": "yuan"}, ["$.currency"]),
        ({"rates": {"to_main": {"USD": 7}}}, ["as_of", "$.rates"]),
        ({"rates": {"as_of": "2026-11-01", "to_main": {"USD": 0}}}, ["rates.to_main.USD", "above 0"]),
        ({"rates": {"as_of": "2026-11-01", "to_main": {"USD": float("inf")}}}, ["rates.to_main.USD", "above 0"]),
        ({"rates": {"as_of": "2026-11-01", "to_main": {"CNY": 1}}}, ["other currencies", "CNY"]),
        ({"rates": {"as_of": "2026-11-01", "to_main": {"QQQ": 1}}}, ["ISO 4217", "QQQ"]),
        ({"currency": "QQQ"}, ["ISO 4217", "QQQ"]),
        ([], ["object"]),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(data, words):
    with pytest.raises(ConfigError) as caught:
        parse_config(data, TAGS)
    assert all(word in str(caught.value) for word in words)
    assert str(caught.value).startswith("profile.yaml: ")


@pytest.mark.parametrize("content", [b"limits: {", b"\xff\xfe\xfa", b"[]"])
def test_a_file_that_cannot_be_read_stops_the_start_with_its_name(tmp_path: Path, content: bytes):
    path = tmp_path / "profile.yaml"
    path.write_bytes(content)
    with pytest.raises(Fatal, match=f"profile configuration {path}: "):
        load_config(str(path), str(FOLDER / "tags.yaml"), "Asia/Shanghai")
