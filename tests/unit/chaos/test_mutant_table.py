"""The table of tests/chaos/README.md, "Proving the checker": a test for every mutation, and what it names is there."""

import re

import pytest

from deploy.local.settings import ROOT
from tests.chaos.test_mutants import MUTANTS

README = (ROOT / "tests/chaos/README.md").read_text(encoding="utf-8")
SECTION = README.partition("## Proving the checker")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in SECTION.splitlines() if line.startswith("| ")
][1:]


def test_the_table_has_every_mutation_that_was_asked_for() -> None:
    asked = ("dropped", "doubled", "epoch", "everysec", "window of 0", "random", "does not wait", "used again")
    assert [row[0] for row, word in zip(ROWS, asked, strict=True) if word not in row[0]] == []


def test_the_table_has_every_mutant_of_the_rig() -> None:
    assert {name for row in ROWS for name in re.findall(r"`(.+?)`:", row[1])} == {mutant.name for mutant in MUTANTS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_the_table_names_is_there(row: list[str]) -> None:
    named = re.findall(r"`(tests/.+?)` `(.+?)`", row[2])
    assert named
    assert [(path, name) for path, name in named if name not in (ROOT / path).read_text(encoding="utf-8")] == []
