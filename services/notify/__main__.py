"""python -m services.notify: read the settings, open what is outside, run, close in reverse."""

import os

from services.chassis import failpoints
from services.chassis.clock import now_ms
from services.chassis.health import Health, serve_ops
from services.chassis.logs import configure_logs
from services.chassis.redis.client import async_client
from services.chassis.run import Stop, run
from services.chassis.settings import load_settings
from services.notify.adapters.destinations import Destinations, load_destinations
from services.notify.adapters.durable import wait_for_log, wait_for_redis
from services.notify.app import Stream
from services.notify.channels.sink import SinkStore
from services.notify.channels.sink_server import SinkServer
from services.notify.process import leave, run_to_end
from services.notify.settings import NotifySettings
from services.notify.wiring import assemble


def main(stop: Stop) -> None:
    """Run until stop is set."""
    settings = load_settings(NotifySettings)
    configure_logs("notify", settings.log_level)
    failpoints.configure(settings.failpoints, "notify")
    destinations = load_destinations(settings.destinations, os.environ)
    health, sink = Health(), SinkStore(settings.sink_size, now_ms)
    ops = serve_ops(settings.metrics_port, health, settings.ops_host)
    sink_server = SinkServer(settings.ops_host, settings.sink_port, sink)
    try:
        wait_for_redis(settings.redis_url, settings.relaxed_durability, stop)
        wait_for_log(settings, health, stop)
        run_to_end(serve(settings, destinations, sink, health, stop))
    finally:
        sink_server.close()
        ops.close()


async def serve(
    settings: NotifySettings, destinations: Destinations, sink: SinkStore, health: Health, stop: Stop
) -> None:
    """The notifier on an event loop."""
    client = async_client(settings.redis_url)
    try:
        stream = Stream(settings, health)
        notifier = assemble(settings, destinations, client, stream, stream.owned, sink, health)
        stream.feed(notifier.intake)
        await stream.run(notifier, stop)
    finally:
        await client.aclose()


if __name__ == "__main__":
    leave(run(main))
