"""Templates from a folder."""

from pathlib import Path

from services.chassis.errors import Fatal
from services.notify.core.render import TemplateMistake
from services.notify.core.templates import Templates

SUFFIXES = {".txt", ".html", ".md", ".json"}


def load_templates(folder: str, language: str) -> Templates:
    """Compile every `<template>/<form>…` file of the folder. Raises Fatal listing every mistake with file and line."""
    root = Path(folder)
    if not root.is_dir():
        raise Fatal(f"templates folder {folder} does not exist")
    found = sorted(path for path in root.glob("*/*") if path.suffix in SUFFIXES)
    try:
        return Templates({f"{p.parent.name}/{p.name}": p.read_text(encoding="utf-8") for p in found}, language)
    except (TemplateMistake, UnicodeDecodeError) as error:
        lines = "\n  ".join(str(error).splitlines())
        raise Fatal(f"templates in {folder} are wrong:\n  {lines}") from error
