"""`touchstream rebase`: point drained ledgers at the Kafka of the settings, after a move to another cluster."""

from typing import Annotated

import typer
from rich.console import Console

from services.chassis.errors import Fatal, Retriable
from services.chassis.kafka.offsets import log_identity
from services.chassis.redis.client import RedisError, sync_client
from services.chassis.redis.rebase import rebase as rebase_ledgers
from services.chassis.settings import SettingsError, SharedSettings, load_settings
from services.chassis.topics import load_topics
from services.notify.adapters.renumber import renumber

console = Console()


def rebase(yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False) -> None:
    """Begin a new log generation: every ledger starts at offset 0 of this Kafka's topics. Stop all services first.

    Refused while anything is unsent or a customer waits: drain on the old Kafka with `touchstream wait-idle` before.
    """
    try:
        settings = load_settings(SharedSettings)
        cluster_id, topic_ids = log_identity(settings.kafka_bootstrap, load_topics())
        question = f"ledgers in {settings.redis_url} will start anew on cluster {cluster_id}; are all services stopped?"
        if not yes and not typer.confirm(question):
            raise typer.Exit(1)
        client = sync_client(settings.redis_url)
        moved = rebase_ledgers(client, cluster_id, topic_ids)
        renumber(client, settings.partitions)
    except (SettingsError, Fatal, Retriable, RedisError) as error:
        Console(stderr=True).print(f"rebase: {error}", markup=False)
        raise typer.Exit(1) from error
    console.print(f"{moved} ledgers moved to cluster {cluster_id}")
