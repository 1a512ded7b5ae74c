"""Wiring of profile: `python -m services.profile`."""

import sys

from services.chassis import failpoints
from services.chassis.health import Health, serve_ops
from services.chassis.kafka.line import LedgerWorker, Worker
from services.chassis.kafka.loop import Loop, LoopConfig
from services.chassis.kafka.loop_metrics import LoopMetrics
from services.chassis.logs import configure_logs
from services.chassis.redis.client import assert_durable, sync_client
from services.chassis.redis.ledger import Claim, Ledger
from services.chassis.redis.shared import SharedValue
from services.chassis.run import Stop, run
from services.chassis.settings import load_settings
from services.profile.adapters import ThresholdSource, load_config
from services.profile.handler import SERVICE, ProfileHandler
from services.profile.settings import ProfileSettings
from services.profile.thresholds import KEY, open_refresher

TOPIC = "touchpoints.resolved"


def main(stop: Stop) -> None:
    """Run profile until stop is set."""
    settings = load_settings(ProfileSettings)
    configure_logs(SERVICE, settings.log_level)
    failpoints.configure(settings.failpoints)
    health = Health()
    ops = serve_ops(settings.metrics_port, health, settings.ops_host)
    redis_client = sync_client(settings.redis_url)
    assert_durable(redis_client, settings.relaxed_durability)
    config = load_config(settings.config, settings.time_zone)
    ledger = Ledger(redis_client)
    loop: Loop | None = None

    def owns_first() -> bool:
        return loop is not None and (TOPIC, 0) in loop.lines

    refresh = open_refresher(settings, SharedValue(redis_client, KEY), config.calendar, owns_first)
    thresholds = ThresholdSource(refresh, settings.thresholds_interval_s)

    def open_worker(claim: Claim) -> Worker:
        handler = ProfileHandler(
            claim.slot, ledger, claim.waits, config, settings.partitions, thresholds.current, settings.cache_customers
        )
        return LedgerWorker(claim, ledger, handler, SERVICE, handler.sweep)

    thresholds.start()
    loop_config = LoopConfig(SERVICE, TOPIC, batch_max=settings.batch_max)
    try:
        loop = Loop(loop_config, settings, ledger, open_worker, LoopMetrics(SERVICE, health))
        loop.run(stop)
    finally:
        thresholds.close()
        ops.close()


if __name__ == "__main__":
    sys.exit(run(main))
