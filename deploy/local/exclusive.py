"""One stack per state folder: the lock, what an earlier stack left behind, and ports that somebody else holds."""

import fcntl
import os
import socket
from collections.abc import Callable, Iterable
from typing import IO

from deploy.local import pidfile
from deploy.local.processes import Port
from deploy.local.settings import LocalSettings
from services.chassis.errors import Fatal

SELF = "supervisor"
Say = Callable[[str], None]


class StackError(Fatal):
    """The stack cannot start or go on; the text says what happened and what to do."""


class StateLock:
    """Held for the life of a supervisor; the kernel frees it when its process ends, however it ends."""

    def __init__(self, settings: LocalSettings) -> None:
        """Take it and write the pid file of this process. Raises StackError when another supervisor has it."""
        self._run_dir = settings.run_dir
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        lock = (settings.state_dir / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise StackError(
                f"a local stack already runs on {settings.state_dir} ({_holder(settings)}): see it with"
                " `touchstream status`, stop it with `touchstream down`, or run a second one with"
                " TOUCHSTREAM_LOCAL_STATE_DIR and other ports"
            ) from None
        self._lock: IO[bytes] = lock

    def announce(self) -> None:
        """Write this process's own pid file, by which `down` finds it."""
        me = pidfile.observe(SELF, os.getpid())
        if me is not None:
            pidfile.write(self._run_dir, me)

    def release(self) -> None:
        """Free it."""
        pidfile.forget(self._run_dir, SELF)
        self._lock.close()


def end_leftovers(settings: LocalSettings, say: Say) -> int:
    """End processes of an earlier run that are provably ours; returns how many. Only while holding the lock."""
    ended = 0
    for known in reversed(pidfile.remembered(settings.run_dir)):
        if known.pid != os.getpid() and pidfile.end(known, timeout_s=2.0):
            say(f"ended {known.name} (pid {known.pid}), left by a run that was killed")
            ended += 1
        pidfile.forget(settings.run_dir, known.name)
    return ended


def check_ports(ports: Iterable[Port]) -> None:
    """Raises StackError naming every port that is taken and the variable that moves it."""
    taken = [port for port in ports if _is_taken(port)]
    if taken:
        lines = [f"port {p.number} on {p.host} is in use: free it, or set {p.variable} to another" for p in taken]
        raise StackError("\n".join(lines))


def _is_taken(port: Port) -> bool:
    with socket.socket() as probe:
        # As servers do: without it the closed connections of a run just ended would count as in use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.host, port.number))
        except OSError:
            return True
    return False


def _holder(settings: LocalSettings) -> str:
    pids = [known.pid for known in pidfile.remembered(settings.run_dir) if known.name == SELF]
    return f"pid {pids[0]}" if pids else "it is just starting"
