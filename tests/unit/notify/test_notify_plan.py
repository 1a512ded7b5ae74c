"""Triggers become addressed, rendered deliveries, or end at once with a reason."""

import json

import pytest

from services.chassis.ids import stable_id
from services.notify.core.model import Delivery, Status
from services.notify.core.plan import Action, Malformed, plan, read_action, read_trigger
from tests.unit.notify.notify_builders import NOW_MS, routes, templates, trigger, trigger_record


def planned(*actions: Action, **more: object) -> list[Delivery]:
    return plan(trigger(*actions, **more), routes(), templates(), stable_id, NOW_MS)


def test_every_action_becomes_one_delivery_whose_id_is_its_place_in_the_trigger() -> None:
    found = planned(Action("webhook", "", "hello"), Action("email", "", "hello"))
    assert [d.delivery_id for d in found] == [stable_id("t1", "0"), stable_id("t1", "1")]
    assert [(d.channel, d.destination, d.status) for d in found] == [("webhook", "crm", None), ("email", "mail", None)]


def test_an_email_goes_to_the_profiles_address_and_shows_it_masked() -> None:
    (found,) = planned(Action("email", "", "hello"))
    assert (found.to, found.label) == ("lena@example.com", "mail:l***@example.com")
    assert (found.content.subject, found.content.html) == ("Hello Lena", "<p>Dear Lena.</p>")


def test_an_action_may_name_another_recipient() -> None:
    (found,) = planned(Action("email", "", "hello", {"to": "shop@example.com"}))
    assert found.to == "shop@example.com"


@pytest.mark.parametrize("email", [None, "", "lena", "a@b\nBcc: x@y", "x" * 300 + "@example.com", 7, "a@b, c@d"])
def test_without_a_usable_address_an_email_is_suppressed_with_the_reason(email: object) -> None:
    (found,) = planned(Action("email", "", "hello"), profile={"traits": {"name": "Lena", "email": email}})
    assert found.status is Status.SUPPRESSED
    assert found.reason.startswith("no recipient")
    assert str(email or "?") not in found.label + found.reason


def test_a_channel_finds_its_destination_by_name_by_default_or_as_the_first_of_its_kind() -> None:
    found = planned(
        Action("webhook", "group", "hello"), Action("sms", "", "hello"), Action("wecom", "", "hello"),
        Action("", "mail", "hello"),
    )  # fmt: skip
    assert [d.destination for d in found] == ["group", "group", "group", "mail"]


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (Action("webhook", "nowhere", "hello"), "destination 'nowhere' is not configured"),
        (Action("pigeon", "", "hello"), "channel 'pigeon' is not configured"),
        (Action("webhook", "", "goodbye"), "not rendered: template 'goodbye' does not exist"),
        (Action(mistake="action cannot be read"), "action cannot be read"),
    ],
)
def test_what_cannot_be_sent_ends_as_failed_with_the_reason(action: Action, reason: str) -> None:
    (found,) = planned(action)
    assert (found.status, found.reason) == (Status.FAILED, reason)


def test_one_bad_action_does_not_touch_its_neighbour() -> None:
    found = planned(Action(mistake="x"), Action("webhook", "", "hello"))
    assert [d.status for d in found] == [Status.FAILED, None]


def test_the_language_comes_from_the_action_then_the_customer_then_the_destination() -> None:
    chinese = {"traits": {"name": "Lena", "email": "lena@example.com", "language": "zh_CN"}}
    found = [
        planned(Action("email", "", "hello", {"language": "en"}), profile=chinese)[0],
        planned(Action("email", "", "hello"), profile=chinese)[0],
        planned(Action("email", "", "hello"))[0],
    ]
    assert [d.content.language for d in found] == ["en", "zh", "en"]


def test_a_trigger_is_read_from_its_record() -> None:
    found = read_trigger(trigger_record({"channel": "email", "template": "hello", "params": {"a": 1}}))
    assert found.actions == [Action("email", "", "hello", {"a": 1})]
    assert found.profile["traits"]["name"] == "Lena"


def test_the_short_form_of_an_action_is_understood() -> None:
    assert read_action({"email": {"template": "hello", "days": 3}}) == Action("email", "", "hello", {"days": 3})


@pytest.mark.parametrize("item", [7, None, {"channel": 7}, {"channel": "email", "params": []}, [], {}])
def test_an_unreadable_action_carries_its_mistake(item: object) -> None:
    found = read_action(item)
    assert found.mistake or found == Action()


@pytest.mark.parametrize("field", ["actions", "profile", "properties"])
def test_a_trigger_whose_json_is_broken_is_malformed(field: str) -> None:
    with pytest.raises(Malformed, match=field):
        read_trigger(trigger_record(**{field: b"{"}))
    with pytest.raises(Malformed, match=field):
        read_trigger(trigger_record(**{field: json.dumps("text").encode()}))
