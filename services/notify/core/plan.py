"""From a trigger to its deliveries: one per action, addressed and rendered, or ended at once with the reason.

Pure: ids come from `make_id`, time from `now_ms`. The same trigger gives the same delivery ids for ever, so planning it
again (a replay) cannot reach anybody twice.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from services.notify.core.filters import RenderError
from services.notify.core.mask import is_mailbox, mask_mailbox
from services.notify.core.model import Content, Delivery, Status
from services.notify.core.templates import Templates

MakeId = Callable[[str, str], str]
_KEYS = {"channel", "destination", "template", "params"}


class Malformed(Exception):  # noqa: N818
    """A trigger that cannot be planned at all: it goes to the dead letters."""


class Action(msgspec.Struct, frozen=True):
    """One action of a rule. `mistake` is set when it cannot be read; it then ends as `failed` with that reason."""

    channel: str = ""
    destination: str = ""
    template: str = ""
    params: dict[str, Any] = {}
    mistake: str = ""


class Trigger(msgspec.Struct, frozen=True):
    """What notify needs of a trigger."""

    trigger_id: str
    rule: str
    customer_id: str
    name: str
    fired_at: int
    accepted_at: int
    actions: list[Action]
    profile: dict[str, Any]
    properties: dict[str, Any]


class Route(msgspec.Struct, frozen=True):
    """What planning must know of a destination; no address, no secret."""

    name: str
    channel: str
    language: str


class Routes(msgspec.Struct, frozen=True):
    """Destinations by name, and the one that serves a channel named without a destination."""

    routes: dict[str, Route]
    defaults: dict[str, str]
    zone: str = "UTC"

    def find(self, channel: str, destination: str) -> Route | None:
        """The destination by name, else the channel's default, else the first destination of that channel."""
        if destination:
            return self.routes.get(destination)
        named = self.routes.get(self.defaults.get(channel, ""))
        return named or next((route for route in self.routes.values() if route.channel == channel), None)


def read_trigger(record: Mapping[str, Any]) -> Trigger:
    """A decoded record of the topic `triggers`. Raises Malformed."""
    actions = _json(record, "actions", list)
    return Trigger(
        record["trigger_id"], record["rule"], record["customer_id"], record["name"], record["fired_at"],
        record["accepted_at"], [read_action(item) for item in actions], _json(record, "profile", dict),
        _json(record, "properties", dict),
    )  # fmt: skip


def read_action(item: object) -> Action:
    """`{"channel": …, "destination": …, "template": …, "params": {…}}`, or short `{"<channel>": {"template": …}}`."""
    if isinstance(item, dict) and "channel" not in item and len(item) == 1:
        channel, body = next(iter(item.items()))
        if isinstance(body, dict):
            params = {**body.get("params", {}), **{key: body[key] for key in body if key not in _KEYS}}
            item = {"channel": channel, "params": params} | {key: body[key] for key in _KEYS & body.keys() - {"params"}}
    try:
        return msgspec.convert(item, Action)
    except msgspec.ValidationError as error:
        return Action(mistake=f"action cannot be read: {error}")


def _json(record: Mapping[str, Any], field: str, kind: type) -> Any:
    try:
        value = json.loads(record[field])
    except ValueError as error:
        raise Malformed(f"{field} is not JSON: {error}") from error
    if not isinstance(value, kind):
        raise Malformed(f"{field} is a {type(value).__name__}, expected {kind.__name__}")
    return value


def plan(trigger: Trigger, routes: Routes, templates: Templates, make_id: MakeId, now_ms: int) -> list[Delivery]:
    """One delivery per action, in order."""
    return [
        _plan_one(trigger, action, make_id(trigger.trigger_id, str(index)), routes, templates, now_ms)
        for index, action in enumerate(trigger.actions)
    ]


def _plan_one(
    trigger: Trigger, action: Action, delivery_id: str, routes: Routes, templates: Templates, now_ms: int
) -> Delivery:
    route = routes.find(action.channel, action.destination)
    unaddressed = Delivery(
        delivery_id, trigger.trigger_id, trigger.customer_id, trigger.rule, route.channel if route else action.channel,
        route.name if route else "", route.name if route else action.destination, action.template, Content(), "",
        trigger.fired_at, trigger.accepted_at, now_ms,
    )  # fmt: skip
    if action.mistake:
        return _ended(unaddressed, Status.FAILED, action.mistake)
    if route is None:
        wanted = f"destination {action.destination!r}" if action.destination else f"channel {action.channel!r}"
        return _ended(unaddressed, Status.FAILED, f"{wanted} is not configured")
    addressed = _addressed(unaddressed, trigger, action)
    if addressed.status is not None:
        return addressed
    context = _context(trigger, action, delivery_id, routes.zone)
    try:
        content = templates.render(action.template, route.channel, _language(trigger, action, route), context)
    except RenderError as error:
        return _ended(addressed, Status.FAILED, f"not rendered: {error}")
    return msgspec.structs.replace(addressed, content=content)


def _addressed(delivery: Delivery, trigger: Trigger, action: Action) -> Delivery:
    """Only e-mail has a recipient of its own; everything else goes where the destination points."""
    if delivery.channel != "email":
        return delivery
    to = action.params.get("to") or _traits(trigger).get("email")
    if not to:
        return _ended(delivery, Status.SUPPRESSED, "no recipient: the profile has no e-mail address")
    if not isinstance(to, str) or not is_mailbox(to):
        return _ended(delivery, Status.SUPPRESSED, "no recipient: not a usable e-mail address")
    return msgspec.structs.replace(delivery, to=to, label=f"{delivery.destination}:{mask_mailbox(to)}")


def _ended(delivery: Delivery, status: Status, reason: str) -> Delivery:
    return msgspec.structs.replace(delivery, status=status, reason=reason)


def _traits(trigger: Trigger) -> dict[str, Any]:
    traits = trigger.profile.get("traits")
    return traits if isinstance(traits, dict) else {}


def _language(trigger: Trigger, action: Action, route: Route) -> str:
    traits = _traits(trigger)
    wanted = action.params.get("language") or traits.get("language") or traits.get("locale") or route.language
    return str(wanted).replace("_", "-")


def _context(trigger: Trigger, action: Action, delivery_id: str, zone: str) -> dict[str, object]:
    """The names a template may use; README.md lists them."""
    return {
        "delivery_id": delivery_id,
        "trigger_id": trigger.trigger_id,
        "rule": trigger.rule,
        "customer_id": trigger.customer_id,
        "fired_at": trigger.fired_at,
        "profile": trigger.profile,
        "traits": _traits(trigger),
        "event": {"name": trigger.name, "properties": trigger.properties},
        "params": action.params,
        "zone": zone,
    }
