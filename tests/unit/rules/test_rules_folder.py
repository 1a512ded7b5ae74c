"""Hot reload on real files: a good version replaces the old one whole, a bad one never."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from prometheus_client import REGISTRY

from services.chassis.errors import Fatal
from services.chassis.health import Health
from services.rules.adapters import RulesFolder

ZONE = ZoneInfo("Asia/Shanghai")


def write(folder: Path, name: str, event: str = "A") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(f"rule: {name}\nwhen: {{event: {event}}}\nthen: [{{email: {{template: t}}}}]\n")
    return path


def names(folder: RulesFolder) -> list[str]:
    return [rule.name for rule in folder.current.rules]


def eventually(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"touchstream_rules_{name}", labels) or 0.0


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def folder(tmp_path: Path, health: Health) -> Iterator[RulesFolder]:
    write(tmp_path, "one")
    opened = RulesFolder(str(tmp_path), ZONE, health)
    yield opened
    opened.close()


def detail(health: Health) -> str:
    return str(health.report()["rules folder"]["detail"])


def test_an_untouched_folder_is_not_read_again(folder: RulesFolder) -> None:
    before = folder.current
    assert not folder.refresh()
    assert folder.current is before


def test_added_changed_and_removed_files_come_into_force_together(folder: RulesFolder, tmp_path: Path) -> None:
    write(tmp_path, "two")
    (tmp_path / "one.yaml").rename(tmp_path / "uno.yml")
    write(tmp_path, "three")
    (tmp_path / "notes.txt").write_text("not a rule")
    (tmp_path / ".three.yaml.swp.yaml").write_text("an editor's")
    assert folder.refresh()
    assert names(folder) == ["one", "three", "two"]
    (tmp_path / "two.yaml").unlink()
    assert folder.refresh()
    assert names(folder) == ["one", "three"]


def test_a_new_content_of_the_same_length_is_noticed(folder: RulesFolder, tmp_path: Path) -> None:
    version = folder.current.rules[0].version
    write(tmp_path, "one", event="B")
    assert folder.refresh()
    assert folder.current.rules[0].version != version


def test_a_bad_version_leaves_the_old_rules_in_force_and_says_so(
    folder: RulesFolder, tmp_path: Path, health: Health
) -> None:
    before, refused = folder.current, metric("reloads_total", result="refused")
    write(tmp_path, "two")
    (tmp_path / "bad.yaml").write_text("rule: bad\nwhen: {evnt: A}\n")
    assert not folder.refresh()
    assert folder.current is before
    assert health.ready
    assert "1 older rules in force; the new version is refused" in detail(health)
    assert f"{tmp_path}/bad.yaml:1:1: found a rule without `then`" in detail(health)
    assert "(and 1 more mistakes)" in detail(health)
    assert (metric("reloads_total", result="refused"), metric("folder_refused")) == (refused + 1, 1)
    assert not folder.refresh()
    assert metric("reloads_total", result="refused") == refused + 1, "one version is refused once"


def test_mending_the_folder_ends_the_refusal(folder: RulesFolder, tmp_path: Path, health: Health) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("rule: [")
    folder.refresh()
    bad.unlink()
    write(tmp_path, "two")
    assert folder.refresh()
    assert (names(folder), detail(health), metric("folder_refused")) == (["one", "two"], "2 rules in force", 0)


def test_an_emptied_or_vanished_folder_is_a_bad_version(folder: RulesFolder, tmp_path: Path, health: Health) -> None:
    (tmp_path / "one.yaml").unlink()
    assert not folder.refresh()
    assert "found no rule file" in detail(health)
    tmp_path.rmdir()
    assert not folder.refresh()
    assert not folder.refresh()
    assert (names(folder), "No such file" in detail(health)) == (["one"], True)
    tmp_path.mkdir()
    write(tmp_path, "back")
    assert folder.refresh()
    assert names(folder) == ["back"]


def test_a_folder_swapped_through_a_symlink_is_noticed(tmp_path: Path, health: Health) -> None:
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        write(tmp_path / version, version)
    link = tmp_path / "current"
    link.symlink_to("v1")
    folder = RulesFolder(str(link), ZONE, health)
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").replace(link)
    assert folder.refresh()
    assert names(folder) == ["v2"]


def test_the_watcher_brings_new_rules_into_force_by_itself(folder: RulesFolder, tmp_path: Path) -> None:
    folder.watch(interval_ms=10)
    write(tmp_path, "two")
    eventually(lambda: names(folder) == ["one", "two"], lambda: names(folder))


def test_a_folder_that_is_bad_from_the_start_is_refused_with_every_mistake(tmp_path: Path, health: Health) -> None:
    (tmp_path / "a.yaml").write_text("rule: a")
    (tmp_path / "b.yaml").write_text("when: []")
    with pytest.raises(Fatal) as refused:
        RulesFolder(str(tmp_path), ZONE, health)
    assert f"{tmp_path}/a.yaml:1:1: found a rule without `when`" in str(refused.value)
    assert f"{tmp_path}/b.yaml:1:1: found a rule without `rule`" in str(refused.value)
    with pytest.raises(Fatal, match="No such file"):
        RulesFolder(str(tmp_path / "nowhere"), ZONE, health)
