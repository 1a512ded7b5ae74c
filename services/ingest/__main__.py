"""`python -m services.ingest`: the HTTP collector as a process."""

import asyncio
import gc
import sys

import uvloop

from services.chassis import failpoints
from services.chassis.health import Health, serve_ops
from services.chassis.logs import configure_logs
from services.chassis.run import Stop, run
from services.chassis.settings import load_settings
from services.ingest.server import serve
from services.ingest.settings import IngestSettings
from services.ingest.write_keys import load_keyring

# Requests leave no cycles behind. The default (700) would search the young objects several times a batch.
GC_THRESHOLD = 50_000


def main(stop: Stop) -> None:
    """Read settings and keys, serve until told to stop."""
    settings = load_settings(IngestSettings)
    configure_logs("ingest", settings.log_level)
    failpoints.configure(settings.failpoints, "ingest")
    keyring = load_keyring(settings.write_keys)
    health = Health()
    ops = serve_ops(settings.metrics_port, health, settings.ops_host)
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, keyring, stop, health))
    finally:
        ops.close()


if __name__ == "__main__":
    sys.exit(run(main))
