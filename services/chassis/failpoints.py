"""Named places where a test may make the process fail. Inert unless configured.

TOUCHSTREAM_FAILPOINTS="identity.after_apply=kill@2,archive.after_insert=raise" → action[@hit], actions: kill (SIGKILL
itself), stop (SIGSTOP itself), raise (FailpointError), sleep:<ms>. Without @ the first hit counts.
"""

import os
import signal
import time
from dataclasses import dataclass

_points: dict[str, "_Point"] = {}


class FailpointError(Exception):
    """Raised by the action `raise`; never by production."""


@dataclass(slots=True)
class _Point:
    action: str
    at_hit: int
    hits: int = 0


def configure(text: str) -> None:
    """Arm the points named in text (empty: none). Raises ValueError on a form it does not know."""
    _points.clear()
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, rest = item.partition("=")
        action, _, hit = rest.partition("@")
        if action not in ("kill", "stop", "raise") and not action.startswith("sleep:"):
            raise ValueError(f"failpoint {item!r}: expected name=kill|stop|raise|sleep:<ms>[@hit]")
        _points[name] = _Point(action, int(hit or 1))


def fp(name: str) -> None:
    """Act if this point is armed and this is its hit; otherwise return at once (one dict lookup)."""
    if not _points:
        return
    point = _points.get(name)
    if point is None:
        return
    point.hits += 1
    if point.hits != point.at_hit:
        return
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif point.action == "raise":
        raise FailpointError(name)
    else:
        time.sleep(int(point.action.split(":", 1)[1]) / 1000)
