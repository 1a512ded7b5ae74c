"""The destinations file: mistakes are told with file and key, secrets come from the environment and never show."""

from pathlib import Path

import pytest
import yaml

from services.chassis.clock import now_ms
from services.chassis.errors import Fatal
from services.notify.adapters.destinations import Destinations, load_destinations
from services.notify.channels.opening import open_sender
from services.notify.channels.sink import SinkSender, SinkStore

SHIPPED = "deploy/config/destinations.yaml"
CRM = {"channel": "webhook", "url": "https://crm.example.com", "secret": "env:CRM"}
ENVIRON = {"CRM": "whsec_dG91Y2hzdHJlYW0="}


def load(tmp_path: Path, document: object, environ: dict[str, str] = ENVIRON) -> Destinations:
    file = tmp_path / "destinations.yaml"
    file.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return load_destinations(str(file), environ)


def test_the_shipped_file_sends_everything_to_the_sink_without_any_secret() -> None:
    found = load_destinations(SHIPPED, {})
    sink = SinkStore(10, now_ms)
    assert found.is_test
    assert {item.config.channel for item in found.by_name.values()} == {"email", "webhook", "wecom", "apprise", "sink"}
    assert all(isinstance(open_sender(item, sink, now_ms), SinkSender) for item in found.by_name.values())


def test_the_shipped_file_with_test_mode_off_asks_for_every_secret_by_name(tmp_path: Path) -> None:
    text = Path(SHIPPED).read_text().replace("test_mode: true", "test_mode: false")
    with pytest.raises(Fatal) as told:
        load(tmp_path, text, {})
    for name in ("SMTP_PASSWORD", "CRM_WEBHOOK_SECRET", "WECOM_ROBOT_URL", "TEAM_CHAT_URL"):
        assert name in str(told.value)


@pytest.mark.parametrize(
    "url", ["https://crm.example.com/x", "http://127.0.0.1:9/x", "http://[::1]/", "http://localhost/"]
)
def test_a_webhook_goes_over_https_or_stays_on_this_machine(tmp_path: Path, url: str) -> None:
    assert "crm" in load(tmp_path, {"destinations": {"crm": {**CRM, "url": url}}}).by_name


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"destinations": {"crm": {**CRM, "url": "ftp://x"}}}, "destinations.crm.url"),
        (
            {"destinations": {"crm": {**CRM, "url": "http://crm.example.com"}}},
            "crm.url: Value error, expected an https",
        ),
        ({"destinations": {"crm": {**CRM, "url": "https://"}}}, "destinations.crm.url"),
        (
            {"destinations": {"crm": {**CRM, "secret": "hunter2"}}},
            "destinations.crm.secret: Value error, must read env:",
        ),
        ({"destinations": {"crm": {**CRM, "secret": "env:MISSING"}}}, "the environment variable MISSING is not set"),
        ({"destinations": {"crm": {**CRM, "rate": "20 a minute"}}}, "destinations.crm.rate"),
        ({"destinations": {"crm": {**CRM, "colour": "red"}}}, "destinations.crm.colour"),
        ({"destinations": {"crm": {"channel": "pigeon"}}}, "destinations.crm"),
        ({"destinations": {"Crm!": CRM}}, "destinations.Crm!"),
        ({"destinations": {"crm": CRM}, "defaults": {"sms": "nowhere"}}, "defaults.sms: no destination 'nowhere'"),
        ({"destinations": {}}, "destinations"),
        ("[", "cannot be read"),
        ("test_mode: true\ntest_mode: false\n", "test_mode: expected once, stands on line 1 and on line 2"),
        ("7", "the file"),
        (
            {"destinations": {"mail": {"channel": "email", "host": "h", "sender": "no address"}}},
            "destinations.mail.sender",
        ),
    ],
)
def test_a_mistake_is_told_with_the_file_and_the_key_and_without_the_value(
    tmp_path: Path, document: object, expected: str
) -> None:
    with pytest.raises(Fatal) as told:
        load(tmp_path, document)
    assert expected in str(told.value)
    assert "destinations.yaml" in str(told.value)
    assert "hunter2" not in str(told.value)


def test_all_mistakes_are_told_together(tmp_path: Path) -> None:
    with pytest.raises(Fatal) as told:
        load(tmp_path, {"destinations": {"a": {**CRM, "url": "x"}, "b": {**CRM, "timeout_s": -1}}})
    assert "destinations.a.url" in str(told.value)
    assert "destinations.b.timeout_s" in str(told.value)


def test_secrets_do_not_show_when_printed(tmp_path: Path) -> None:
    found = load(tmp_path, {"destinations": {"crm": CRM}})
    assert ENVIRON["CRM"] not in repr(found)


def test_a_secret_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    found = load(tmp_path, {"destinations": {"crm": CRM}}, {"CRM": "whsec_not base64!"})
    with pytest.raises(Fatal, match="destination crm"):
        open_sender(found.by_name["crm"], SinkStore(1, now_ms), now_ms)


def test_retry_overrides_change_the_policy_and_wecom_keeps_its_limit(tmp_path: Path) -> None:
    document = {
        "destinations": {
            "crm": {**CRM, "retry": {"first_s": 1, "give_up_after_s": 60}},
            "group": {"channel": "wecom", "url": "env:CRM"},
        }
    }
    found = load(tmp_path, document)
    policy = found.by_name["crm"].policy
    assert (policy.first_ms, policy.give_up_after_ms) == (1_000, 60_000)
    assert found.by_name["group"].config.rate == (20, 61_000)
