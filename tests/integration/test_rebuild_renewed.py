"""`touchstream rebuild` past retention where numbers were taken over: requests mean whom they meant then."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cli.rebuild import checks
from cli.rebuild.command import rebuild
from deploy.local.settings import ROOT
from tests.integration.rebuild_backends import LEFT_OUT, deployed
from tests.integration.rebuild_lab import Lab
from tests.integration.redis_dump import differences
from tests.integration.test_rebuild import cut

pytestmark = pytest.mark.timeout(900)
PHONE_IS_VERIFIED = 8


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A deployment that believes the shop in what is verified."""
    rules = yaml.safe_load((ROOT / "deploy/config/identity.yaml").read_text(encoding="utf-8"))
    rules["sources"] = {"shop": {"verified": ["phone"]}}
    policy = tmp_path / "trusting.yaml"
    policy.write_text(yaml.safe_dump(rules, sort_keys=False), encoding="utf-8")
    with deployed(tmp_path / "state") as lab:
        monkeypatch.setenv("TOUCHSTREAM_IDENTITY_POLICY", str(policy))
        lab.policy = str(policy)
        yield lab


def takeover(lab: Lab, number: int) -> tuple[str, str, str, str]:
    """Phone, former and new owner, and a device of the former one."""
    phone, former, new = f"phone:+86139123456{number:02}", f"user_id:former-{number}", f"user_id:new-{number}"
    device = f"device_id:device-{number}"
    happens(lab, phone)
    happens(lab, former, phone)
    happens(lab, former, device)
    happens(lab, new, phone, flags=PHONE_IS_VERIFIED)
    return phone, former, new, device


def happens(lab: Lab, *identifiers: str, kind: str = "track", **fields: object) -> None:
    """One touchpoint, decided before the next: partitions have no order among each other."""
    lab.send(*identifiers, kind=kind, **fields)
    lab.producer.flush()
    lab.work("identity")


def test_requests_mean_whom_they_meant_before_retention_took_them(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.start()
    for number in range(4):
        phone, former, new, device = takeover(lab, 10 + number)
        if number == 0:
            happens(lab, former, kind="erase")
        elif number == 1:
            happens(lab, former, kind="unlink")
        elif number == 2:
            happens(lab, phone, new, kind="unlink", properties=b'{"pair": true}')
            happens(lab, phone, device, kind="link")
        else:
            happens(lab, phone, kind="erase")
    for part in (60, 61):
        lab.story(part, 150, has_silent=False)
        lab.work("identity")
    lab.work()
    lab.stop()
    rows = lab.clickhouse.query_rows("SELECT kind, count() AS n FROM identity_changes GROUP BY kind")
    assert {row["kind"]: row["n"] for row in rows}["moved"] == 4

    oldest, before = cut(lab), lab.dump()
    lab.lose()
    monkeypatch.setattr(checks.offsets, "first_offsets", lambda bootstrap, topics: oldest)
    rebuild(fresh=False)
    assert "retention has taken" in capsys.readouterr().out
    assert differences(before, lab.dump(), (*LEFT_OUT, "{identity}:seen")) == []
