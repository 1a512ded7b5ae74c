"""Wiring of identity: `python -m services.identity`."""

import sys

from services.chassis import failpoints
from services.chassis.health import Health, serve_ops
from services.chassis.kafka.line import Worker
from services.chassis.kafka.loop import Loop, LoopConfig
from services.chassis.kafka.loop_metrics import LoopMetrics
from services.chassis.kafka.offsets import end_offsets, read_range
from services.chassis.logs import configure_logs
from services.chassis.records import Record
from services.chassis.redis.claim import Claim
from services.chassis.redis.ledger import durable_ledger
from services.chassis.registry import open_registry
from services.chassis.run import Stop, run
from services.chassis.settings import load_settings
from services.identity.adapters import SERVICE, Encoder, Graph, load_policy
from services.identity.handler import IdentityWorker, Writer
from services.identity.janitor import Janitor
from services.identity.policies import Adoption
from services.identity.settings import IdentitySettings

TOPIC = "touchpoints"


def main(stop: Stop) -> None:
    """Run identity until stop is set."""
    settings = load_settings(IdentitySettings)
    configure_logs(SERVICE, settings.log_level)
    failpoints.configure(settings.failpoints, SERVICE)
    health = Health()
    ops = serve_ops(settings.metrics_port, health, settings.ops_host)
    policy = load_policy(settings.policy)
    ledger = durable_ledger(settings.redis_url, settings.relaxed_durability)
    graph, adoption = Graph(ledger, policy, is_told=True), Adoption(ledger.client, policy)
    writer = Writer(policy, settings.partitions, open_registry(settings.schema_registry_url))
    encode = Encoder(policy, settings.identifier_key_bytes()).encode

    def read_back(partition: int, first: int, last: int) -> list[Record]:
        return read_range(settings.kafka_bootstrap, TOPIC, partition, first, last)

    def open_worker(claim: Claim) -> Worker:
        adoption.adopt()
        return IdentityWorker(claim, ledger, graph, writer, policy, encode, read_back)

    janitor = Janitor(
        graph, ledger, lambda: end_offsets(settings.kafka_bootstrap, [TOPIC]), settings.partitions,
        settings.purge_interval_s,
    )  # fmt: skip
    config = LoopConfig(SERVICE, TOPIC, shared_slot=True, batch_max=settings.batch_max, is_numbered=False)
    try:
        Loop(config, settings, ledger, open_worker, LoopMetrics(SERVICE, health), upkeep=janitor.sweep).run(stop)
    finally:
        ops.close()


if __name__ == "__main__":
    sys.exit(run(main))
