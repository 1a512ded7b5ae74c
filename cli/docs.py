"""`touchstream docs`: tables made from the code, and the check that the Markdown still says what is true."""

import importlib
import re
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from cli.markdown import command_problems, link_problems, markdown_files
from services.chassis import failpoints
from services.chassis.settings import SharedSettings, env_name

ROOT = Path(__file__).resolve().parents[1]
# `<!-- settings -->` stands for the service whose folder the README is in, `<!-- settings archive -->` for another one.
BLOCK = re.compile(r"(<!-- settings ?([a-z]*) -->\n).*?(<!-- /settings -->)", re.DOTALL)
FAILPOINTS = re.compile(r"(<!-- failpoints -->\n).*?(<!-- /failpoints -->)", re.DOTALL)
# Those of the tests (TOUCHSTREAM_TEST_…) are read by no settings class.
VARIABLE = re.compile(r"\bTOUCHSTREAM_(?!TEST_)[A-Z0-9_]*[A-Z0-9]\b(?![_*<{…])")

app = typer.Typer(no_args_is_help=True, help="Tables made from the code, and the check of the Markdown.")


def settings_classes() -> dict[str, type[SharedSettings]]:
    """Every settings class by the name of its process, and `shared` for what all of them read."""
    found: dict[str, type[SharedSettings]] = {"shared": SharedSettings}
    for path in sorted(path for top in ("services", "deploy", "cli") for path in (ROOT / top).rglob("settings.py")):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, SharedSettings) and value.ENV_PREFIX:
                found[value.ENV_PREFIX.lower()] = value
    return found


def settings_table(cls: type[SharedSettings]) -> str:
    """The variables of one process as a Markdown table: its own, and shared ones whose default it changes."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in cls.model_fields.items():
        shared = SharedSettings.model_fields.get(name)
        if cls is not SharedSettings and shared is not None and shared.default == field.default:
            continue
        rows.append(
            f"| `{env_name(cls, name)}` | {_default(field.get_default(call_default_factory=True))} "
            f"| {(field.description or '').replace('|', chr(92) + '|')} |"
        )
    return "\n".join(rows) + "\n"


def _default(value: object) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, SecretStr):
        return "secret" if value.get_secret_value() else ""
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, Path) and value.is_absolute() and value.is_relative_to(ROOT):
        value = value.relative_to(ROOT)
    return f"`{value}`" if str(value) else ""


def with_tables(path: Path, text: str) -> str:
    """The text of a Markdown file with every generated block as the code says it. KeyError: no such service."""
    classes = settings_classes() if BLOCK.search(text) else {}
    text = BLOCK.sub(lambda m: m[1] + settings_table(classes[m[2] or path.parent.name]) + m[3], text)
    return FAILPOINTS.sub(lambda m: m[1] + failpoint_table() + m[2], text)


def failpoint_table() -> str:
    """Every failpoint as a Markdown table, in the catalogue's order."""
    rows = [
        f"| `{point.step}` | {', '.join(point.services)} | {point.moment} | {point.text} |"
        for point in failpoints.catalogue()
    ]
    return "\n".join(["| step | of | when | what stands there |", "|---|---|---|---|", *rows]) + "\n"


def variable_problems(root: Path) -> list[str]:
    """Environment variables of ours that nothing reads; `TOUCHSTREAM_RULES_*` and the like are patterns."""
    known = {env_name(cls, field) for cls in settings_classes().values() for field in cls.model_fields}
    problems = []
    for path in markdown_files(root):
        unknown = sorted(set(VARIABLE.findall(path.read_text())) - known)
        problems += [f"{path.relative_to(root)}: no setting {name}" for name in unknown]
    return problems


def table_problems(root: Path) -> list[str]:
    """Generated blocks that differ from the code."""
    problems = []
    for path in markdown_files(root):
        text = path.read_text()
        try:
            if with_tables(path, text) != text:
                problems.append(
                    f"{path.relative_to(root)}: a generated table is out of date; run: touchstream docs update"
                )
        except KeyError as error:
            problems.append(f"{path.relative_to(root)}: no service has settings named {error}")
    return problems


@app.command()
def settings(service: Annotated[str, typer.Argument(help="ingest, identity, …, or `shared`")]) -> None:
    """Print the table of a service's environment variables."""
    classes = settings_classes()
    if service not in classes:
        raise typer.BadParameter(f"no settings named {service!r}; there are: {', '.join(sorted(classes))}")
    print(settings_table(classes[service]), end="")


@app.command()
def update() -> None:
    """Rewrite every generated table in the Markdown files."""
    for path in markdown_files(ROOT):
        text = path.read_text()
        if (new := with_tables(path, text)) != text:
            path.write_text(new)
            print(f"updated {path.relative_to(ROOT)}")


@app.command()
def check(root: Annotated[Path, typer.Option(help="the tree to check")] = ROOT) -> None:
    """Fail when a link, a command or a generated table in a Markdown file is wrong."""
    problems = [*link_problems(root), *command_problems(root), *variable_problems(root), *table_problems(root)]
    for problem in problems:
        print(problem)
    print(f"docs: {len(markdown_files(root))} files, {len(problems)} problems")
    raise typer.Exit(1 if problems else 0)
