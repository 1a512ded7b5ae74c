"""Service processes born by fork from one that has imported everything: a life costs 50 ms of processor instead of 1 s.

Everything behind the imports is as in `python -m MODULE`: own process group, own log, environment read anew, exit code
and signals seen by the rig, which adopts the process (PR_SET_CHILD_SUBREAPER) once its parent, who only forks, is gone.
"""

import ctypes
import gc
import importlib
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from deploy.local.settings import ROOT

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)
POLL_S = 0.005


class Forked:
    """The part of subprocess.Popen that is used, of a process that was adopted."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code once it has ended (negative: the signal)."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        """Signal it, if it is there."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The parent of all processes of one module. Main thread only."""

    def __init__(self, module: str, environ: Mapping[str, str]) -> None:
        """Begins to import; wait() before the first birth."""
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.rig.nursery", module], env=dict(environ), cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0,
        )  # fmt: skip

    def wait(self) -> None:
        """Return when everything is imported."""
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def birth(self, environ: Mapping[str, str], log: Path) -> Forked:
        """A new process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"environ": dict(environ), "log": str(log), "parent": os.getpid()}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return Forked(int(self._process.stdout.readline()))

    def close(self) -> None:
        """Nobody is born any more."""
        self._process.kill()
        self._process.wait()


def _born(module: str, environ: Mapping[str, str], log: str, parent: int) -> None:
    """The rest of a life. Never returns by itself: SystemExit leads out of it as out of any program."""
    os.setpgid(0, 0)
    while os.getppid() != parent:  # adopted as soon as the one between has gone
        time.sleep(0.0005)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    output, nothing = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), os.open(os.devnull, os.O_RDONLY)
    for old, new in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(old, new)
    os.environ.clear()
    os.environ.update(environ)
    random.seed()
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit(0)


def main() -> None:
    """Fork at every line of stdin, and say who was born."""
    module = sys.argv[1]
    importlib.import_module(f"{module}.__main__")
    gc.freeze()
    os.write(1, b"\n")
    while line := _line():
        order = json.loads(line)
        read, write = os.pipe()
        between = os.fork()
        if between == 0:
            child = os.fork()
            if child:
                os.write(write, b"%d" % child)
                os._exit(0)
            os.close(read)
            os.close(write)
            _born(module, order["environ"], order["log"], order["parent"])
        os.waitpid(between, 0)
        os.write(1, os.read(read, 32) + b"\n")
        os.close(read)
        os.close(write)


def _line() -> bytes:
    """One line of stdin, unbuffered: a fork must not inherit what others are told."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 65_536)
        if not byte:
            return b""
        line += byte
    return line


if __name__ == "__main__":
    main()
