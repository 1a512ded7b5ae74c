"""Waiting for backends that keep what they acknowledge: a durable Redis, and the log that its state belongs to."""

from collections.abc import Mapping

from services.chassis.errors import Fatal, Retriable
from services.chassis.failpoints import fp
from services.chassis.health import Health
from services.chassis.kafka import offsets
from services.chassis.kafka.retention import assert_retained
from services.chassis.logs import get_logger
from services.chassis.redis.client import RedisError, assert_durable, sync_client
from services.chassis.run import Stop
from services.chassis.settings import SharedSettings
from services.chassis.topics import assert_partitions
from services.notify.adapters.store import TAG

PAUSE_S = 0.5
TOPICS = ("triggers", "deliveries")
KEY = f"{TAG}:log"  # names the log that the deliveries in this Redis belong to
NUMBERED = f"{TAG}:outn:0"  # left behind by a rebase, which takes the log's name away
GROUP = "touchstream-notify"


def wait_for_redis(url: str, is_relaxed: bool, stop: Stop) -> None:
    """Return when it answers, or stop is set. Raises Fatal when it may forget what it acknowledged."""
    with sync_client(url) as client:
        while not stop.is_set():
            try:
                for shortcoming in assert_durable(client, is_relaxed):
                    get_logger().warning("redis.relaxed", text=shortcoming)
                return
            except Retriable as error:
                get_logger().warning("redis.absent", text=str(error)[:200])
                stop.wait(PAUSE_S)


def wait_for_log(settings: SharedSettings, health: Health, stop: Stop) -> None:
    """Return when the topics are fit and those that Redis knows, or stop is set. Raises Fatal when they are not."""
    while not stop.is_set():
        try:
            _check_log(settings)
            return
        except Retriable as error:
            health.set("kafka", False, str(error))
            get_logger().warning("log.absent", text=str(error)[:200])
            stop.wait(PAUSE_S)


def _check_log(settings: SharedSettings) -> None:
    cluster_id, topic_ids = offsets.log_identity(settings.kafka_bootstrap, TOPICS)
    # Finished deliveries of a partition that `triggers` has not would wait for ever: nobody owns it.
    assert_partitions(offsets.first_offsets(settings.kafka_bootstrap, TOPICS), settings.partitions)
    assert_retained(offsets.topic_configs(settings.kafka_bootstrap, TOPICS[:1]), settings)
    _adopt(settings, log_name(cluster_id, topic_ids))


def log_name(cluster_id: str, topic_ids: Mapping[str, str]) -> str:
    """What stands under KEY."""
    return "/".join([cluster_id, *(topic_ids[topic] for topic in TOPICS)])


def _adopt(settings: SharedSettings, log: str) -> None:
    """Remember the first log for good. The triggers of another Kafka would reach people whom they do not concern."""
    try:
        with sync_client(settings.redis_url) as client:
            fp("before_adopt", RedisError)
            if not client.exists(KEY, NUMBERED):
                _refuse_lost(settings)
            found = client.set(KEY, log, nx=True, get=True)
            fp("after_adopt", RedisError)
    except RedisError as error:
        raise Retriable(f"{KEY}: {error}") from error
    known = found.decode() if isinstance(found, bytes) else log
    if known != log:
        raise Fatal(
            f"the deliveries in Redis belong to cluster and topics {known}, this is {log}. Point notify at its own"
            " Kafka, or rebase on purpose after draining (touchstream rebase)."
        )


def _refuse_lost(settings: SharedSettings) -> None:
    """Nothing is known in Redis: either nothing was ever, or deliveries that the group has taken in are gone."""
    places = [("triggers", number) for number in range(settings.partitions)]
    for (topic, number), mark in sorted(offsets.marks_at(settings.kafka_bootstrap, GROUP, places).items()):
        if mark.position > 0:
            raise Fatal(
                f"{KEY} does not exist, and group {GROUP} had worked {topic} partition {number} up to offset"
                f" {mark.position}: Redis has lost its state. Nothing was changed: what was not delivered yet would"
                " stay so, and records of `deliveries` would get numbers that others have. Bring back the Redis that"
                " had it (its append-only file, a snapshot that is not older); if it is gone for good, stop all"
                " services and run `touchstream rebuild`. Is this deployment meant to begin anew, empty its topics"
                " and delete the consumer groups."
            )
