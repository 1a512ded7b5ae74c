"""Every case in identity's README names a test that exists, and every test of a case stands in the table."""

import ast
import re
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
FOLDER = "tests/property/identity/"
CASES = tuple(f"{FOLDER}{name}.py" for name in ("test_identity_cases", "test_person_cases", "test_trait_cases"))
_NAMED = re.compile(r"`([\w/.]+\.py::)?(test_\w+)` \|$")


def names_in(path: str) -> set[str]:
    tree = ast.parse((REPO / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def mistakes(readme: str) -> list[str]:
    """What is wrong with the table of cases."""
    table = readme.partition("## Cases")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    found, named = [], set()
    for row in rows:
        test = _NAMED.search(row)
        if test is None or len(re.split(r"(?<!\\)\|", row)) != 6:
            found.append(f"no test: {row[:60]}")
            continue
        path = (test[1] or f"{CASES[0]}::").removesuffix("::")
        path = path if "/" in path else FOLDER + path
        if not (REPO / path).exists() or test[2] not in names_in(path):
            found.append(f"no such test: {path}::{test[2]}")
        elif path in CASES:
            named.add(test[2])
    cases = set().union(*(names_in(path) for path in CASES))
    return found + [f"in no row: {name}" for name in sorted(cases - named)]


def readme() -> str:
    return (REPO / "services/identity/README.md").read_text(encoding="utf-8")


def test_every_case_has_its_test() -> None:
    assert mistakes(readme()) == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("`test_trait_cases.py::test_a_group_identifies_nobody`", "", "no test: | group"),
        ("::test_a_group_identifies_nobody`", "::test_a_group`", "no such test: "),
        ("| group |", "not a row | group |", "in no row: test_a_group_identifies_nobody"),
        ("`test_an_event_links_all_its_identifiers`", "`test_an_event_links`", "no such test: "),
    ],
)
def test_a_planted_mistake_is_noticed(old: str, new: str, found: str) -> None:
    text = readme()
    assert text.count(old) == 1
    assert any(mistake.startswith(found) for mistake in mistakes(text.replace(old, new)))
