"""Settings: every mistake at once, nothing of ours ignored, secrets never shown."""

from typing import ClassVar

import pytest
from pydantic import Field, SecretStr, ValidationError

from services.chassis.settings import SettingsError, SharedSettings, env_name, load_settings


class Settings(SharedSettings):
    ENV_PREFIX: ClassVar[str] = "RULES"

    folder: str = Field("rules", description="where the rules are")
    reload_s: int = Field(5, ge=1, description="how often the folder is read")
    api_token: SecretStr = Field(SecretStr(""), max_length=8, description="token of the rules' server")


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(Settings, environ)
    return str(caught.value)


def test_defaults_hold_where_the_environment_is_silent() -> None:
    settings = load_settings(Settings, {"PATH": "/bin", "HOME": "/root"})
    assert (settings.folder, settings.reload_s, settings.partitions) == ("rules", 5, 64)


def test_own_and_shared_variables_have_their_names() -> None:
    assert env_name(Settings, "folder") == "TOUCHSTREAM_RULES_FOLDER"
    assert env_name(Settings, "redis_url") == "TOUCHSTREAM_REDIS_URL"
    environ = {
        "TOUCHSTREAM_RULES_FOLDER": "/etc/rules", "TOUCHSTREAM_PARTITIONS": "8",
        "TOUCHSTREAM_RELAXED_DURABILITY": "true",
    }  # fmt: skip
    settings = load_settings(Settings, environ)
    assert (settings.folder, settings.partitions, settings.relaxed_durability) == ("/etc/rules", 8, True)


def test_settings_cannot_be_changed() -> None:
    settings = load_settings(Settings, {})
    with pytest.raises(ValidationError):
        settings.folder = "elsewhere"


def test_all_mistakes_are_reported_together_with_variable_value_and_meaning() -> None:
    text = refusal(
        {
            "TOUCHSTREAM_RULES_RELOAD_S": "0",
            "TOUCHSTREAM_PARTITIONS": "many",
            "TOUCHSTREAM_LOG_LEVEL": "loud",
            "TOUCHSTREAM_RULES_FLODER": "x",
            "TOUCHSTREAM_KAFKA_BOOTSTAP": "y",
        }
    )
    assert "TOUCHSTREAM_RULES_RELOAD_S='0': Input should be greater than or equal to 1 (how often" in text
    assert "TOUCHSTREAM_PARTITIONS='many'" in text
    assert "TOUCHSTREAM_LOG_LEVEL='loud'" in text
    assert "TOUCHSTREAM_RULES_FLODER: no such setting; did you mean TOUCHSTREAM_RULES_FOLDER?" in text
    assert "TOUCHSTREAM_KAFKA_BOOTSTAP: no such setting; did you mean TOUCHSTREAM_KAFKA_BOOTSTRAP?" in text
    assert text.count("\n") == 5


def test_variables_of_other_processes_may_stand_in_the_same_environment() -> None:
    load_settings(Settings, {"TOUCHSTREAM_INGEST_PORT": "8080", "TOUCHSTREAM_LOCAL_STATE_DIR": "x", "OTHER": "y"})


def test_a_service_name_of_nobody_is_refused() -> None:
    assert "TOUCHSTREAM_RULE_FOLDER: no such setting" in refusal({"TOUCHSTREAM_RULE_FOLDER": "x"})


def test_secrets_are_shown_as_stars_everywhere() -> None:
    environ = {"TOUCHSTREAM_RULES_API_TOKEN": "hush-hush-hush", "TOUCHSTREAM_IDENTIFIER_KEY": "short"}
    text = refusal(environ)
    assert "hush" not in text
    assert "short" not in text.replace("too short", "")
    assert "TOUCHSTREAM_RULES_API_TOKEN=***" in text
    assert "TOUCHSTREAM_IDENTIFIER_KEY=***" in text
    settings = load_settings(Settings, {"TOUCHSTREAM_RULES_API_TOKEN": "hush"})
    assert "hush" not in f"{settings!r} {settings}"


@pytest.mark.parametrize("key", ["", "fifteen letters", "x" * 65])
def test_the_identifier_key_must_have_a_secrets_length(key: str) -> None:
    assert "TOUCHSTREAM_IDENTIFIER_KEY=***" in refusal({"TOUCHSTREAM_IDENTIFIER_KEY": key})


def test_the_identifier_key_is_cut_to_what_the_digest_takes() -> None:
    settings = load_settings(Settings, {"TOUCHSTREAM_IDENTIFIER_KEY": "\N{CJK UNIFIED IDEOGRAPH-5BC6}" * 30})
    assert len(settings.identifier_key_bytes()) == 64
