"""What is wrong in tags.yaml is told with its file and line, as editors and `touchstream tags check` show it."""

from pathlib import Path

import pytest
import yaml

from services.chassis.errors import Fatal
from services.profile.adapters import load_config
from services.profile.yaml_lines import Lines

CONFIG = Path(__file__).parents[3] / "deploy" / "config"
SHIPPED = (CONFIG / "tags.yaml").read_text(encoding="utf-8")


def told(path, text):
    """The lines of the refusal."""
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Fatal) as refused:
        load_config(str(CONFIG / "profile.yaml"), str(path), "Asia/Shanghai")
    first, *lines = str(refused.value).split("\n  ")
    assert first == f"profile configuration {path} is wrong:"
    return [line.removeprefix(f"{path}:") for line in lines]


def line_of(text, part):
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def test_every_mistake_has_its_line_in_the_order_of_the_file(tmp_path):
    text = SHIPPED.replace("if: shares(90) >= 3", "if: shares(90) >= yes").replace("exists(coupon)", "exist(coupon)")
    text = text.replace("if: orders(365) >= 4 and", "if: oders(365) >= 4 and").replace(
        "service_or_social:\n    events:", "service_or_social:\n    event:"
    )
    lines = told(tmp_path / "tags.yaml", text)
    expected = ["    event:", "coupon_orders:", "stage: loyal", "    if: shares(90)"]
    assert [int(line.partition(":")[0]) for line in lines] == [line_of(text, part) for part in expected]
    for part, line in zip(
        ("did you mean events?", "did you mean exists?", "did you mean orders?", "the word yes"), lines, strict=True
    ):
        assert part in line
        assert "expected" in line


def test_what_stands_twice_is_refused_with_both_lines(tmp_path):
    text = SHIPPED.replace("\nsegments:", "\n  vip: {if: orders() > 1}\n\nsegments:")
    (line,) = told(tmp_path / "tags.yaml", text)
    first, again = line_of(text, "  vip:"), line_of(text, "  vip: {if")
    assert line == f"{first}: tags.vip: expected once, stands on line {first} and on line {again}"


def test_the_block_of_the_readme_pasted_at_the_end_loses_nothing_in_silence(tmp_path):
    readme = (CONFIG.parents[1] / "README.md").read_text(encoding="utf-8").partition("## Your own tags and segments")[2]
    text = SHIPPED + readme.partition("```yaml\n")[2].partition("```")[0]
    lines = told(tmp_path / "tags.yaml", text)
    assert [line.partition(": ")[2].partition(":")[0] for line in lines] == ["counters", "tags", "segments"]


def test_what_stands_twice_in_the_other_file_is_refused_too(tmp_path):
    text = (CONFIG / "profile.yaml").read_text(encoding="utf-8") + "\nwindows_days: {rfm: 90}\n"
    path = tmp_path / "profile.yaml"
    path.write_text(text, encoding="utf-8")
    first, again = line_of(text, "windows_days:"), len(text.splitlines())
    with pytest.raises(Fatal, match=f"windows_days: expected once, stands on line {first} and on line {again}"):
        load_config(str(path), str(CONFIG / "tags.yaml"), "Asia/Shanghai")


@pytest.mark.parametrize(("key", "line"), [
    ("a", 1), ("a.b", 2), ("a.b.c", 3), ("a.b.d", 2), ("a.b.c.d", 3), ("a.x.y", 4), ("a.x", 1), ("s[0]", 6),
    ("s[1].if", 8), ("s.late.if", 8), ("s.late", 7), ("s.never", 5), ("s[7]", 5),
    ("nothing", 1), ("expected the sections", 1),
])  # fmt: skip
def test_a_key_that_is_not_there_has_the_line_of_what_it_would_stand_in(key, line):
    text = "a:\n  b:\n    c: 1\n  x.y: 2\ns:\n  - {stage: early}\n  - stage: late\n    if: 3\n"
    yaml.safe_load(text)
    assert Lines(text).of(f"{key}: is wrong") == line


def test_a_file_without_anything_has_one_line():
    assert Lines("").of("tags.vip: is wrong") == 1
    assert list(Lines("").repeated()) == []
