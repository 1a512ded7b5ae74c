"""One process of the deployment and what has become of it; a child of the main thread (deploy.local.child)."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.child import Child, spawn

# As an orchestrator does it: soon, but not at once.
PAUSE_S = 0.3
PAUSE_MAX_S = 3.0


@dataclass(slots=True)
class Start:
    """How one start differs from the usual one: more environment, another module, another tree of code."""

    environ: Mapping[str, str] = field(default_factory=dict)
    module: str = ""
    code: Path | None = None


@dataclass(slots=True)
class Member:
    """`keep_up`: started again when it ends by itself. `ends` are exit codes, newest last (negative: the signal)."""

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    is_ready: Callable[[], bool]
    logs_dir: Path
    run_dir: Path
    module: str = ""
    child: Child | None = None
    keep_up: bool = True
    is_frozen: bool = False
    again_at_s: float = 0.0
    pause_s: float = PAUSE_S
    ends: list[int] = field(default_factory=list)
    starts: int = 0

    def start(self, how: Start | None = None) -> None:
        """Start it; the start's own environment, module and code hold for this start only. Main thread."""
        how = how or Start()
        command: Sequence[str] = self.command
        if self.module:
            command = (sys.executable, "-m", how.module or self.module)
        environ = {**self.environ, **how.environ}
        if how.code is not None:
            # The tree it runs in comes first on its path; `env` becomes the process, so the pid stays.
            command = ("env", "-C", str(how.code), *command)
            environ["PYTHONPATH"] = str(how.code)
        self.child = spawn(self.name, command, environ, self.logs_dir, self.run_dir, self.starts)
        self.starts += 1
        self.keep_up, self.is_frozen = True, False

    @property
    def is_running(self) -> bool:
        """Whether the process is there (frozen counts)."""
        return self.child is not None and self.child.process.poll() is None

    def tick(self) -> None:
        """Notice its end; start it again when its pause is over. Main thread."""
        if self.child is not None:
            code = self.child.ended()
            if code is None:
                return
            self._ended(code)
            self.again_at_s = time.monotonic() + self.pause_s
            self.pause_s = min(PAUSE_MAX_S, self.pause_s * 2)
        elif self.keep_up and time.monotonic() >= self.again_at_s:
            self.start()

    def _ended(self, code: int) -> None:
        assert self.child is not None
        self.child.wait(0)
        self.child, self.is_frozen = None, False
        self.ends.append(code)

    def end(self, number: signal.Signals, keep_up: bool, timeout_s: float = 30.0) -> None:
        """Signal it and wait for its end; SIGKILL after timeout_s. Whether it comes back is `keep_up`."""
        self.keep_up = keep_up
        child = self.child
        if child is None:
            return
        if child.process.poll() is None:
            os.kill(child.pid, number)
            if self.is_frozen and number != signal.SIGKILL:
                os.kill(child.pid, signal.SIGCONT)
        child.wait(timeout_s)
        self._ended(child.process.returncode)
        self.again_at_s = time.monotonic() + PAUSE_S

    def freeze(self) -> None:
        """SIGSTOP: it holds its connections and does nothing."""
        if self.child is not None and self.child.process.poll() is None:
            os.kill(self.child.pid, signal.SIGSTOP)
            self.is_frozen = True

    def thaw(self) -> None:
        """SIGCONT."""
        if self.child is not None and self.child.process.poll() is None:
            os.kill(self.child.pid, signal.SIGCONT)
        self.is_frozen = False

    def calm(self) -> None:
        """Forget how often it died: the next pause is the shortest again."""
        self.pause_s = PAUSE_S
