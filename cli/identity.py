"""`touchstream identity`: corrections of the graph by a person, through the same topic as every touchpoint."""

import time
import uuid
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cli.browse import answering, console, give_up
from cli.identifiers import UnusableIdentifierError, standard_identifier
from cli.publish import partitions_of, publish
from cli.resolve import open_resolver
from services.chassis.avro import Codec
from services.chassis.clock import now_ms
from services.chassis.errors import Fatal, Retriable
from services.chassis.ids import node_of, partition_of
from services.chassis.kafka.offsets import end_offsets, read_range
from services.chassis.records import Output
from services.chassis.redis.client import sync_client
from services.chassis.redis.inspect import LedgerStatus, ledgers
from services.chassis.registry import open_registry
from services.chassis.settings import load_settings
from services.identity.adapters import load_policy
from services.identity.settings import IdentitySettings
from services.ingest.core.model import NAMES

TOUCHPOINTS, CHANGES = "touchpoints", "identity.changes"
SOURCE = "operator"
WAIT_S, LOOK_EVERY_S = 30.0, 0.2

app = typer.Typer(no_args_is_help=True, help="Corrections of who is whom.")
Given = Annotated[str, typer.Argument(metavar="KIND:VALUE", help="e.g. phone:+8613912345678")]
Yes = Annotated[bool, typer.Option("--yes", help="do not ask")]


@app.command()
def unlink(identifier: Given, yes: Yes = False) -> None:
    """Take an identifier out of its customer; what only it held together becomes customers of their own again."""
    _request("unlink", identifier, f"Unlink {identifier}? Customers that only it joins are parted.", yes)


@app.command()
def erase(identifier: Given, yes: Yes = False) -> None:
    """Erase the customer who has an identifier: profile and graph forget, what comes later for them is dropped.

    ClickHouse's views leave the customer out; the rows it already has stay in its tables.
    """
    _request("erase", identifier, f"Erase the customer who has {identifier}? This cannot be undone.", yes)


def _request(kind: str, identifier: str, question: str, yes: bool) -> None:
    with answering():
        settings = load_settings(IdentitySettings)
        try:
            standard = standard_identifier(identifier, load_policy(settings.policy))
        except UnusableIdentifierError as error:
            give_up(f"{identifier}: {error}")
        (known,) = open_resolver().answer([standard])
        if known.customer_id is None:
            give_up(f"nobody is known as {standard}")
        console.print(f"{standard} is customer {known.customer_id}")
        if not yes:
            typer.confirm(question, abort=True)
        before = end_offsets(settings.kafka_bootstrap, [CHANGES])
        event_id = str(uuid.uuid4())
        place = _publish(settings, kind, standard, event_id)
        changes = _wait(settings, place, before, event_id)
    for change in changes:
        console.print(_told(change), markup=False)
    if not changes:
        console.print("nothing changed: the identifier holds nothing together")


def _publish(settings: IdentitySettings, kind: str, identifier: str, event_id: str) -> tuple[int, int]:
    """Write the touchpoint; its (partition, offset)."""
    now = now_ms()
    key = node_of(identifier, settings.identifier_key_bytes()).encode()
    partition = partition_of(key, partitions_of(settings.kafka_bootstrap, TOUCHPOINTS))
    value = Codec("touchpoint", open_registry(settings.schema_registry_url)).encode(
        {
            "event_id": event_id, "source": SOURCE, "type": kind, "name": NAMES[kind], "identifiers": [identifier],
            "occurred_at": now, "received_at": now, "order_id": "", "amount_minor": 0, "currency": "",
            "properties": b"{}", "traits": b"{}", "context": b"{}", "originals": b"{}", "flags": 0,
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


def _told(change: dict[str, Any]) -> str:
    kinds = ", ".join(sorted(node.partition(":")[0] for node in change["nodes"]))
    what = {
        "split": f"customer {change['customer_id']} parted from {change['from_id']}",
        "erased": f"customer {change['customer_id']} erased",
    }.get(change["kind"], f"{change['kind']}: customer {change['customer_id']}")
    return f"{what} ({len(change['nodes'])} identifiers: {kinds})"
