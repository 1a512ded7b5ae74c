"""What the Markdown says is true, and the check of it catches a planted mistake of every kind."""

import re
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from cli import docs
from cli.main import app

REPO = Path(__file__).resolve().parents[2]

PLANTS = [
    ("[a](missing.md)", "link to missing.md: no such file"),
    ("[a](#nowhere)", "link to #nowhere: no such heading"),
    ("![picture](docs/flow.svg)", "link to docs/flow.svg: no such file"),
    ("run `make coffee`", "make coffee: no target coffee"),
    ("```sh\ngit clone x && make coffee\n```", "make coffee: no target coffee"),
    ("run `touchstream brew --now`", "touchstream brew --now: no command brew"),
    ("```\n$ .venv/bin/touchstream docs check --roof .  # comment\n```", "no option --roof"),
    ("run `uv run touchstream docs chekc`", "no command chekc"),
    ("set `TOUCHSTREAM_REDIS_URI`", "no setting TOUCHSTREAM_REDIS_URI"),
    ("<!-- settings shared -->\n| stale |\n<!-- /settings -->", "a generated table is out of date"),
    ("<!-- failpoints -->\n| stale |\n<!-- /failpoints -->", "a generated table is out of date"),
    ("<!-- settings coffee -->\n<!-- /settings -->", "no service has settings named 'coffee'"),
]

TRUE = """# What is it?

[up](#what-is-it) [file](README.md) [web](https://example.org/x) `make test ARGS="-k ledger"` `make`
`touchstream docs check [--root .]` `touchstream COMMAND --help`

```sh
make check && make test   # make coffee is only a comment
```

`TOUCHSTREAM_REDIS_URL=redis://x` `TOUCHSTREAM_TEST_X` `TOUCHSTREAM_RULES_*` `TOUCHSTREAM_<SERVICE>_PORT`

We make coffee here, and touchstream brews it.
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "Makefile").write_text((REPO / "Makefile").read_text())
    return tmp_path


def check(root: Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["docs", "check", "--root", str(root)])
    return result.exit_code, result.output


def test_the_markdown_of_this_repository_is_true() -> None:
    code, output = check(REPO)
    assert code == 0, output


def test_true_markdown_passes(tree: Path) -> None:
    table = docs.settings_table(docs.settings_classes()["shared"])
    (tree / "README.md").write_text(f"{TRUE}\n<!-- settings shared -->\n{table}<!-- /settings -->\n")
    code, output = check(tree)
    assert code == 0, output


@pytest.mark.parametrize(("text", "named"), PLANTS)
def test_a_planted_mistake_fails_and_is_named(tree: Path, text: str, named: str) -> None:
    (tree / "services").mkdir()
    (tree / "services" / "README.md").write_text(f"# Planted\n\n{text}\n")
    code, output = check(tree)
    assert code == 1
    assert "services/README.md: " in output
    assert named in output


def test_every_service_shows_its_settings_in_its_readme() -> None:
    names = set(docs.settings_classes()) - {"shared"}
    shown = set()
    for path in (REPO / "services").rglob("README.md"):
        shown |= {match[2] or path.parent.name for match in docs.BLOCK.finditer(path.read_text())}
    services = {path.parent.name for path in REPO.glob("services/**/settings.py")} - {"chassis"}
    assert services & names <= shown


def test_every_command_the_makefile_runs_exists() -> None:
    called = set(re.findall(r"\$\(BIN\)/touchstream (\w+)", (REPO / "Makefile").read_text()))
    assert {"demo", "up", "down", "bench", "docs"} <= called
    assert called <= set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_a_settings_block_is_rewritten_from_the_code(tree: Path) -> None:
    stale = "<!-- settings shared -->\n| stale |\n<!-- /settings -->\n"
    fresh = docs.with_tables(tree / "README.md", stale)
    assert "TOUCHSTREAM_REDIS_URL" in fresh
    assert "stale" not in fresh
    assert docs.with_tables(tree / "README.md", fresh) == fresh


def test_settings_of_an_unknown_service_name_those_that_exist() -> None:
    result = CliRunner().invoke(app, ["docs", "settings", "coffee"])
    assert result.exit_code == 2
    assert "shared" in result.output
