"""Wiring of rules: `python -m services.rules`."""

import sys
from zoneinfo import ZoneInfo

from services.chassis import failpoints
from services.chassis.health import Health, serve_ops
from services.chassis.kafka.line import PartitionHandler
from services.chassis.kafka.loop import LoopConfig, run_loop
from services.chassis.logs import configure_logs
from services.chassis.redis.ledger import LedgerPort
from services.chassis.redis.slots import Slot
from services.chassis.run import Stop, run
from services.chassis.settings import load_settings
from services.rules.adapters import CHANGES, SERVICE, RulesFolder, Wire
from services.rules.handler import RulesHandler
from services.rules.settings import RulesSettings


def main(stop: Stop) -> None:
    """Run rules until stop is set."""
    settings = load_settings(RulesSettings)
    configure_logs(SERVICE, settings.log_level)
    failpoints.configure(settings.failpoints, SERVICE)
    health = Health()
    ops = serve_ops(settings.metrics_port, health, settings.ops_host)
    try:
        folder = RulesFolder(settings.folder, ZoneInfo(settings.time_zone), health)
        wire = Wire(settings.schema_registry_url, settings.partitions)

        def open_handler(slot: Slot, store: LedgerPort, waits: dict[str, str]) -> PartitionHandler:
            return RulesHandler(slot, store, waits, lambda: folder.current, wire)

        folder.watch(settings.reload_interval_ms)
        try:
            config = LoopConfig(SERVICE, CHANGES, batch_max=settings.batch_max)
            run_loop(config, settings, open_handler, health, stop)
        finally:
            folder.close()
    finally:
        ops.close()


if __name__ == "__main__":
    sys.exit(run(main))
