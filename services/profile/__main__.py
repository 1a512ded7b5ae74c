"""Wiring of profile: `python -m services.profile`."""

import sys

from services.chassis import failpoints
from services.chassis.health import Health, serve_ops
from services.chassis.kafka.line import LedgerWorker, Worker
from services.chassis.kafka.loop import Loop, LoopConfig
from services.chassis.kafka.loop_metrics import LoopMetrics
from services.chassis.logs import configure_logs
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import durable_ledger
from services.chassis.redis.shared import SharedValue
from services.chassis.registry import open_registry
from services.chassis.run import Stop, run
from services.chassis.settings import load_settings
from services.profile.adapters import ThresholdSource, load_config
from services.profile.handler import SERVICE, ProfileHandler
from services.profile.settings import ProfileSettings
from services.profile.sweep import Sweep
from services.profile.thresholds import KEY, open_refresher

TOPIC = "touchpoints.resolved"


def main(stop: Stop) -> None:
    """Run profile until stop is set."""
    settings = load_settings(ProfileSettings)
    configure_logs(SERVICE, settings.log_level)
    failpoints.configure(settings.failpoints, SERVICE)
    health = Health()
    ops = serve_ops(settings.metrics_port, health, settings.ops_host)
    config = load_config(settings.config, settings.tags, settings.time_zone)
    ledger = durable_ledger(settings.redis_url, settings.relaxed_durability)
    registry = open_registry(settings.schema_registry_url)
    loops: list[Loop] = []
    cell = SharedValue(ledger.client, KEY)
    refresh = open_refresher(settings, cell, config.calendar, lambda: any((TOPIC, 0) in o.owned.lines for o in loops))
    thresholds = ThresholdSource(refresh, settings.thresholds_interval_s, health)

    def open_worker(claim: Claim) -> Worker:
        handler = ProfileHandler(
            claim.slot, ledger, claim.waits, config, settings.partitions, thresholds.current, settings.cache_customers,
            registry, settings.import_quiet_s * 1000,
        )  # fmt: skip
        return LedgerWorker(claim, ledger, handler, Sweep(claim.slot, ledger, thresholds.current, handler.refolds).some)

    thresholds.start()
    loop_config = LoopConfig(SERVICE, TOPIC, batch_max=settings.batch_max)
    try:
        loops.append(Loop(loop_config, settings, ledger, open_worker, LoopMetrics(SERVICE, health)))
        loops[0].run(stop)
    finally:
        thresholds.close()
        ops.close()


if __name__ == "__main__":
    sys.exit(run(main))
