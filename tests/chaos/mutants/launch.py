"""Runs a service's own `__main__` in a process in which one thing has been taken out or put wrong."""

import runpy
from collections.abc import Callable
from importlib import import_module
from typing import Any


def replace(module: str, name: str, by: Callable[[Any], Any]) -> None:
    """Put by(what was there) in the place of a module's name, or of Class.name in it."""
    owner: Any = import_module(module)
    *outer, last = name.split(".")
    for part in outer:
        owner = getattr(owner, part)
    setattr(owner, last, by(getattr(owner, last)))


def launch(module: str) -> None:
    """As `python -m module`, with whatever has been replaced."""
    runpy.run_module(module, run_name="__main__", alter_sys=True)
