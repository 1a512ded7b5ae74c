"""`touchstream dead allow`: an operator's word that records are to blame, where too many dead letters stop a line."""

from typing import Annotated

import typer

from cli.browse import answering, console
from cli.dead import app
from services.chassis.errors import Fatal
from services.chassis.kafka.offsets import end_offsets, log_identity
from services.chassis.logs import get_logger
from services.chassis.redis.amend import allow, find_slot, look
from services.chassis.redis.client import RedisError, sync_client
from services.chassis.settings import SharedSettings, load_settings


@app.command("allow")
def dead_allow(
    service: Annotated[str, typer.Option(help="whose line is stopped, e.g. profile")],
    topic: Annotated[str, typer.Option(help="the topic that is read")],
    partition: Annotated[int, typer.Option(min=0, help="the partition that stands")],
    to: Annotated[int, typer.Option(min=0, help="records below this offset may all become dead letters")],
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Let a stopped line go on: its records below an offset may become dead letters. Then restart the service."""
    with answering():
        settings = load_settings(SharedSettings)
        try:
            client = sync_client(settings.redis_url)
            stand = look(client, find_slot(client, service, topic, partition), topic)
            cluster_id, topic_ids = log_identity(settings.kafka_bootstrap, [topic])
            end = end_offsets(settings.kafka_bootstrap, [topic])[topic, partition]
            if not stand.position < to <= end:
                raise Fatal(f"the line stands at offset {stand.position}, the topic ends at {end}: --to lies between")
            question = f"{service}: {to - stand.position} records of {topic} partition {partition} may be given up?"
            if not yes and not typer.confirm(question):
                raise typer.Exit(1)
            allow(client, stand, cluster_id, topic_ids[topic], to)
        except RedisError as error:
            raise Fatal(f"Redis at {settings.redis_url}: {error}") from error
    get_logger().warning("dead.allowed", ledger=stand.slot.ledger, position=stand.position, to=to)
    console.print("Done; whoever owned the partition is fenced. Restart the service.", soft_wrap=True)
