"""Topics on a real broker, started by this module on a free port."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined]

from deploy.local.settings import local_settings
from services.chassis.errors import Fatal, Retriable
from services.chassis.testing.waiting import free_port
from services.chassis.topics import Topic, create_topics, load_topics
from tests.backends import chosen, running_broker

DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker without topics."""
    own = {
        "TOUCHSTREAM_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
        "TOUCHSTREAM_LOCAL_STATE_DIR": str(tmp_path_factory.mktemp("broker")),
    }
    settings = local_settings(chosen() | own)
    with running_broker(settings):
        yield settings.kafka_bootstrap


def test_all_topics_are_created_and_a_second_run_changes_nothing(bootstrap: str) -> None:
    topics = load_topics()
    assert create_topics(bootstrap, topics.values(), partitions=4) == list(topics)
    assert create_topics(bootstrap, topics.values(), partitions=4) == []
    found = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=DEADLINE_S).topics
    assert {name: len(topic.partitions) for name, topic in found.items()} == dict.fromkeys(topics, 4)


def test_another_number_of_partitions_is_refused_with_what_to_do(bootstrap: str) -> None:
    topic = load_topics()["touchpoints"]
    create_topics(bootstrap, [topic], partitions=4)
    with pytest.raises(Fatal, match=r"touchpoints has 4, expected 8.*TOUCHSTREAM_PARTITIONS"):
        create_topics(bootstrap, [topic], partitions=8)


def test_more_copies_than_brokers_wait_for_the_brokers_instead_of_making_fewer(bootstrap: str) -> None:
    topic = _renamed(load_topics()["triggers"], "copied")
    with pytest.raises(Retriable, match="to have 2 copies, and 1 brokers are there"):
        create_topics(bootstrap, [topic], partitions=1, replicas=2)
    assert "copied" not in AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=DEADLINE_S).topics


def test_a_topic_that_would_compact_what_must_be_deleted_is_refused(bootstrap: str) -> None:
    wrong = NewTopic("triggers.wrong", num_partitions=1, replication_factor=1, config={"cleanup.policy": "compact"})
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (future,) = admin.create_topics([wrong]).values()
    future.result()
    topic = load_topics()["triggers"]
    with pytest.raises(Fatal, match=r"triggers.wrong has cleanup.policy=compact, expected delete"):
        create_topics(bootstrap, [_renamed(topic, "triggers.wrong")], partitions=1)


def test_the_broker_is_told_to_stamp_records_itself(bootstrap: str) -> None:
    topic = load_topics()["touchpoints"]
    create_topics(bootstrap, [topic], partitions=4)
    resource = ConfigResource(ResourceType.TOPIC, topic.name)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    (future,) = admin.describe_configs([resource]).values()
    assert future.result()["message.timestamp.type"].value == "LogAppendTime"


def test_a_broker_that_is_away_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.chassis.topics.ADMIN_TIMEOUT_S", 0.5)
    with pytest.raises(Retriable, match=r"creating topics on 127\.0\.0\.1:"):
        create_topics(f"127.0.0.1:{free_port()}", load_topics().values())


def _renamed(topic: Topic, name: str) -> Topic:
    return replace(topic, name=name)
