"""`touchstream rebase`: begin anew on another Kafka, or, with --to, go on at a later offset of the same log."""

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.console import Console

from services.chassis.errors import Fatal, Retriable
from services.chassis.kafka.offsets import end_offsets, first_offsets, log_identity, read_on
from services.chassis.logs import get_logger
from services.chassis.records import Record
from services.chassis.redis.amend import Skip, Stand, amend, find_slot, look, plan_skip
from services.chassis.redis.claim import Channels
from services.chassis.redis.client import RedisError, sync_client
from services.chassis.redis.rebase import rebase as rebase_ledgers
from services.chassis.settings import SettingsError, SharedSettings, load_settings
from services.chassis.topics import load_topics
from services.notify.adapters.renumber import renumber
from services.profile.archive.line import begun_until

console = Console(highlight=False)


def rebase(
    service: Annotated[str, typer.Option(help="with --to: whose position, e.g. profile")] = "",
    topic: Annotated[str, typer.Option(help="with --to: the topic that is read")] = "",
    partition: Annotated[int, typer.Option(min=-1, help="with --to: the partition that stands")] = -1,
    to: Annotated[int, typer.Option(min=-1, help="go on at this offset of the same log; what is skipped is lost")] = -1,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Begin a new log generation: every ledger starts at the first offset of this Kafka's topics.

    Stop all services first. Refused while anything is unsent or a customer waits: drain on the old Kafka with
    `touchstream wait-idle` before. With --to nothing is moved but one partition of one service, past records or numbers
    that are missing for good; the chassis README says when.
    """
    named = [bool(service), bool(topic), partition >= 0, to >= 0]
    if any(named) and not all(named):
        raise typer.BadParameter("--service, --topic, --partition and --to belong together")
    try:
        settings = load_settings(SharedSettings)
        if all(named):
            _skip(settings, service, topic, partition, to, yes)
        else:
            _begin_anew(settings, yes)
    except (SettingsError, Fatal, Retriable, RedisError) as error:
        Console(stderr=True).print(f"rebase: {error}", markup=False)
        raise typer.Exit(1) from error


def _begin_anew(settings: SharedSettings, yes: bool) -> None:
    topics = load_topics()
    cluster_id, topic_ids = log_identity(settings.kafka_bootstrap, topics)
    question = f"ledgers in {settings.redis_url} will start anew on cluster {cluster_id}; are all services stopped?"
    if not yes and not typer.confirm(question):
        raise typer.Exit(1)
    client = sync_client(settings.redis_url)
    moved = rebase_ledgers(client, cluster_id, topic_ids, first_offsets(settings.kafka_bootstrap, topics))
    renumber(client, settings.partitions)
    console.print(f"{moved} ledgers moved to cluster {cluster_id}")


def _skip(settings: SharedSettings, service: str, topic: str, partition: int, to: int, yes: bool) -> None:
    known = load_topics()
    if topic not in known:
        raise Fatal(f"no topic {topic!r} in schemas/topics.toml")
    client, bootstrap = sync_client(settings.redis_url), settings.kafka_bootstrap
    stand = look(client, find_slot(client, service, topic, partition), topic)
    cluster_id, topic_ids = log_identity(bootstrap, [topic])
    place = (topic, partition)
    first, end = first_offsets(bootstrap, [topic])[place], end_offsets(bootstrap, [topic])[place]
    extra = check_offset(stand, to, first, end)
    # The numbers of sources outside mean nothing: identity does not look at them.
    is_numbered = "sources" not in known[topic].written_by
    records = read_on(bootstrap, topic, partition, max(stand.position, first)) if is_numbered else ()
    skip = plan(stand, to, settings.partitions, records)
    for line in loss(stand, skip, to, first):
        console.print(line, markup=False, soft_wrap=True)
    if not yes and not typer.confirm("This cannot be undone. Is this loss meant?"):
        raise typer.Exit(1)
    former = stand.channels
    amend(client, stand, cluster_id, topic_ids[topic], to, Channels(skip.seen, former.base, extra, former.poisoned))
    get_logger().warning(
        "ledger.skipped", ledger=stand.slot.ledger, topic=topic, partition=partition, position=stand.position, to=to,
        lost={source: [low, high] for source, low, high in skip.lost},
    )  # fmt: skip
    console.print(
        "Done; whoever owned the partition is fenced. Restart the service.",
        soft_wrap=True,
    )


def check_offset(stand: Stand, to: int, first: int, end: int) -> bytes:
    """The opaque bytes that the ledger keeps at `to`. Raises Fatal when it must not be put there."""
    if to < stand.position:
        raise Fatal(f"the ledger stands at {stand.position}: records from {to} on would be counted twice")
    if not first <= to <= end:
        raise Fatal(f"{stand.topic} partition {stand.slot.partition} holds offsets {first} to {end} (the next one)")
    extra = stand.channels.extra
    if to == stand.position:
        return extra
    begun = begun_until(extra) if stand.slot.service.startswith("archive.") else None
    if begun is not None and to < begun:
        raise Fatal(
            f"the batch up to offset {begun} may be in ClickHouse already: records from {to} on might be there twice."
            f" Use --to {begun} or later"
        )
    return b""


def plan(stand: Stand, to: int, partitions: int, records: Iterable[Record]) -> Skip:
    """See plan_skip. Raises Fatal when nothing would be skipped."""
    skip = plan_skip(stand.channels.seen, to, partitions, records)
    if to == stand.position and not skip.lost:
        raise Fatal(f"nothing is missing at offset {to}: {stand.slot.ledger} can go on by itself")
    return skip


def loss(stand: Stand, skip: Skip, to: int, first: int) -> list[str]:
    """What is given up, one readable line each."""
    where = f"{stand.slot.ledger}: {stand.topic} partition {stand.slot.partition}"
    lines = [f"{where}: position {stand.position} -> {to}"]
    if to > stand.position:
        gone = f" ({min(first, to) - stand.position} of them are not in the log any more)" * (first > stand.position)
        lines.append(f"never processed: offsets {stand.position} to {to - 1}{gone}")
    lines += [
        f"given up: numbers {low} to {high} of input partition {source} ({high - low + 1} records)"
        for source, low, high in skip.lost
    ]
    if stand.position < first:
        lines.append("a writer with no record left in the log is not judged; should its next one show a gap, it stops")
    return lines
