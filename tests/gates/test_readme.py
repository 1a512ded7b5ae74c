"""What the root README and deploy/README.md say beyond links and commands (cli/docs.py has those) is true as well.

Checks take a text and say what is wrong with it; every kind of mistake is planted once, as an edit of the real text.
"""

import re
import shlex
import tomllib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from pydantic import SecretStr

from cli.docs import settings_classes
from cli.markdown import FENCE
from deploy.local.settings import LocalSettings
from services.chassis.settings import SharedSettings, env_name

REPO = Path(__file__).resolve().parents[2]
README, DEPLOY = REPO / "README.md", REPO / "deploy" / "README.md"
ENTRY = re.compile(r"^\d+\. (.*)$", re.MULTILINE)
FILE = re.compile(r"\[[^\]]*\]\(([^)#]+)\)")
NAME = re.compile(r"`(\w+)`")
ROW = re.compile(r"^\| (.*) \|$", re.MULTILINE)
# The commands of `make` and `touchstream` are checked by `touchstream docs check`, requests by test_readme_requests.py.
CHECKED_ELSEWHERE = {"make", "touchstream", ".venv/bin/touchstream", "curl"}


def section(text: str, heading: str) -> str:
    """From a heading of any level to the next one of the same or a higher level."""
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,2}} |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"no heading {heading!r}"
    return found[2]


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, heads and rules included."""
    return [[cell.strip() for cell in row.split(" | ")] for row in ROW.findall(text)]


def journey_problems(text: str) -> list[str]:
    """`Follow one event`: every function it names stands in a file of its line; and it stays about fifteen files."""
    entries = ENTRY.findall(section(text, "Follow one event"))
    problems = [] if 12 <= len(entries) <= 18 else [f"{len(entries)} stops"]
    for entry in entries:
        code = "".join((REPO / path).read_text() for path in FILE.findall(entry) if (REPO / path).is_file())
        defined = set(re.findall(r"(?:class|def|function|local function) (\w+)", code))
        known = defined if defined else set(re.findall(r"\w+", code))
        problems += [f"{name} is not in {FILE.findall(entry)}" for name in NAME.findall(entry) if name not in known]
    return problems


def place_problems(text: str) -> list[str]:
    """`Where things are`: every variable's default is what the row says; the topics are those of topics.toml."""
    shared = {env_name(SharedSettings, field): info.default for field, info in SharedSettings.model_fields.items()}
    defaults = shared | {
        env_name(cls, field): info.default
        for name, cls in settings_classes().items()
        if name != "shared"
        for field, info in cls.model_fields.items()
        if field not in SharedSettings.model_fields
    }
    problems = []
    for row in rows(section(text, "Where things are")):
        if len(row) == 3 and row[2].startswith("`TOUCHSTREAM_"):
            default = defaults[row[2].strip("`")]
            shown = str(default).removeprefix(f"{REPO}/")
            if not re.search(rf"(?<![\w.]){re.escape(shown)}(?!\w)", row[1]):
                problems.append(f"{row[2]} is {shown}, not {row[1]}")
    declared: dict[str, tuple[set[str], set[str]]] = {}
    for topic in tomllib.loads((REPO / "schemas" / "topics.toml").read_text())["topic"]:
        name = "<service>.dead" if topic["name"].endswith(".dead") else topic["name"]
        writers, readers = declared.setdefault(name, (set(), set()))
        writers.update(topic["written_by"])
        readers.update(topic["read_by"])
    listed = {
        row[0].strip("`"): tuple(parties(side) for side in row[-1].split("→"))
        for row in rows(section(text, "Where things are"))
        if row[0].startswith("`") and "→" in row[-1]
    }
    problems += [f"topic {name} is listed or declared, not both" for name in declared.keys() ^ listed.keys()]
    both = declared.keys() & listed.keys()
    wrong = [name for name in both if declared[name] != listed[name]]
    return problems + [f"topic {name}: {listed[name]}, not {declared[name]}" for name in wrong]


def parties(side: str) -> set[str]:
    """The writers or readers of a cell; the operator's commands are `cli`."""
    plain = re.sub(r"\([^)]*\)", "", side)
    return {"cli" if name.strip().startswith("`touchstream") else name.strip() for name in plain.split(",")}


def gap_problems(text: str) -> list[str]:
    """Where a gap is said to stop its partition, notify, which goes on, is named beside it."""
    parts = re.split(r"\n(?=- |\||\n)", text)
    said = [part for part in parts if re.search(r"stops (the|that)\s+partition", part)]
    problems = [] if said else ["nothing is said about gaps"]
    return problems + [f"notify does not: {part}" for part in said if not re.search("notify.*goes on", part, re.DOTALL)]


def folder_problems(text: str) -> list[str]:
    """The table of folders is that of the repository."""
    ignored = {line.strip("/") for line in (REPO / ".gitignore").read_text().splitlines()}
    there = {p.name for p in REPO.iterdir() if p.is_dir() and not p.name.startswith(".")} - ignored
    listed = {match[1] for row in rows(section(text, "Working on it")) if (match := re.match(r"\[(\w+)\]\(", row[0]))}
    services = {p.parent.name for p in (REPO / "services").glob("*/pyproject.toml")}
    named = set(re.findall(r"\(services/(\w+)/\)", section(text, "Working on it")))
    return [f"folder {name}" for name in there ^ listed] + [f"service {name}" for name in services ^ named]


def target_problems(text: str) -> list[str]:
    """The table of targets is that of `make help`."""
    helped = set(re.findall(r"^([a-z-]+):.*## ", (REPO / "Makefile").read_text(), re.MULTILINE))
    cells = [row[0] for row in rows(section(text, "Working on it"))]
    listed = {name for cell in cells for name in re.findall(r"`make ([a-z-]+)`", cell)}
    return [f"target {name}" for name in helped ^ listed]


def command_problems(text: str) -> list[str]:
    """Every command of a shell block is one that something checks; docker compose's services and profiles exist."""
    compose = yaml.safe_load((REPO / "docker-compose.yml").read_text())["services"]
    profiles = {profile for service in compose.values() for profile in service.get("profiles", [])}
    problems = []
    for line in shell_lines(text):
        words = shlex.split(line)
        if words[:2] == ["docker", "compose"]:
            if "--profile" in words and words[words.index("--profile") + 1] not in profiles:
                problems.append(f"{line}: no such profile")
            if "logs" in words and words[-1] not in compose:
                problems.append(f"{line}: no such service")
        elif words[0] not in CHECKED_ELSEWHERE:
            problems.append(f"{line}: nothing checks this command")
    return problems


def shell_lines(text: str) -> list[str]:
    """The commands of the `sh` blocks; one that goes on inside quotes is one line."""
    lines: list[str] = []
    open_line = ""
    for block in (match[2] for match in FENCE.finditer(text) if match[0].startswith("```sh")):
        for line in block.splitlines():
            open_line = f"{open_line}\n{line}" if open_line else line
            if open_line.count("'") % 2 == 0:
                lines.append(open_line)
                open_line = ""
    return lines


def snippet_problems(text: str) -> list[str]:
    """Snippets name ingest's address and write keys that exist."""
    port = settings_classes()["ingest"].model_fields["port"].default
    sources = yaml.safe_load((REPO / "deploy" / "config" / "write_keys.yaml").read_text())["sources"]
    hashes = {key["sha256"] for source in sources.values() for key in source["keys"]}
    problems = []
    for match in FENCE.finditer(section(text, "Send events")):
        if f"127.0.0.1:{port}" not in match[2]:
            problems.append(f"not ingest's address: {match[2]}")
        keys = re.findall(r"-u (\w+):|rite_?[kK]ey(?: =|:) ['\"]([\w-]+)|Analytics\('([\w-]+)'", match[2])
        known = [sha256("".join(key).encode()).hexdigest() in hashes for key in keys]
        if not known or not all(known):
            problems.append(f"not a write key: {match[2]}")
    return problems


CHECKS = (
    journey_problems, place_problems, gap_problems, folder_problems, target_problems, command_problems,
    snippet_problems,
)  # fmt: skip
PLANTS = [
    (journey_problems, "`_collect` is", "`_gather` is"),
    (journey_problems, "`merge` joins", "`marry` joins"),
    (place_problems, "http://127.0.0.1:9104`", "http://127.0.0.1:9107`"),
    (place_problems, "`127.0.0.1:19092`", "`127.0.0.1:9092`"),
    (place_problems, "| `profiles` |", "| `people` |"),
    (place_problems, "| notify → archive |", "| notify → rules, archive |"),
    (place_problems, "| ingest, sources → identity |", "| ingest → identity |"),
    (gap_problems, "notify, whose triggers", "rules, whose triggers"),
    (gap_problems, "(notify counts it and goes on) ", ""),
    (folder_problems, "[cli](cli/)", "[client](cli/)"),
    (folder_problems, "[rules](services/rules/)", "rules"),
    (target_problems, "`make kafka` | run", "`make pulsar` | run"),
    (command_problems, "touchstream wait-idle --timeout 600", "rm -rf data"),
    (snippet_problems, "writeKey: 'local'", "writeKey: 'secret'"),
    (snippet_problems, "apiHost: '127.0.0.1:8080/v1'", "apiHost: '127.0.0.1:8081/v1'"),
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_readme_is_true(check: Callable[[str], list[str]]) -> None:
    assert check(README.read_text()) == []


@pytest.mark.parametrize(("check", "truth", "mistake"), PLANTS)
def test_a_planted_mistake_in_the_readme_is_found(check: Callable[[str], list[str]], truth: str, mistake: str) -> None:
    text = README.read_text()
    assert truth in text
    assert check(text.replace(truth, mistake, 1)) != []


def test_the_commands_of_the_page_about_deploying_exist() -> None:
    assert command_problems(DEPLOY.read_text()) == []
    assert command_problems(DEPLOY.read_text().replace("logs --tail 50 identity", "logs --tail 50 identify")) != []
    assert command_problems(DEPLOY.read_text().replace("--profile board", "--profile bored")) != []


def test_the_page_about_deploying_tells_commands_what_differs_from_the_local_stack() -> None:
    compose = (REPO / "docker-compose.yml").read_text()
    given = dict(re.findall(r"^  (TOUCHSTREAM_\w+): (?:\$\{\w+:-)?([^}\s]+)\}?$", compose, re.MULTILINE))
    local = {env_name(LocalSettings, field): info.default for field, info in LocalSettings.model_fields.items()}
    shown = {name: plain(value) for name, value in local.items()}
    others = {name: value for name, value in given.items() if not name.endswith(("_URL", "_BOOTSTRAP"))}
    differ = {f"`{name}={value}`" for name, value in others.items() if shown[name] != value}
    assert len(differ) == 3
    assert {text for text in differ if text not in DEPLOY.read_text()} == set()


def plain(value: object) -> str:
    """A default as it would be written into the environment."""
    return str(value.get_secret_value()) if isinstance(value, SecretStr) else str(value)


def test_the_runbook_of_a_gap_says_that_notify_goes_on() -> None:
    runbook = section((REPO / "deploy" / "prometheus" / "runbook.md").read_text(), "TouchstreamGap")
    assert re.search(r"`notify` .*`touchstream_notify_gaps_total` and goes on", runbook, re.DOTALL)


def test_the_picture_shows_every_service_and_topic() -> None:
    root = ElementTree.parse(REPO / "docs" / "flow.svg").getroot()
    shown = {"".join(element.itertext()).strip() for element in root.iter() if element.tag.endswith("}text")}
    topics = {t["name"] for t in tomllib.loads((REPO / "schemas" / "topics.toml").read_text())["topic"]}
    services = {p.parent.name for p in (REPO / "services").glob("*/pyproject.toml")} - {"chassis"}
    wanted = services | {"archive", "ClickHouse", "*.dead"} | {name for name in topics if not name.endswith(".dead")}
    assert wanted - shown == set()
