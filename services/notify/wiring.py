"""The parts of the notifier, put together."""

import random
from collections.abc import Awaitable, Callable, Sequence

from services.chassis.avro import Codec
from services.chassis.clock import now_ms
from services.chassis.errors import Retriable
from services.chassis.failpoints import fp_async
from services.chassis.health import Health
from services.chassis.records import Output
from services.chassis.registry import open_registry
from services.notify.adapters.destinations import Destination, Destinations
from services.notify.adapters.store import DAY_MS, Client, Store
from services.notify.adapters.template_files import load_templates
from services.notify.channels.opening import open_sender
from services.notify.channels.sink import SinkStore
from services.notify.handler.intake import Intake, Planner
from services.notify.handler.lane import Context, Limits
from services.notify.handler.marker import Marker
from services.notify.handler.notifier import Notifier, Opened
from services.notify.handler.persist import Persistence
from services.notify.handler.relay import Publisher, Relay
from services.notify.settings import NotifySettings

SINK_CONCURRENCY = 64
SINK_TIMEOUT_S = 2.0
# A channel's own time-out knows whether anything was sent; the lane's, which does not, comes after it.
GRACE_S = 0.5


def assemble(
    settings: NotifySettings, destinations: Destinations, client: Client, publisher: Publisher,
    owned: Callable[[], Sequence[int]], sink: SinkStore, health: Health,
) -> Notifier:  # fmt: skip
    """A notifier that has not started. Raises Fatal for templates or destinations that cannot be used."""
    store = Store(client, int(settings.remember_days * DAY_MS))
    persistence = Persistence(health)
    registry = open_registry(settings.schema_registry_url)
    encode = Codec("delivery", registry).encode
    planner = Planner(
        Codec("trigger", registry).decode, encode, destinations.routes(settings.time_zone),
        load_templates(settings.templates, destinations.language), settings.partitions, now_ms, registry,
    )  # fmt: skip
    relay = Relay(store, publisher, persistence, owned)
    context = Context(
        store, Marker(store, persistence), persistence, encode, settings.partitions, now_ms, random.random, relay.wake
    )
    opened = {
        name: Opened(open_sender(item, sink, now_ms), item.policy, limits_of(item, settings))
        for name, item in destinations.by_name.items()
    }
    notifier: Notifier

    def on_accepted(waiting: set[str]) -> None:
        notifier.wake(waiting)
        relay.wake()  # what ended at once already waits in the outbox

    intake = Intake(planner, store, persistence, _dead_letters(publisher), on_accepted, settings.intake_batch)
    notifier = Notifier(intake, relay, store, persistence, context, opened)
    return notifier


def limits_of(item: Destination, settings: NotifySettings) -> Limits:
    """How fast a destination may be used; the sink needs no provider's rate."""
    if item.is_sink:
        return Limits(SINK_CONCURRENCY, SINK_TIMEOUT_S, int((SINK_TIMEOUT_S + settings.lease_margin_s) * 1_000))
    config = item.config
    timeout_s = config.timeout_s + GRACE_S
    return Limits(config.concurrency, timeout_s, int((timeout_s + settings.lease_margin_s) * 1_000), config.rate)


def _dead_letters(publisher: Publisher) -> Callable[[Output], Awaitable[None]]:
    async def publish(output: Output) -> None:
        await fp_async("before_dead_letter", Retriable)
        await publisher.publish(output.topic, output.partition, [output])
        await fp_async("after_dead_letter", Retriable)

    return publish
