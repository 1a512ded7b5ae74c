"""An operator's own tag and segment on a running system: looked at first, taken over from history, and nobody is told.

The tests are chapters, in order, on one broker, one Valkey and one ClickHouse.
"""

import csv
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cli.tags.command import backfill, check, preview_command
from cli.tags.segments import Format, export, list_
from services.chassis.settings import env_name
from services.profile.settings import ProfileSettings
from tests.integration.rebuild_backends import deployed
from tests.integration.rebuild_lab import Lab

pytestmark = pytest.mark.timeout(900)
SHIPPED, README = Path("deploy/config/tags.yaml"), Path("README.md")
TEA = b'{"products": [{"category": "Tea", "quantity": 1}, {"category": "cups"}]}'
CUPS = b'{"products": [{"category": "cups"}], "tea": "no"}'


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with deployed(tmp_path_factory.mktemp("state")) as lab:
        yield lab


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped file, and what the README has an operator add to it."""
    definitions = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    example = README.read_text(encoding="utf-8").partition("## Your own tags and segments")[2]
    for part, added in yaml.safe_load(example.partition("```yaml\n")[2].partition("```")[0]).items():
        definitions[part] |= added
    path = tmp_path_factory.mktemp("config") / "tags.yaml"
    path.write_text(yaml.safe_dump(definitions, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def buy(lab: Lab, who: str, order: str, properties: bytes) -> None:
    lab.send(
        f"user_id:{who}", name="Order Completed", event_id=order, order_id=order, amount_minor=900, currency="CNY",
        properties=properties,
    )  # fmt: skip


def tell(lab: Lab, who: str, city: str) -> None:
    lab.send(f"user_id:{who}", kind="identify", name="Identified", traits=json.dumps({"city": city}).encode())


def test_history_before_the_tag(lab: Lab) -> None:
    lab.start()
    for who, drinks, city in (("tea-1", 2, "310100"), ("tea-2", 3, "110100"), ("once", 1, "310100"), ("cups", 0, "")):
        for number in range(3):
            buy(lab, who, f"{who}-{number}", TEA if number < drinks else CUPS)
        if city:
            tell(lab, who, city)
    lab.producer.flush()
    lab.work()


def test_a_preview_says_whom_it_would_touch(lab: Lab, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(file)
    assert "tea_lover (preference): tea_orders(60) >= 2" in capsys.readouterr().out
    preview_command(file, None, 3, as_json=True)
    found = json.loads(capsys.readouterr().out)
    effects = {effect["name"]: effect for effect in found["effects"]}
    assert effects.keys() == {"tea_lover", "segment:tea_lovers_in_shanghai"}
    assert [effects["tea_lover"][key] for key in ("now", "then", "gained", "lost")] == [0, 2, 2, 0]
    assert effects["segment:tea_lovers_in_shanghai"]["gained"] == 1
    assert {reason for _, reason in effects["tea_lover"]["gains"]} == {
        "2 purchases of tea in 60 days",
        "3 purchases of tea in 60 days",
    }


def test_a_backfill_gives_everybody_what_history_says_and_fires_no_rule(
    lab: Lab, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    triggers = lab.clickhouse.query_rows("SELECT count() AS n FROM triggers_raw")[0]["n"]
    lab.stop()
    lab.tags = str(file)
    lab.start()
    # Before the backfill a customer's next purchase counts what it can, and says nothing of what it cannot know.
    buy(lab, "tea-1", "tea-1-next", TEA)
    lab.producer.flush()
    lab.work()
    assert members(lab, "tea_lover") == set()

    with running(lab):
        monkeypatch.setenv(env_name(ProfileSettings, "tags"), str(file))
        backfill()
    lab.work()

    assert "customers judged by" in capsys.readouterr().out
    assert len(members(lab, "tea_lover")) == 2
    assert len(members(lab, "segment:tea_lovers_in_shanghai")) == 1
    changes = lab.clickhouse.query_rows("SELECT kind FROM tag_changes_raw WHERE tag = 'tea_lover'")
    assert [row["kind"] for row in changes] == ["tick", "tick"]
    (row,) = lab.clickhouse.query_rows("SELECT count() AS n FROM triggers_raw")
    assert row["n"] == triggers


def test_a_segment_is_counted_and_exported(
    lab: Lab, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(env_name(ProfileSettings, "tags"), str(file))
    list_(as_json=True)
    counts = {one["segment"]: one["customers"] for one in map(json.loads, capsys.readouterr().out.splitlines())}
    assert counts["tea_lovers_in_shanghai"] == 1
    export("tea_lovers_in_shanghai", Format.JSONL, tmp_path / "members.jsonl")
    (member,) = map(json.loads, (tmp_path / "members.jsonl").read_text(encoding="utf-8").splitlines())
    assert (member["traits"]["city"], member["segments"]) == ("310100", ["tea_lovers_in_shanghai"])
    assert "tea_lover" in member["tags"]
    export("tea_lovers_in_shanghai", Format.CSV, tmp_path / "members.csv")
    with (tmp_path / "members.csv").open(encoding="utf-8", newline="") as lines:
        (row,) = csv.DictReader(lines)
    assert row["customer_id"] == member["customer_id"]


def members(lab: Lab, tag: str) -> set[str]:
    """Customer ids that hold a tag, as ClickHouse has them."""
    rows = lab.clickhouse.query_rows("SELECT customer_id FROM customer_tags WHERE tag = {tag:String}", {"tag": tag})
    return {row["customer_id"] for row in rows}


class running:  # noqa: N801 - reads as a word
    """Profile's loop goes round in a thread, as in its process."""

    def __init__(self, lab: Lab) -> None:
        self._loop, self._stop = lab.loops["profile"], threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._loop.round()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(30.0)
