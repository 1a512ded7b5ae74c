"""The chassis on the real servers, where the local stack has substitutes: what those do not promise is proven here."""

import uuid

import pytest
import redis

from services.chassis.clickhouse import connect
from services.chassis.errors import Fatal, Fenced
from services.chassis.kafka.client import producer
from services.chassis.kafka.offsets import end_offsets, log_identity
from services.chassis.records import Decision
from services.chassis.redis.client import assert_durable
from services.chassis.redis.ledger import Ledger, Mismatch
from services.chassis.redis.slots import Slot
from services.chassis.settings import SharedSettings
from services.chassis.topics import create_topics, load_topics
from services.profile.archive.migrate import create_database, load_migrations, migrate
from services.profile.archive.settings import ArchiveSettings

pytestmark = pytest.mark.containers


def test_topics_are_created_as_the_file_says_and_creating_them_again_changes_nothing(kafka: str) -> None:
    topics = load_topics()
    assert set(create_topics(kafka, topics.values(), partitions=4)) == set(topics)
    assert create_topics(kafka, topics.values(), partitions=4) == []
    with pytest.raises(Fatal, match="number of partitions"):
        create_topics(kafka, topics.values(), partitions=8)


def test_a_topic_that_was_made_again_has_another_id(kafka: str) -> None:
    from confluent_kafka.admin import AdminClient

    name = f"made-again-{uuid.uuid4()}"
    topic = load_topics()["touchpoints"]
    renamed = type(topic)(**{field: getattr(topic, field) for field in topic.__slots__} | {"name": name})
    create_topics(kafka, [renamed], partitions=1)
    cluster, first = log_identity(kafka, [name])
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.delete_topics([name])[name].result(timeout=10)
    create_topics(kafka, [renamed], partitions=1)
    again, second = log_identity(kafka, [name])
    assert cluster == again
    assert first[name] != second[name]


def test_a_topic_nobody_created_is_not_made_up(kafka: str) -> None:
    name = f"nobody-{uuid.uuid4()}"
    with pytest.raises(Fatal, match="do not exist"):
        log_identity(kafka, [name])


def test_what_the_broker_acknowledged_is_in_the_log_once(kafka: str) -> None:
    create_topics(kafka, load_topics().values(), partitions=4)
    before = end_offsets(kafka, ["touchpoints"])
    client = producer(kafka, "containers")
    for number in range(1_000):
        client.produce("touchpoints", key=b"k", value=b"%d" % number, partition=number % 4)
    assert client.flush(30) == 0
    after = end_offsets(kafka, ["touchpoints"])
    assert {place: after[place] - before[place] for place in after} == {("touchpoints", p): 250 for p in range(4)}


def test_valkey_as_shipped_passes_the_ledgers_assertions(redis_url: str) -> None:
    assert assert_durable(redis.Redis.from_url(redis_url), relaxed=False) == []


def test_an_apply_changes_everything_or_nothing_and_fences_the_former_owner(redis_url: str) -> None:
    ledger, slot = Ledger(redis.Redis.from_url(redis_url)), Slot(f"test-{uuid.uuid4()}", 0)
    former = ledger.claim(slot, "touchpoints", "cluster", "topic", 0)
    ledger.apply(former, Decision(sets={slot.key("c", "a"): b"1"}), {}, 10, 1)
    owner = ledger.claim(slot, "touchpoints", "cluster", "topic", 0)
    assert owner.position == 10
    with pytest.raises(Fenced):
        ledger.apply(former, Decision(sets={slot.key("c", "a"): b"2"}), {}, 20, 1)
    assert ledger.get_many([slot.key("c", "a")]) == [b"1"]
    owner.position = 11
    with pytest.raises(Mismatch):
        ledger.apply(owner, Decision(sets={slot.key("c", "a"): b"3"}), {}, 12, 1)
    with pytest.raises(Fatal, match="belongs to"):
        ledger.claim(slot, "touchpoints", "another cluster", "topic", 0)


def test_the_tables_are_made_and_an_insert_repeated_under_its_token_counts_once(clickhouse_url: str) -> None:
    access = {"clickhouse_user": "touchstream", "clickhouse_password": "touchstream", "clickhouse_url": clickhouse_url}
    first = connect(SharedSettings(**access, clickhouse_database="default"))  # type: ignore[arg-type]
    create_database(first, "containers")
    server = connect(SharedSettings(**access, clickhouse_database="containers"))  # type: ignore[arg-type]
    migrations = load_migrations(ArchiveSettings().migrations)
    assert migrate(server, migrations) == [migration.name for migration in migrations]
    assert migrate(server, migrations) == []
    columns, rows = ["event_id", "customer_id", "place_offset"], [["e1", "e2"], ["c", "c"], [1, 2]]
    for _ in range(2):
        server.insert("events_raw", columns, rows, token="touchpoints.resolved-0-1-2")
    assert server.query_rows("SELECT count() AS n FROM events_raw") == [{"n": 2}]
