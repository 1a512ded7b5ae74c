"""`touchstream rebuild` when Kafka itself has deleted records: what is gone comes from ClickHouse.

The tests are chapters, in order, on one broker, one Valkey and one ClickHouse.
"""

from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from cli.rebuild.command import rebuild
from services.chassis.kafka.offsets import end_offsets, first_offsets
from services.chassis.topics import load_topics
from tests.backends import CHOSEN
from tests.integration.rebuild_backends import LEFT_OUT, check_nothing_twice, deployed
from tests.integration.rebuild_lab import Lab
from tests.integration.redis_dump import differences

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHOSEN == "tansu", reason="Tansu deletes no records"),
]
# Message ids of requests that changed nothing are in no table; retention outlasts the window they are kept for.
UNTOLD = (*LEFT_OUT, "{identity}:seen")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with deployed(tmp_path_factory.mktemp("state")) as lab:
        yield lab


def delete_oldest(lab: Lab, share: float) -> int:
    """Have Kafka delete about that share of every partition, of each another one; how many records that were."""
    admin = AdminClient({"bootstrap.servers": lab.settings.kafka_bootstrap})
    topics = [topic for topic in load_topics() if topic != "profiles" and not topic.endswith(".dead")]
    ends = end_offsets(lab.settings.kafka_bootstrap, topics)
    upto = {place: int(end * (share + 0.1 * place[1])) for place, end in ends.items()}
    for future in admin.delete_records([TopicPartition(*place, at) for place, at in upto.items() if at]).values():
        future.result(30)
    found = first_offsets(lab.settings.kafka_bootstrap, topics)
    assert {place: at for place, at in found.items() if at} == {place: at for place, at in upto.items() if at}
    return sum(upto.values())


def check_rebuilt_but_for_silent_requests(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    before = lab.dump()
    lab.lose()
    rebuild(fresh=False)
    assert "retention has taken" in capsys.readouterr().out
    assert differences(before, lab.dump(), UNTOLD) == []


def test_what_kafka_has_deleted_comes_from_clickhouse(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.start()
    for part in range(30, 34):
        lab.story(part, 150, has_silent=False)
        lab.work("identity")
        lab.work("identity", "profile", "rules")
    lab.work()
    lab.stop()
    assert delete_oldest(lab, 0.35) > 300

    check_rebuilt_but_for_silent_requests(lab, capsys)


def test_the_services_go_on_and_redis_is_lost_once_more(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.start()
    lab.story(40, 200, has_silent=False)
    lab.work()
    lab.stop()
    check_nothing_twice(lab)

    check_rebuilt_but_for_silent_requests(lab, capsys)
