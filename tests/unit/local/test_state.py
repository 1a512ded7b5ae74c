"""The state folder around starts: data set aside, addresses and ports, what children are told."""

import os
from pathlib import Path

import pytest

from deploy.local.exclusive import StackError, StateLock
from deploy.local.processes import SERVICES, local_stack, metrics_port, metrics_urls
from deploy.local.settings import LocalSettings, child_environment, local_settings
from deploy.local.stack import DRAINED, set_aside
from services.chassis.settings import SettingsError
from services.identity.settings import IdentitySettings
from services.ingest.settings import IngestSettings
from services.notify.settings import NotifySettings
from services.profile.archive.settings import ArchiveSettings
from services.profile.settings import ProfileSettings
from services.rules.settings import RulesSettings


def test_former_data_are_set_aside_not_deleted(tmp_path: Path) -> None:
    settings = LocalSettings(state_dir=tmp_path)
    assert set_aside(settings) is None
    (tmp_path / "valkey").mkdir()
    (tmp_path / "valkey" / "aof").write_text("everything")
    (tmp_path / DRAINED).touch()
    aside = set_aside(settings)
    assert aside is not None
    assert (aside / "valkey" / "aof").read_text() == "everything"
    assert not (tmp_path / "valkey").exists()
    assert not (tmp_path / DRAINED).exists()


def test_data_of_a_running_stack_stay_where_they_are(tmp_path: Path) -> None:
    settings = LocalSettings(state_dir=tmp_path)
    (tmp_path / "valkey").mkdir()
    lock = StateLock(settings)
    with pytest.raises(StackError, match="already runs"):
        set_aside(settings)
    lock.release()
    assert (tmp_path / "valkey").exists()


def test_the_table_agrees_with_the_services_own_defaults() -> None:
    classes = {
        "ingest": IngestSettings,
        "identity": IdentitySettings,
        "profile": ProfileSettings,
        "archive": ArchiveSettings,
        "rules": RulesSettings,
        "notify": NotifySettings,
    }
    assert {name: port for name, _, port in SERVICES} == {
        name: cls.model_fields["metrics_port"].default for name, cls in classes.items()
    }
    ports = {port.variable: port.number for spec in local_stack(LocalSettings(), {}) for port in spec.ports}
    assert ports["TOUCHSTREAM_INGEST_PORT"] == IngestSettings.model_fields["port"].default
    assert ports["TOUCHSTREAM_NOTIFY_SINK_PORT"] == NotifySettings.model_fields["sink_port"].default


def test_children_get_the_stacks_defaults_and_the_callers_choices() -> None:
    settings = local_settings({"TOUCHSTREAM_LOCAL_STATE_DIR": "/tmp/elsewhere"})
    told = child_environment(settings, {"TOUCHSTREAM_RULES_METRICS_PORT": "7", "PATH": os.defpath})
    assert told["TOUCHSTREAM_PARTITIONS"] == "2"
    assert told["TOUCHSTREAM_KAFKA_SESSION_TIMEOUT_MS"] == "6000"
    assert told["TOUCHSTREAM_RELAXED_DURABILITY"] == "true"
    assert told["TOUCHSTREAM_RULES_METRICS_PORT"] == "7"
    assert told["TOUCHSTREAM_KAFKA_FETCH_WAIT_MS"] == "25"
    assert told["TOUCHSTREAM_INGEST_LINGER_MS"] == "20"
    own = {"relaxed_durability": True, "kafka_fetch_wait_ms": 25}
    assert local_settings(told) == settings.model_copy(update=own)
    strict = settings.model_copy(update={"appendfsync": "always"})
    assert child_environment(strict, {})["TOUCHSTREAM_RELAXED_DURABILITY"] == "false"


def test_wrong_addresses_and_ports_are_named() -> None:
    with pytest.raises(SettingsError, match="TOUCHSTREAM_RULES_METRICS_PORT='x'"):
        metrics_port({"TOUCHSTREAM_RULES_METRICS_PORT": "x"}, "rules")
    with pytest.raises(SettingsError, match=r"TOUCHSTREAM_KAFKA_BOOTSTRAP='kafka:9092'.*this machine only"):
        _ = LocalSettings(kafka_bootstrap="kafka:9092").kafka_address
    assert metrics_urls({"TOUCHSTREAM_RULES_METRICS_PORT": "7000"})["rules"] == "http://127.0.0.1:7000/metrics"
