"""Which file serves a template, a channel and a language."""

from functools import cache
from pathlib import Path

import msgspec
import pytest
import yaml

from services.chassis.errors import Fatal
from services.chassis.ids import stable_id
from services.notify.adapters.destinations import load_destinations
from services.notify.adapters.template_files import load_templates
from services.notify.core.filters import RenderError
from services.notify.core.plan import Action, plan, read_action
from services.notify.core.render import TemplateMistake
from services.notify.core.templates import Templates
from tests.unit.notify.notify_builders import FILES, NOW_MS, trigger

FOLDER, FILE = "deploy/config/templates", "deploy/config/destinations.yaml"
SHIPPED = ("welcome", "first-order", "coupon", "care_90_days", "vip_watch")
shipped_templates = cache(lambda: load_templates(FOLDER, "zh"))
CONTEXT: dict[str, object] = {"traits": {"name": "Lena\n Li"}, "fired_at": NOW_MS}


@pytest.mark.parametrize(
    ("wanted", "found"), [("zh", "zh"), ("zh-CN", "zh"), ("en-GB", "en"), ("fr", "en"), ("", "en")]
)
def test_a_language_falls_back_to_its_base_then_to_the_default(wanted: str, found: str) -> None:
    assert Templates(FILES, "en").render("hello", "email", wanted, CONTEXT).language == found


def test_a_subject_is_one_line_whatever_a_customer_is_called() -> None:
    assert Templates(FILES).render("hello", "email", "en", CONTEXT).subject == "Hello Lena Li"


def test_a_channel_without_a_form_of_its_own_uses_the_text() -> None:
    only_text = Templates({"hello/text.txt": "*{{ traits.name }}*"})
    context = {"traits": {"name": "<Lena>"}}
    assert only_text.render("hello", "wecom", "zh", context).text == "*＜Lena＞*"
    assert only_text.render("hello", "apprise", "zh", context).text == "*<Lena>*"
    with pytest.raises(RenderError, match="no form for the channel 'email'"):
        only_text.render("hello", "email", "zh", context)


def test_a_form_that_is_missing_is_taken_from_the_template_default() -> None:
    files = {"hello/text.txt": "x", "default/webhook.json": '{"rule": "{{ rule }}"}'}
    assert Templates(files).render("hello", "webhook", "", {"rule": "r"}).body == '{"rule":"r"}'
    with pytest.raises(RenderError, match="'default' does not exist"):
        Templates(files).render("default", "webhook", "", {"rule": "r"})


def test_hyphens_and_underscores_in_a_templates_name_are_the_same() -> None:
    assert Templates({"first_order/text.txt": "x"}).render("first-order", "apprise", "", {}).text == "x"


def test_every_mistake_is_told_at_once_with_its_file() -> None:
    files = {
        "a/email.en.txt": "no subject", "b/email.en.html": "<p></p>", "c/pigeon.txt": "x", "d/webhook.json": "[",
        "e/text.txt": "{{ f() }}",
    }  # fmt: skip
    with pytest.raises(TemplateMistake) as mistakes:
        Templates(files)
    told = str(mistakes.value)
    assert all(name in told for name in ("a/email.en.txt:1", "b/email.en.html", "c/pigeon.txt", "d/webhook", "e/text"))


def test_a_missing_folder_stops_the_process() -> None:
    with pytest.raises(Fatal, match="does not exist"):
        load_templates("/nowhere", "en")


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("channel", ["email", "webhook", "wecom", "apprise"])
@pytest.mark.parametrize("template", SHIPPED)
def test_every_shipped_template_renders_for_a_customer_of_whom_little_is_known(
    template: str, channel: str, language: str
) -> None:
    routes = load_destinations(FILE, {}).routes("Asia/Shanghai")
    found = trigger(
        Action(channel, "", template, {"language": language}), profile={"traits": {"email": "lena@example.com"}}
    )
    (planned,) = plan(found, routes, shipped_templates(), stable_id, NOW_MS)
    assert (planned.status, planned.reason) == (None, "")
    assert planned.content.text or planned.content.body
    if channel == "email":
        assert planned.content.subject
        assert "<html" in planned.content.html
        assert planned.content.language == language


@pytest.mark.parametrize("channel", ["webhook", "wecom", "apprise"])
def test_the_shipped_task_names_its_title_and_when_it_is_due(channel: str) -> None:
    routes = load_destinations(FILE, {}).routes("Asia/Shanghai")
    found = trigger(Action(channel, "", "task", {"title": "Call back", "due_hours": 24, "language": "en"}))
    (planned,) = plan(found, routes, shipped_templates(), stable_id, NOW_MS)
    text = planned.content.text or planned.content.body
    assert "Call back" in text
    assert "2025-06-16" in text


def test_every_action_of_the_shipped_rules_has_its_destination_and_template() -> None:
    destinations, found = load_destinations(FILE, {}), shipped_templates()
    actions = [
        read_action(item)
        for path in sorted(Path("deploy/config/rules").glob("*.yaml"))
        for item in yaml.safe_load(path.read_text())["then"]
    ]
    assert len(actions) >= 5
    for action in actions:
        fired = trigger(msgspec.structs.replace(action, params={**action.params, "language": "en"}))
        (planned,) = plan(fired, destinations.routes("Asia/Shanghai"), found, stable_id, NOW_MS)
        assert (planned.status, planned.reason) == (None, ""), action
