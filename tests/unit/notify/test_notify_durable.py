"""Notify starts only on topics that keep what they are given, and on those that its state in Redis belongs to."""

from dataclasses import dataclass, field

import pytest

from services.chassis.errors import Fatal, Retriable
from services.chassis.health import Health
from services.chassis.kafka import offsets
from services.chassis.marks import Mark
from services.chassis.redis import rebuild
from services.chassis.redis.client import sync_client
from services.chassis.run import Stop
from services.chassis.settings import SharedSettings
from services.chassis.topics import load_topics
from services.notify.adapters import durable
from services.notify.adapters.durable import TOPICS, wait_for_log
from services.notify.adapters.renumber import renumber

PARTITIONS = 4
KEPT = {"retention.ms": str(load_topics()["triggers"].retention_ms), "message.timestamp.type": "LogAppendTime"}


@dataclass
class Broker:
    """What a broker says of its log; `away`: how often it does not answer first."""

    cluster: str = "cluster-1"
    partitions: int = PARTITIONS
    kept: dict[str, str | None] = field(default_factory=lambda: {**KEPT})
    away: int = 0
    committed: dict[int, int] = field(default_factory=dict)

    def log_identity(self, bootstrap: str, topics: object) -> tuple[str, dict[str, str]]:
        if self.away:
            self.away -= 1
            raise Retriable("Kafka does not answer")
        return self.cluster, {topic: f"id of {topic}" for topic in TOPICS}

    def first_offsets(self, bootstrap: str, topics: object) -> dict[tuple[str, int], int]:
        return {(topic, partition): 0 for topic in TOPICS for partition in range(self.partitions)}

    def marks_at(self, bootstrap: str, group: str, places: list[tuple[str, int]]) -> dict[tuple[str, int], Mark]:
        assert group == "touchstream-notify"
        return {(topic, number): Mark(at) for topic, number in places if (at := self.committed.get(number, -1)) >= 0}

    def topic_configs(self, bootstrap: str, topics: object) -> dict[str, dict[str, str | None]]:
        return {"triggers": self.kept}


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    for name in ("log_identity", "first_offsets", "topic_configs", "marks_at"):
        monkeypatch.setattr(offsets, name, getattr(made, name))
    monkeypatch.setattr(durable, "PAUSE_S", 0.01)
    return made


@pytest.fixture
def settings(notify_redis_url: str) -> SharedSettings:
    with sync_client(notify_redis_url) as client:
        client.flushall()
    return SharedSettings(redis_url=notify_redis_url, partitions=PARTITIONS)


def test_the_right_log_is_remembered_and_found_again(settings: SharedSettings, broker: Broker) -> None:
    for _ in range(2):
        wait_for_log(settings, Health(), Stop())
    with sync_client(settings.redis_url) as client:
        assert client.get("{notify}:log") == b"cluster-1/id of triggers/id of deliveries"


def test_another_kafka_is_refused_until_a_rebase(settings: SharedSettings, broker: Broker) -> None:
    wait_for_log(settings, Health(), Stop())
    broker.cluster = "cluster-2"
    with pytest.raises(Fatal, match=r"belong to cluster and topics cluster-1/.*touchstream rebase"):
        wait_for_log(settings, Health(), Stop())
    with sync_client(settings.redis_url) as client:
        renumber(client, PARTITIONS)
    wait_for_log(settings, Health(), Stop())


def test_an_empty_redis_is_refused_when_the_group_has_worked_before(settings: SharedSettings, broker: Broker) -> None:
    wait_for_log(settings, Health(), Stop())
    broker.committed = {0: 0, 2: 17}
    wait_for_log(settings, Health(), Stop())
    with sync_client(settings.redis_url) as client:
        client.flushall()
        with pytest.raises(Fatal, match=r"triggers partition 2 up to offset 17: Redis has lost its state.*rebuild"):
            wait_for_log(settings, Health(), Stop())
        assert client.keys() == []  # or the next start would take it for its own


def test_a_group_that_has_only_begun_is_no_sign_of_a_loss(settings: SharedSettings, broker: Broker) -> None:
    broker.committed = {0: 0}
    wait_for_log(settings, Health(), Stop())


def test_a_redis_after_a_rebase_is_not_taken_for_a_lost_one(settings: SharedSettings, broker: Broker) -> None:
    wait_for_log(settings, Health(), Stop())
    broker.cluster, broker.committed = "cluster-2", {1: 5}
    with sync_client(settings.redis_url) as client:
        renumber(client, PARTITIONS)
    wait_for_log(settings, Health(), Stop())


def test_a_redis_that_is_being_rebuilt_is_refused_until_the_rebuild_has_finished(
    settings: SharedSettings, broker: Broker
) -> None:
    cluster_id, topic_ids = broker.log_identity("", TOPICS)
    with sync_client(settings.redis_url) as client:
        rebuild.begin(client, False, [durable.KEY])
        with pytest.raises(Fatal, match="touchstream rebuild has not finished"):
            wait_for_log(settings, Health(), Stop())
        rebuild.finish(client, [], cluster_id, topic_ids, {durable.KEY: durable.log_name(cluster_id, topic_ids)})
    wait_for_log(settings, Health(), Stop())


def test_a_notify_that_was_started_too_early_leaves_a_redis_that_can_be_rebuilt(
    settings: SharedSettings, broker: Broker
) -> None:
    wait_for_log(settings, Health(), Stop())
    with sync_client(settings.redis_url) as client:
        rebuild.begin(client, False, [durable.KEY])


def test_other_partitions_are_refused(settings: SharedSettings, broker: Broker) -> None:
    broker.partitions = 8
    with pytest.raises(Fatal, match=r"topic deliveries has 8 partitions, .*TOUCHSTREAM_PARTITIONS is 4"):
        wait_for_log(settings, Health(), Stop())


def test_triggers_that_are_forgotten_too_early_are_refused(settings: SharedSettings, broker: Broker) -> None:
    broker.kept["retention.ms"] = "3600000"
    with pytest.raises(Fatal, match=r"retention\.ms is 3600000"):
        wait_for_log(settings, Health(), Stop())


def test_a_broker_that_is_away_is_waited_for_and_health_says_so(settings: SharedSettings, broker: Broker) -> None:
    broker.away, health = 2, Health()
    wait_for_log(settings, health, Stop())
    assert health.report()["kafka"]["ok"] is False  # until the stream says otherwise
    assert broker.away == 0


def test_who_is_told_to_stop_waits_no_longer(settings: SharedSettings, broker: Broker) -> None:
    broker.away, stop = 1, Stop()
    stop.set()
    wait_for_log(settings, Health(), stop)
    assert broker.away == 1
