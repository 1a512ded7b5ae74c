"""`touchstream rebuild` after changes of the identity policy: everything is decided under the policy that held then.

The tests are chapters, in order, on one broker, one Valkey and one ClickHouse.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml

from cli.rebuild import checks, run
from cli.rebuild.command import rebuild
from deploy.local.settings import ROOT
from services.identity.adapters import load_policy
from services.identity.policies import versions
from services.identity.rebuild import replay
from tests.integration.rebuild_backends import LEFT_OUT, deployed
from tests.integration.rebuild_lab import Lab
from tests.integration.redis_dump import differences
from tests.integration.test_rebuild import cut

pytestmark = pytest.mark.timeout(900)
SHIPPED = str(ROOT / "deploy/config/identity.yaml")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with deployed(tmp_path_factory.mktemp("state")) as lab:
        yield lab


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A customer has one anonymous id only: much is decided otherwise than under the shipped one."""
    rules = yaml.safe_load(Path(SHIPPED).read_text(encoding="utf-8"))
    rules["kinds"]["anonymous_id"]["limit"] = 1
    path = tmp_path_factory.mktemp("policies") / "strict.yaml"
    path.write_text(yaml.safe_dump(rules, sort_keys=False), encoding="utf-8")
    return str(path)


def live(lab: Lab, policy: str, *parts: int) -> None:
    """Work under a policy for a while."""
    lab.policy = policy
    lab.start()
    for part in parts:
        lab.story(part, 150, has_silent=False)
        lab.work("identity")
        lab.work("identity", "profile", "rules")
    lab.work()
    lab.stop()


def told(lab: Lab) -> list[tuple[int, str, str]]:
    rows = lab.clickhouse.query_rows("SELECT number, version, replaced FROM identity_policies ORDER BY number")
    return [(row["number"], row["version"], row["replaced"]) for row in rows]


def test_every_policy_that_held_is_told_and_history_is_decided_under_its_own(lab: Lab, strict: str) -> None:
    live(lab, SHIPPED, 50)
    live(lab, strict, 51, 52)
    live(lab, SHIPPED, 53)
    first, second = load_policy(SHIPPED).version, load_policy(strict).version
    expected = [(1, first, ""), (2, second, first), (3, first, second)]
    assert told(lab) == expected
    found = versions(lab.redis)
    assert [(one.number, one.version, one.before) for one in found] == expected

    before = lab.dump()
    lab.lose()
    rebuild(fresh=False)
    assert differences(before, lab.dump(), LEFT_OUT) == []
    assert versions(lab.redis) == found


def test_under_one_policy_for_all_the_difference_is_found_out(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lab.dump()
    lab.lose()
    with monkeypatch.context() as patch:
        patch.setattr(replay.Rebuild, "_begin", lambda *args: None)
        patch.setattr(run, "_side_by_side", run._in_order)  # in this process, where the patch is seen
        with pytest.raises(typer.Exit):
            rebuild(fresh=False)
    assert "the rebuilt graph decides" in capsys.readouterr().err
    lab.lose()
    rebuild(fresh=True)
    assert differences(before, lab.dump(), LEFT_OUT) == []


def test_a_policy_whose_record_retention_has_taken_comes_from_clickhouse(
    lab: Lab, strict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(lab, strict, 54)
    oldest, before = cut(lab), lab.dump()
    lab.lose()
    with monkeypatch.context() as patch:
        patch.setattr(checks.offsets, "first_offsets", lambda bootstrap, topics: oldest)
        patch.setenv("TOUCHSTREAM_IDENTITY_POLICY", strict)  # what is in force now decides nothing of the past
        rebuild(fresh=False)
    assert differences(before, lab.dump(), (*LEFT_OUT, "{identity}:seen")) == []
