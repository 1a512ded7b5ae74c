"""Which processes this stack has started, on disk: one <name>.json each, so that a later run can find and end them.

A pid alone proves nothing, because the system gives it to somebody else one day. A process is ours only when its start
time, its command line and the machine's boot are those that were written down; nothing else is ever signalled.
Reads /proc, so Linux only, like the binaries of the local stack.
"""

import json
import os
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Started:
    """A process as it was when it started; `start_ticks` counts from the boot named by `boot_id`."""

    name: str
    pid: int
    start_ticks: int
    boot_id: str
    command: list[str]
    restarts: int = 0


def observe(name: str, pid: int, restarts: int = 0) -> Started | None:
    """What identifies a running process, or None when there is none with that pid."""
    ticks, command = start_ticks(pid), _command(pid)
    return None if ticks is None or not command else Started(name, pid, ticks, boot_id(), command, restarts)


def write(folder: Path, started: Started) -> None:
    """Remember a process; replaces the file in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".{started.name}.tmp"
    fresh.write_text(json.dumps(asdict(started)), encoding="utf-8")
    fresh.replace(folder / f"{started.name}.json")


def forget(folder: Path, name: str) -> None:
    """Remove what write() left; nothing happens when it is gone."""
    (folder / f"{name}.json").unlink(missing_ok=True)


def remembered(folder: Path) -> list[Started]:
    """All processes written down, by name; files that cannot be read are skipped."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Started(**json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            continue
    return found


def is_running(started: Started) -> bool:
    """True when that very process (not merely one with its pid) still runs."""
    same = started.boot_id == boot_id() and start_ticks(started.pid) == started.start_ticks
    return same and _command(started.pid) == started.command


def end(started: Started, timeout_s: float, with_group: bool = True) -> bool:
    """End that very process: SIGTERM, after timeout_s SIGKILL, also for the rest of its group if it leads one.

    Returns False when it was not running. Waits at most timeout_s plus 5 s.
    """
    if not is_running(started):
        return False
    leads_group = with_group and _group(started.pid) == started.pid
    for number, patience_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
        if not is_running(started):
            break
        with suppress(ProcessLookupError):
            os.kill(started.pid, number)
        wait_gone(started, patience_s)
    if leads_group:
        kill_group(started.pid)
    return True


def wait_gone(started: Started, timeout_s: float) -> bool:
    """Wait until that process has ended; False when it has not within timeout_s."""
    deadline = time.monotonic() + timeout_s
    while is_running(started):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def kill_group(group: int) -> None:
    """SIGKILL what is left of a process group of ours whose leader has ended."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def start_ticks(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process; None when it does not run (a zombie does not)."""
    try:
        # The second field, the name in parentheses, may hold spaces and parentheses itself.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def boot_id() -> str:
    """Changes with every boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []
