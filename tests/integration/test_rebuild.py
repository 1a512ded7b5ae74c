"""`touchstream rebuild` in the life of one deployment: whatever is lost comes back, key by key, and work goes on.

The tests are chapters, in order, on one broker, one Valkey and one ClickHouse.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from cli.rebuild import checks
from cli.rebuild.command import rebuild
from services.chassis.errors import Fatal
from services.chassis.redis.ledger import Ledger
from services.chassis.redis.rebuild import MARK
from services.chassis.redis.slots import Slot
from services.chassis.testing.waiting import wait_for
from services.chassis.topics import load_topics
from tests.integration.rebuild_backends import LEFT_OUT, check_nothing_twice, check_rebuilt, deployed
from tests.integration.rebuild_lab import Lab
from tests.integration.redis_dump import differences

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with deployed(tmp_path_factory.mktemp("state")) as lab:
        yield lab


def test_what_retention_has_taken_comes_from_clickhouse(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.start()
    for part in range(30, 34):
        lab.story(part, 150, has_silent=False)
        lab.work("identity")
        lab.work("identity", "profile", "rules")
    lab.work()
    lab.stop()
    oldest = cut(lab)
    before = lab.dump()
    lab.lose()

    with monkeypatch.context() as patch:
        patch.setattr(checks.offsets, "first_offsets", lambda bootstrap, topics: oldest)
        rebuild(fresh=False)

    # Message ids of requests that changed nothing are in no table; retention outlasts the window they are kept for.
    assert differences(before, lab.dump(), (*LEFT_OUT, "{identity}:seen")) == []
    seen = {key: value for key, value in before.items() if key.startswith("{identity}:seen:")}
    assert all(len(set(seen[key]) - set(lab.dump()[key])) < 40 for key in seen)
    lab.lose()
    rebuild(fresh=False)
    assert differences(before, lab.dump(), LEFT_OUT) == []


def cut(lab: Lab) -> dict[tuple[str, int], int]:
    """Oldest offsets as if retention had taken about half, at another place of every partition."""
    topics = list(load_topics())
    firsts = checks.offsets.first_offsets(lab.settings.kafka_bootstrap, topics)
    ends = checks.offsets.end_offsets(lab.settings.kafka_bootstrap, topics)
    kept = ("profiles", *(topic for topic in topics if topic.endswith(".dead")))
    cut_off = {place: int(ends.get(place, 0) * (0.35 + 0.1 * place[1])) for place in firsts if place[0] not in kept}
    return {**firsts, **cut_off}


def test_a_lost_redis_comes_back_key_by_key_and_the_services_go_on(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.start()
    for part in range(6):
        lab.story(part, 200)
        lab.work("identity")
        lab.work("identity", "profile", "rules")
    lab.work()
    lab.stop()

    check_rebuilt(lab)

    assert "events/s" in capsys.readouterr().out
    lab.start()
    lab.story(7, 200)
    lab.work()
    check_nothing_twice(lab)
    lab.stop()


def test_a_redis_that_is_not_empty_is_left_alone(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    before = lab.dump()
    with pytest.raises(typer.Exit):
        rebuild(fresh=False)
    assert "not empty" in capsys.readouterr().err
    assert lab.dump() == before


def test_a_difference_ends_it_with_its_place_and_no_service_accepts_what_is_left(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lab.dump()
    lab.lose()
    with monkeypatch.context() as patch:
        patch.setenv("TOUCHSTREAM_IDENTIFIER_KEY", "another key than the services had, 32 bytes")
        with pytest.raises(typer.Exit):
            rebuild(fresh=False)
    assert "; the rebuilt graph decides " in capsys.readouterr().err
    with pytest.raises(Fatal, match="touchstream rebuild has not finished"):
        Ledger(lab.redis).claim(Slot("identity", 0, True), "touchpoints", "a cluster", "a topic", 0)
    lab.stop()

    rebuild(fresh=True)

    assert differences(before, lab.dump(), LEFT_OUT) == []


def test_a_rebuild_that_is_killed_leaves_nobody_behind_who_writes(lab: Lab) -> None:
    before = lab.dump()
    lab.lose()
    command = subprocess.Popen([sys.executable, "-c", "from cli.main import main; main()", "rebuild"])
    wait_for(lambda: lab.redis.dbsize() > 20, "the stages work", 120)
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
    command.kill()
    command.wait()
    assert len(children) >= 2
    wait_for(lambda: not any(map(runs, children)), "all of it has ended", 30)

    rebuild(fresh=True)

    assert differences(before, lab.dump(), LEFT_OUT) == []


def runs(process_id: str) -> bool:
    """Whether this process is there and has not ended."""
    try:
        return Path("/proc", process_id, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_an_interrupted_rebuild_left_is_thrown_away_only_when_told(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    before = lab.dump()
    lab.lose()
    lab.redis.set(MARK, 1)
    lab.redis.hset("{identity}:counters", "g", 7)
    with pytest.raises(typer.Exit):
        rebuild(fresh=False)
    assert "--fresh" in capsys.readouterr().err

    rebuild(fresh=True)

    assert differences(before, lab.dump(), LEFT_OUT) == []
