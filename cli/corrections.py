"""A correction of the graph by a person: its touchpoint is written, and what identity made of it is waited for."""

import getpass
import json
import os
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Request:
    """One correction. identifiers: in standard form; the first one is the primary. occurred_ms: 0 for now."""

    kind: str
    identifiers: tuple[str, ...]
    properties: Mapping[str, object]
    event_id: str
    traits: Mapping[str, object] = field(default_factory=dict)
    occurred_ms: int = 0


def correct(
    settings: IdentitySettings, kind: str, identifiers: Sequence[str], properties: Mapping[str, object] | None = None
) -> list[dict[str, Any]]:
    """What identity changed for a touchpoint of this type, in its order; empty when there was nothing to change.

    identifiers: in standard form; the first one is the primary. Raises Retriable when identity has not worked it off
    within WAIT_S (it will), Fatal when it has never run.
    """
    event_id = str(uuid.uuid4())
    return correct_all(settings, [Request(kind, tuple(identifiers), properties or {}, event_id)])[event_id]


def correct_all(settings: IdentitySettings, asked: Sequence[Request]) -> dict[str, list[dict[str, Any]]]:
    """Event id → what identity changed for it. All are written before any is waited for. Raises as `correct` does."""
    before = end_offsets(settings.kafka_bootstrap, [CHANGES])
    written = _publish(settings, asked)
    return _wait(settings, written, before, [one.event_id for one in asked])


def state(settings: IdentitySettings, one: Request) -> None:
    """Write a touchpoint that only states something; returns when identity has worked it off. Raises as `correct` does.

    Written again under the same event id it changes nothing.
    """
    written, redis = _publish(settings, [one]), sync_client(settings.redis_url)
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        if all(_ledger(redis, partition).position > offset for (_, partition), offset in written.items()):
            return
        time.sleep(LOOK_EVERY_S)
    raise _late(written, one.event_id)


def _publish(settings: IdentitySettings, asked: Sequence[Request]) -> dict[tuple[str, int], int]:
    """Write the touchpoints; the last offset by place."""
    now, partitions = now_ms(), partitions_of(settings.kafka_bootstrap, TOUCHPOINTS)
    encode = Codec("touchpoint", open_registry(settings.schema_registry_url)).encode
    outputs = []
    for one in asked:
        key = node_of(one.identifiers[0], settings.identifier_key_bytes()).encode()
        value = encode(
            {
                "event_id": one.event_id, "source": SOURCE, "type": one.kind, "name": NAMES[one.kind],
                "identifiers": list(one.identifiers), "occurred_at": one.occurred_ms or now, "received_at": now,
                "order_id": "",
                "amount_minor": 0, "currency": "",
                "properties": json.dumps(one.properties, ensure_ascii=False).encode(),
                "traits": json.dumps(one.traits, ensure_ascii=False).encode(),
                "context": b"{}", "originals": b"{}", "flags": 0,
            }
        )  # fmt: skip
        outputs.append(Output(TOUCHPOINTS, partition_of(key, partitions), key, value))
    return publish(settings.kafka_bootstrap, outputs)


def _wait(
    settings: IdentitySettings, written: Mapping[tuple[str, int], int], before: dict[tuple[str, int], int],
    event_ids: Sequence[str],
) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """What identity changed for these, once it has worked them off. Raises Retriable after WAIT_S, Fatal."""
    redis = sync_client(settings.redis_url)
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        found = {partition: _ledger(redis, partition) for _, partition in written}
        if all(found[partition].position > offset for (_, partition), offset in written.items()):
            changes: dict[str, list[dict[str, Any]]] = {event_id: [] for event_id in event_ids}
            for change in sorted(_changes(settings, before, changes.keys()), key=lambda change: int(change["g"])):
                changes[change["event_id"]].append(change)
            # The outbox is trimmed after the acknowledgement: with it empty, whatever there is has been announced.
            if all(changes.values()) or not any(one.outbox for one in found.values()):
                return changes
        time.sleep(LOOK_EVERY_S)
    raise _late(written, event_ids[0])


def _late(written: Mapping[tuple[str, int], int], event_id: str) -> Retriable:
    places = ", ".join(f"{topic}/{partition}/{offset}" for (topic, partition), offset in written.items())
    return Retriable(
        f"identity has not worked off {places} within {WAIT_S:.0f} s; it will: look into identity_changes for event"
        f" {event_id}"
    )


def _ledger(redis: Any, partition: int) -> LedgerStatus:
    for one in ledgers(redis):
        if (one.service, one.topic, one.partition) == ("identity", TOUCHPOINTS, partition):
            return one
    raise Fatal(f"identity has never owned {TOUCHPOINTS}/{partition}: does it run?")


def _changes(
    settings: IdentitySettings, before: dict[tuple[str, int], int], event_ids: Collection[str]
) -> Iterator[dict[str, Any]]:
    codec = Codec("identity_change", open_registry(settings.schema_registry_url))
    for (topic, partition), end in end_offsets(settings.kafka_bootstrap, [CHANGES]).items():
        first = before.get((topic, partition), 0)
        if first < end:
            for record in read_range(settings.kafka_bootstrap, topic, partition, first, end - 1):
                change = codec.decode(record.value)
                if change["event_id"] in event_ids:
                    yield change
