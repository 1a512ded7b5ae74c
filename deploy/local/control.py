"""A local stack seen from another process: what runs, starting it in the background, stopping it."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import pidfile
from deploy.local.exclusive import SELF, Say, StackError, StateLock, end_leftovers
from deploy.local.processes import Spec
from deploy.local.settings import ROOT, LocalSettings, child_environment

POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Seen:
    """One process of the table as it is now. `pid` 0: does not run."""

    name: str
    pid: int
    is_ready: bool
    restarts: int
    log: str


def holder(settings: LocalSettings) -> pidfile.Started | None:
    """The running supervisor of this state folder, if there is one."""
    found = [known for known in pidfile.remembered(settings.run_dir) if known.name == SELF]
    return found[0] if found and pidfile.is_running(found[0]) else None


def see(settings: LocalSettings, specs: list[Spec]) -> list[Seen]:
    """Every process of the table; asks each running one whether it is ready (at most about a second each)."""
    known = {started.name: started for started in pidfile.remembered(settings.run_dir)}
    rows = []
    for spec in specs:
        started = known.get(spec.name)
        is_up = started is not None and pidfile.is_running(started)
        rows.append(
            Seen(
                spec.name,
                started.pid if started and is_up else 0,
                is_up and spec.is_ready(),
                started.restarts if started else 0,
                str(settings.logs_dir / f"{spec.name}.log"),
            )
        )
    return rows


def start_detached(settings: LocalSettings, environ: Mapping[str, str] | None = None) -> int:
    """Start the stack in the background and wait until all of it is ready; the supervisor's pid. Raises StackError."""
    running = holder(settings)
    if running is not None:
        raise StackError(f"a local stack already runs on {settings.state_dir} (pid {running.pid})")
    settings.logs_dir.mkdir(parents=True, exist_ok=True)
    log = settings.logs_dir / f"{SELF}.log"
    offset = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local.stack"], env=child_environment(settings, environ), cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    ready = settings.state_dir / "ready"
    try:
        while not (ready.exists() and ready.read_text(encoding="ascii") == str(process.pid)):
            if process.poll() is not None:
                raise StackError(f"the local stack did not start; {log}:\n{_texts(log, offset)}")
            time.sleep(POLL_S)
    except KeyboardInterrupt:  # it has a session of its own and did not hear of it
        process.terminate()
        process.wait()
        raise
    return process.pid


def take_down(settings: LocalSettings, say: Say) -> bool:
    """Stop the running stack as Ctrl-C would, and wait; without one, end what a killed one left. True: anything ran."""
    running = holder(settings)
    if running is None:
        lock = StateLock(settings)
        try:
            return end_leftovers(settings, say) > 0
        finally:
            lock.release()
    # Drain, then a grace period per process, one after the other; after that it is not going to end by itself.
    patience_s = settings.drain_timeout_s + settings.stop_timeout_s * 10
    say(f"stopping the local stack (pid {running.pid}): draining takes up to {settings.drain_timeout_s:.0f} s")
    # Not its group: it shares that with whatever else stands in the user's pipeline.
    pidfile.end(running, patience_s, with_group=False)
    return take_down(settings, say) or True


def _texts(log: Path, offset: int) -> str:
    """The texts of a log's JSON lines from `offset` on; a line that is no JSON as it stands."""
    with log.open("rb") as lines:
        lines.seek(offset)
        said = lines.read().decode(errors="replace").splitlines()
    texts = []
    for line in said:
        try:
            texts.append(str(json.loads(line)["text"]))
        except (ValueError, KeyError, TypeError):
            texts.append(line)
    return "\n".join(texts)
