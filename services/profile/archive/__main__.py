"""Wiring of the archive process: topics → ClickHouse, exactly once. `python -m services.profile.archive`."""

import gc

from services.chassis import clickhouse, failpoints
from services.chassis.clock import now_ms
from services.chassis.health import Health, serve_ops
from services.chassis.kafka import client
from services.chassis.kafka.reader import Reader
from services.chassis.kafka.relay import Relay
from services.chassis.logs import configure_logs
from services.chassis.redis.ledger import durable_ledger
from services.chassis.registry import open_registry
from services.chassis.run import Stop, run
from services.chassis.settings import load_settings
from services.profile.archive.batches import Archiver
from services.profile.archive.decode import open_decoders
from services.profile.archive.handler import GATHER_S, GROUP, LONGEST_ROUND_MS, Archive, Pace
from services.profile.archive.line import Limits
from services.profile.archive.metrics import SERVICE, ArchiveMetrics
from services.profile.archive.ownership import Ownership, read_log
from services.profile.archive.settings import ArchiveSettings
from services.profile.archive.tables import DuplicateCheck, TableCheck, in_turn, wait_for_tables


def main(stop: Stop) -> None:
    """Open everything, work until stopped, close in reverse."""
    settings = load_settings(ArchiveSettings)
    configure_logs(SERVICE, settings.log_level)
    failpoints.configure(settings.failpoints, SERVICE)
    # A batch holds tens of thousands of dicts at once and no cycles: full collections would only walk them.
    gc.set_threshold(500_000, 20, 20)
    gc.freeze()
    health = Health()
    metrics = ArchiveMetrics(health)
    ops = serve_ops(settings.metrics_port, health, settings.ops_host)
    store = clickhouse.connect(settings)
    try:
        if not wait_for_tables(store, health, stop, lambda text: metrics.limited.warning("tables.wait", text=text)):
            return
        ledger = durable_ledger(settings.redis_url, settings.relaxed_durability)
        limits = Limits(settings.batch_rows, settings.batch_bytes)
        registry = open_registry(settings.schema_registry_url)
        decoders = open_decoders(registry)
        archiver = Archiver(ledger, store, decoders, settings.partitions, limits, metrics, now_ms, registry)
        session_ms = settings.kafka_session_timeout_ms
        pace = Pace(settings.linger_ms / 1000, settings.inserts_per_s, settings.buffer_bytes, session_ms / 1000)
        reader = Reader(settings.kafka_bootstrap, GROUP, session_ms, SERVICE, LONGEST_ROUND_MS, GATHER_S)
        relay = Relay(lambda: client.producer(settings.kafka_bootstrap, SERVICE))
        ownership = Ownership(reader, relay, ledger, read_log(settings), metrics)
        checks = in_turn(TableCheck(store, health), DuplicateCheck(store, metrics.copies, ownership.is_first))
        Archive(reader, relay, ownership, archiver, limits, pace, metrics, checks).run(stop)
    finally:
        store.close()
        ops.close()


if __name__ == "__main__":
    raise SystemExit(run(main))
