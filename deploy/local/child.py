"""One child process of the supervisor: own process group, own log file, dies with the supervisor.

PR_SET_PDEATHSIG makes the kernel kill a child when the thread that started it ends, however it ends; spawn() must
therefore be called from the main thread. SIGKILL rather than SIGTERM: with the supervisor gone nobody would wait for a
drain, and every process here survives being killed (that is what the ledger is for).
"""

import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deploy.local import pidfile
from deploy.local.settings import ROOT

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
# A log that grew beyond this is set aside (one generation) when its process starts again.
LOG_LIMIT_BYTES = 20 << 20


class Child:
    """A running (or just ended) process of the stack."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path, run_dir: Path) -> None:
        self.name, self.process, self.log = name, process, log
        self._run_dir = run_dir

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    def ended(self) -> int | None:
        """The exit code once it has ended (negative: the signal), else None."""
        code = self.process.poll()
        if code is not None:
            pidfile.kill_group(self.pid)
        return code

    def terminate(self) -> None:
        """Ask it to finish (SIGTERM)."""
        if self.process.poll() is None:
            self.process.terminate()

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end, kill it after timeout_s, forget its pid file; False when it had to be killed."""
        try:
            self.process.wait(timeout_s)
            in_time = True
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            in_time = False
        pidfile.kill_group(self.pid)
        pidfile.forget(self._run_dir, self.name)
        return in_time

    def last_words(self, lines: int = 12) -> str:
        """The end of its log, for error messages."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 8192))
                return "\n".join(log.read().decode(errors="replace").strip().splitlines()[-lines:])
        except OSError:
            return ""


def spawn(
    name: str, command: Sequence[str], environ: Mapping[str, str], logs_dir: Path, run_dir: Path, restarts: int = 0
) -> Child:
    """Start a process in the repository's folder and write its pid file. Main thread only. Raises OSError."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(f"{name}: a child started by another thread would die with that thread")
    logs_dir.mkdir(parents=True, exist_ok=True)
    log = logs_dir / f"{name}.log"
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env=dict(environ), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            process_group=0, preexec_fn=_die_with(os.getpid()),
        )  # fmt: skip
    started = pidfile.observe(name, process.pid, restarts)
    if started is not None:
        pidfile.write(run_dir, started)
    return Child(name, process, log, run_dir)


def _die_with(parent: int) -> Callable[[], None]:
    def in_child() -> None:
        # Between fork and exec: only calls that need no lock another thread may have held.
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before prctl took effect
            os._exit(1)

    return in_child
