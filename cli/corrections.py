"""A correction of the graph by a person: its touchpoint is written, and what identity made of it is waited for."""

import getpass
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cli.publish import partitions_of, publish
from services.chassis.avro import Codec
from services.chassis.clock import now_ms
from services.chassis.errors import Fatal, Retriable
from services.chassis.ids import node_of, partition_of
from services.chassis.kafka.offsets import end_offsets, read_range
from services.chassis.records import Output
from services.chassis.redis.client import sync_client
from services.chassis.redis.inspect import LedgerStatus, ledgers
from services.chassis.registry import open_registry
from services.identity.settings import IdentitySettings
from services.ingest.core.model import NAMES

TOUCHPOINTS, CHANGES = "touchpoints", "identity.changes"
SOURCE = "operator"
WAIT_S, LOOK_EVERY_S = 30.0, 0.2


def os_user() -> str:
    """Who sits at this machine, as the author of a correction; behind sudo the one who called it."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container whose user has no name
        return f"uid {os.getuid()}"


def correct(
    settings: IdentitySettings, kind: str, identifiers: Sequence[str], properties: Mapping[str, object] | None = None
) -> list[dict[str, Any]]:
    """What identity changed for a touchpoint of this type, in its order; empty when there was nothing to change.

    identifiers: in standard form; the first one is the primary. Raises Retriable when identity has not worked it off
    within WAIT_S (it will), Fatal when it has never run.
    """
    before = end_offsets(settings.kafka_bootstrap, [CHANGES])
    event_id = str(uuid.uuid4())
    place = _publish(settings, kind, identifiers, properties or {}, event_id)
    return _wait(settings, place, before, event_id)


def _publish(
    settings: IdentitySettings, kind: str, identifiers: Sequence[str], properties: Mapping[str, object], event_id: str
) -> tuple[int, int]:
    """Write the touchpoint; its (partition, offset)."""
    now = now_ms()
    key = node_of(identifiers[0], settings.identifier_key_bytes()).encode()
    partition = partition_of(key, partitions_of(settings.kafka_bootstrap, TOUCHPOINTS))
    value = Codec("touchpoint", open_registry(settings.schema_registry_url)).encode(
        {
            "event_id": event_id, "source": SOURCE, "type": kind, "name": NAMES[kind],
            "identifiers": list(identifiers), "occurred_at": now, "received_at": now, "order_id": "",
            "amount_minor": 0, "currency": "", "properties": json.dumps(properties, ensure_ascii=False).encode(),
            "traits": b"{}", "context": b"{}", "originals": b"{}", "flags": 0,
        }
    )  # fmt: skip
    written = publish(settings.kafka_bootstrap, [Output(TOUCHPOINTS, partition, key, value)])
    return partition, written[TOUCHPOINTS, partition]


def _wait(
    settings: IdentitySettings, place: tuple[int, int], before: dict[tuple[str, int], int], event_id: str
) -> list[dict[str, Any]]:
    """What identity changed for this event, once it has worked it off. Raises Retriable after WAIT_S, Fatal."""
    redis = sync_client(settings.redis_url)
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        ledger = _ledger(redis, place[0])
        if ledger.position > place[1]:
            changes = sorted(_changes(settings, before, event_id), key=lambda change: int(change["g"]))
            # The outbox is trimmed after the acknowledgement: with it empty, whatever there is has been announced.
            if changes or not ledger.outbox:
                return changes
        time.sleep(LOOK_EVERY_S)
    raise Retriable(
        f"identity has not worked off {TOUCHPOINTS}/{place[0]}/{place[1]} within {WAIT_S:.0f} s; it will: look into"
        f" identity_changes for event {event_id}"
    )


def _ledger(redis: Any, partition: int) -> LedgerStatus:
    for one in ledgers(redis):
        if (one.service, one.topic, one.partition) == ("identity", TOUCHPOINTS, partition):
            return one
    raise Fatal(f"identity has never owned {TOUCHPOINTS}/{partition}: does it run?")


def _changes(settings: IdentitySettings, before: dict[tuple[str, int], int], event_id: str) -> Iterator[dict[str, Any]]:
    codec = Codec("identity_change", open_registry(settings.schema_registry_url))
    for (topic, partition), end in end_offsets(settings.kafka_bootstrap, [CHANGES]).items():
        first = before.get((topic, partition), 0)
        if first < end:
            for record in read_range(settings.kafka_bootstrap, topic, partition, first, end - 1):
                change = codec.decode(record.value)
                if change["event_id"] == event_id:
                    yield change
