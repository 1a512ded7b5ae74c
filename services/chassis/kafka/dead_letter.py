"""Records that can never be processed: raw bytes, place, error and code version go to `<service>.dead`."""

import json
from functools import cache

from services.chassis.avro import Codec
from services.chassis.clock import now_ms
from services.chassis.ids import partition_of
from services.chassis.records import Output, Record

CODE_VERSION = "0.1.0"


@cache
def _codec() -> Codec:
    return Codec("dead_letter")


def dead_letter(record: Record, service: str, error: str, partitions: int) -> Output:
    """The output that keeps a poisoned record. It is produced in the same step as the position moves."""
    value = _codec().encode(
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
            "code_version": CODE_VERSION,
            "failed_at": now_ms(),
        }
    )
    return Output(f"{service}.dead", partition_of(record.key, partitions), record.key, value)
