"""Each static check of `make check` catches the mistake it is there for, in the words of its tool."""

from typing import Protocol

import pytest


class Tree(Protocol):
    def write(self, path: str, text: str) -> None: ...
    def make(self, target: str) -> tuple[int, str]: ...


PLANTS = [
    ("check-format", "services/ingest/planted.py", "x = {  'a':1 }\n", "services/ingest/planted.py"),
    ("check-format", "tests/unit/test_x.py", "x = {  'a':1 }\n", "tests/unit/test_x.py"),
    ("check-lint", "services/ingest/planted.py", "import json\n", "F401"),
    ("check-lint", "services/ingest/planted.py", "try:\n    x = 1\nexcept Exception:\n    x = 2\n", "BLE001"),
    ("check-lint", "services/rules/core/x.py", "from datetime import datetime\n\nx = datetime.now()\n", "TID251"),
    ("check-lint", "services/rules/core/x.py", "import uuid\n\nx = uuid.uuid4()\n", "TID251"),
    ("check-lint", "services/rules/core/x.py", "import urllib.request\n\nx = urllib.request.urlopen\n", "TID251"),
    # A dependency of another member, of a dependency, of nobody, of the tests.
    ("check-declared", "services/rules/planted.py", "import phonenumbers\n", "DEP003 'phonenumbers'"),
    ("check-declared", "services/chassis/planted.py", "import starlette\n", "DEP003 'starlette'"),
    ("check-declared", "cli/planted.py", "import lz4\n", "DEP004 'lz4'"),
    ("check-declared", "cli/planted.py", "import pytest\n", "DEP004 'pytest'"),
    ("check-declared", "deploy/local/planted.py", "import aiokafka\n", "DEP003 'aiokafka'"),
    ("check-declared", "services/notify/planted.py", "import nowhere\n", "DEP001 'nowhere'"),
    ("check-types", "services/ingest/planted.py", "def size(x: str) -> str:\n    return len(x)\n", "[return-value]"),
    ("check-types", "services/ingest/planted.py", "def size(x):\n    return len(x)\n", "[no-untyped-def]"),
    ("check-types", "cli/x.py", "x: list = []\n", "[type-arg]"),
    ("check-types", "deploy/local/x.py", "x: int = ''\n", "[assignment]"),
]


@pytest.mark.parametrize("target", ["check-format", "check-lint", "check-declared", "check-types"])
def test_a_clean_tree_passes(tree: Tree, target: str) -> None:
    tree.write("services/ingest/planted.py", 'def size(text: str) -> int:\n    return len(text) + len("")\n')
    code, output = tree.make(target)
    assert code == 0, output


@pytest.mark.parametrize(("target", "path", "text", "named"), PLANTS)
def test_a_planted_violation_fails_and_is_named(tree: Tree, target: str, path: str, text: str, named: str) -> None:
    tree.write(path, text)
    code, output = tree.make(target)
    assert code != 0, output
    assert named in output
    assert path in output


def test_only_core_is_kept_from_the_clock(tree: Tree) -> None:
    tree.write("services/rules/planted.py", "from datetime import UTC, datetime\n\nx = datetime.now(UTC)\n")
    code, output = tree.make("check-lint")
    assert code == 0, output
