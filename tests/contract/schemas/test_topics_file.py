"""schemas/topics.toml says what the services do."""

import re
from pathlib import Path

import pytest

from deploy.local.settings import ROOT
from services.chassis.errors import Fatal
from services.chassis.schemas import published
from services.chassis.topics import configs, load_topics

SERVICES = ("ingest", "identity", "profile", "archive", "rules", "notify")
# ingest answers its senders: what it refuses lies in touchpoints.rejected.
WORKERS = SERVICES[1:]
TOPICS = load_topics()


def test_the_topics_are_those_of_the_design_and_a_dead_letter_topic_per_service() -> None:
    pipeline = ["touchpoints", "touchpoints.rejected", "touchpoints.resolved", "identity.changes", "profile.changes"]
    assert list(TOPICS) == [*pipeline, "profiles", "triggers", "deliveries", *(f"{name}.dead" for name in WORKERS)]


def test_every_record_lies_in_a_topic_and_every_topic_holds_records_that_exist() -> None:
    records = {schema.record for schema in published().values()}
    assert {record for topic in TOPICS.values() for record in topic.records} == records


def test_writers_and_readers_are_services_or_named_outsiders() -> None:
    for topic in TOPICS.values():
        assert set(topic.written_by) <= {*SERVICES, "sources"}, topic.name
        assert set(topic.read_by) <= {*SERVICES, "cli", "anyone"}, topic.name
        assert topic.written_by, topic.name
        assert topic.read_by, topic.name


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_names_exactly_the_topics_that_it_is_said_to_write_or_read(service: str) -> None:
    """`touchstream dead resend` decides by the readers: one too many, and nothing is ever sent again."""
    code = _code_of(service)
    named = {name for name in TOPICS if f'"{name}"' in code}
    if re.search(r"^from services\.chassis\.kafka\.dead_letter import", code, re.MULTILINE):
        named.add(f"{service}.dead")
    assert named == {topic.name for topic in TOPICS.values() if service in (*topic.written_by, *topic.read_by)}


def _code_of(service: str) -> str:
    folder = ROOT / "services" / ("profile/archive" if service == "archive" else service)
    files = (path for path in folder.rglob("*.py") if service != "profile" or "archive" not in path.parts)
    return "\n".join(path.read_text() for path in files)


def test_topics_joined_by_customer_have_the_same_number_of_partitions() -> None:
    assert {topic.partitions for topic in TOPICS.values()} == {64}


def test_only_the_current_state_is_compacted() -> None:
    assert [topic.name for topic in TOPICS.values() if topic.cleanup == "compact"] == ["profiles"]


def test_a_dead_letter_has_room_for_the_largest_record_and_its_evidence() -> None:
    largest = max(topic.max_message_bytes for topic in TOPICS.values() if not topic.name.endswith(".dead"))
    for service in WORKERS:
        assert TOPICS[f"{service}.dead"].max_message_bytes >= 2 * largest


def test_brokers_stamp_records_and_lose_none_with_one_broker_down() -> None:
    settings = configs(TOPICS["touchpoints"], replicas=3)
    assert settings["message.timestamp.type"] == "LogAppendTime"
    assert settings["min.insync.replicas"] == "2"
    assert settings["retention.ms"] == "604800000"
    assert configs(TOPICS["touchpoints"], replicas=1)["min.insync.replicas"] == "1"
    assert "retention.ms" not in configs(TOPICS["profiles"], replicas=3)


LINES = 'name = "t"\nkey = "k"\nrecords = ["profile"]\nwritten_by = ["profile"]\nread_by = ["rules"]\npartitions = 1\n'
REST = 'value = "avro"\nretention_ms = 1\nmax_message_bytes = 1\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"[[topic]]\n{LINES}{REST}", "topic t: missing or unknown: cleanup"),
        (f'[[topic]]\n{LINES}{REST}cleanup = "delete"\nretension = 1\n', "missing or unknown: retension"),
        (f'[[topic]]\n{LINES}{REST}cleanup = "never"\n', "cleanup is delete or compact"),
        (f'[defaults]\ncleanup = "delete"\n{REST}[[topic]]\n{LINES}[[topic]]\n{LINES}', "topic t stands there twice"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "topics.toml"
    path.write_text(text)
    with pytest.raises(Fatal, match=expected):
        load_topics(path)
