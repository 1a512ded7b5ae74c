"""Records that can never be processed: raw bytes, place, error and code version go to `<service>.dead`."""

import json
import tomllib
from functools import cache
from importlib.resources import files

from services.chassis.avro import Codec
from services.chassis.ids import partition_of
from services.chassis.records import Output, Record
from services.chassis.registry import Registry


@cache
def _codec(registry: Registry) -> Codec:
    return Codec("dead_letter", registry)


@cache
def code_version() -> str:
    """The release that runs: what the project file beside the code says, for services are no installed packages."""
    project = files("services.chassis").joinpath("pyproject.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(project)["project"]["version"])


def dead_letter(
    record: Record, service: str, error: str, partitions: int, registry: Registry, failed_at_ms: int
) -> Output:
    """The output that keeps a poisoned record. It is produced in the same step as the position moves.

    Raises Retriable when a schema registry is needed and silent.
    """
    value = _codec(registry).encode(  # type: ignore[arg-type]  # a protocol has no hash; a registry is itself
        {
            "service": service,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "key": record.key,
            "value": record.value or b"",
            "headers": json.dumps(
                {name: raw.decode("utf-8", "replace") for name, raw in record.headers.items()}
            ).encode(),
            "error": error,
            "code_version": code_version(),
            "failed_at": failed_at_ms,
        }
    )
    return Output(f"{service}.dead", partition_of(record.key, partitions), record.key, value)
