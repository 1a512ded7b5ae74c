"""What the Markdown files promise: links that lead somewhere, `make` targets and `touchstream` commands that exist."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import typer.main

FENCE = re.compile(r"^ {0,3}(```+|~~~+)[^\n]*\n(.*?)^ {0,3}\1", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
# A command starts a line or follows another one; `make` inside an output or a sentence is not one.
COMMAND = re.compile(
    r"(?:^|&&|;|\|)\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:uv run |\.venv/bin/)?(make|touchstream) ([^\n&;|<>#]*)"
)
TARGET = re.compile(r"^([a-z][a-z-]*)(?: [a-z -]+)?:(?!=)", re.MULTILINE)


def markdown_files(root: Path) -> list[Path]:
    """Every Markdown file of the project; hidden folders (environments, caches, state) are not part of it."""
    return sorted(
        path for path in root.rglob("*.md") if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def link_problems(root: Path) -> list[str]:
    """Relative links whose file or heading does not exist."""
    problems = []
    for path in markdown_files(root):
        text = path.read_text()
        for target in LINK.findall(SPAN.sub("", FENCE.sub("", text))):
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            name, _, anchor = target.partition("#")
            file = (path.parent / name).resolve() if name else path
            if not file.exists():
                problems.append(f"{path.relative_to(root)}: link to {target}: no such file")
            elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
                problems.append(f"{path.relative_to(root)}: link to {target}: no such heading")
    return problems


def anchors(text: str) -> set[str]:
    """The anchors a Markdown viewer makes of the headings."""
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(FENCE.sub("", text)))
    return {heading.strip().replace(" ", "-") for heading in plain}


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """(`make` or `touchstream`, its arguments) of every command in the code of a Markdown text."""
    blocks = [match[2] for match in FENCE.finditer(text)]
    for code in [*(line for block in blocks for line in block.splitlines()), *SPAN.findall(FENCE.sub("", text))]:
        for tool, rest in COMMAND.findall(code.strip()):
            try:
                yield tool, shlex.split(rest.replace("[", " ").replace("]", " "))
            except ValueError:
                yield tool, rest.split()


def command_problems(root: Path) -> list[str]:
    """Commands that do not exist: `make` targets, `touchstream` commands and their options."""
    # The whole command line: imported here because it imports this module.
    from cli.main import app

    program = typer.main.get_command(app)
    targets = make_targets((root / "Makefile").read_text())
    problems = []
    for path in markdown_files(root):
        for tool, words in commands(path.read_text()):
            wrong = _wrong_target(words, targets) if tool == "make" else _wrong_command(words, program)
            if wrong:
                problems.append(f"{path.relative_to(root)}: {tool} {' '.join(words)}: {wrong}")
    return problems


def make_targets(makefile: str) -> set[str]:
    """The targets that a person can name."""
    return set(TARGET.findall(makefile))


def _wrong_target(words: list[str], targets: set[str]) -> str:
    named = [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)]
    return ", ".join(f"no target {word}" for word in named if word not in targets)


class Option(Protocol):
    """What typer says of a parameter; its own classes are private."""

    opts: list[str]
    secondary_opts: list[str]


class Command(Protocol):
    """What typer says of a command; a group has `commands` too."""

    @property
    def params(self) -> Sequence[Option]: ...


def _wrong_command(words: list[str], command: Command) -> str:
    """What is wrong with the arguments of `command`, following groups downwards; "" when nothing is."""
    below: Mapping[str, Command] = getattr(command, "commands", {})
    for position, word in enumerate(words):
        if word.startswith("-"):
            known = {opt for param in command.params for opt in (*param.opts, *param.secondary_opts)} | {"--help"}
            if word.split("=")[0] not in known:
                return f"no option {word}"
        elif below:
            if word in below:
                return _wrong_command(words[position + 1 :], below[word])
            # A placeholder (COMMAND, …) stands for any of them.
            return "" if not re.fullmatch(r"[a-z][a-z-]*", word) else f"no command {word}"
    return ""
