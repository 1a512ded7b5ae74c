"""The supervisor: starts the processes of a table, keeps them running, ends them all, and leaves nothing behind.

It knows processes, not events: what happens between backends and services (`prepare`) and when the pipeline is empty
(`pending`) are given to it. One supervisor per state folder, held by a lock that the kernel frees when it dies.
Single-threaded; every method belongs to the main thread (see child.py).
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from deploy.local.child import Child, spawn
from deploy.local.exclusive import Say, StackError, StateLock, check_ports, end_leftovers
from deploy.local.processes import Spec
from deploy.local.settings import LocalSettings

POLL_S = 0.1
# A look at what is left costs the machine about 0.1 s that the draining needs itself.
DRAIN_POLL_S = 0.4
# Pauses between restarts double up to this. A process that ran longer than STABLE_S starts again with the shortest.
BACKOFF_MAX_S = 15.0
STABLE_S = 30.0


@dataclass(slots=True)
class Member:
    """A process of the table and what has become of it. `state`: waiting, starting, running, restarting or stopped."""

    spec: Spec
    child: Child | None = None
    state: str = "waiting"
    restarts: int = 0
    started_s: float = 0.0
    again_at_s: float = 0.0
    backoff_s: float = 0.0
    last_exit: int | None = None


class Supervisor:
    """Runs `specs`. Use: start(), tick() again and again, stop(); close() at the very end, whatever happened."""

    def __init__(
        self, settings: LocalSettings, specs: Iterable[Spec], environ: Mapping[str, str], say: Say,
        prepare: Callable[[], None] = lambda: None, pending: Callable[[], list[str]] = list,
    ) -> None:  # fmt: skip
        self.settings, self.say = settings, say
        self.members = [Member(spec, backoff_s=settings.restart_backoff_s) for spec in specs]
        self._environ, self._prepare, self._pending = environ, prepare, pending
        self._lock: StateLock | None = None
        self.is_interrupted: Callable[[], bool] = lambda: False
        self.on_tick: Callable[[], None] = lambda: None  # called after every tick, for a display

    @property
    def owns_state(self) -> bool:
        """Whether this supervisor holds the state folder (another one's files must not be touched)."""
        return self._lock is not None

    def start(self) -> None:
        """Lock, end leftovers, start backends, prepare, start services, wait until all are ready. Raises StackError."""
        self._lock = StateLock(self.settings)
        end_leftovers(self.settings, self.say)
        check_ports(port for member in self.members for port in member.spec.ports)
        self._lock.announce()
        backends = [member for member in self.members if member.spec.is_backend]
        for members, then in ((backends, self._prepare), ([m for m in self.members if m not in backends], None)):
            for member in members:
                self._spawn(member)
            for member in members:
                self._await_ready(member)
            if then is not None:
                then()

    def _spawn(self, member: Member) -> None:
        spec = member.spec
        environ = {**self._environ, **spec.environ}
        spec.before()
        member.child = spawn(
            spec.name, spec.command, environ, self.settings.logs_dir, self.settings.run_dir, member.restarts
        )
        member.state, member.started_s = "starting", time.monotonic()

    def _await_ready(self, member: Member) -> None:
        deadline = time.monotonic() + self.settings.ready_timeout_s
        name, child = member.spec.name, member.child
        while child is not None and not member.spec.is_ready():
            if self.is_interrupted():
                raise StackError("interrupted while starting")
            code = child.ended()
            if code is not None or time.monotonic() > deadline:
                slow = f"was not ready after {self.settings.ready_timeout_s:.0f} s"
                what = slow if code is None else f"ended with {code} while starting"
                raise StackError(f"{name} {what}; {child.log} ends:\n{child.last_words()}")
            time.sleep(POLL_S)
        member.state = "running"
        self.say(f"{member.spec.name} is ready")

    def tick(self) -> None:
        """Look after every process once; returns at once. Raises StackError when a lasting one has ended."""
        now = time.monotonic()
        for member in self.members:
            if member.child is not None:
                self._look(member, member.child, now)
            elif member.state == "restarting" and now >= member.again_at_s:
                member.restarts += 1
                self._spawn(member)
        self.on_tick()

    def _look(self, member: Member, child: Child, now: float) -> None:
        code = child.ended()
        if code is None:
            if member.state == "starting" and member.spec.is_ready():
                member.state = "running"
            return
        child.wait(0)
        member.child, member.last_exit, member.state = None, code, "stopped"
        if member.spec.is_lasting:
            raise StackError(
                f"{member.spec.name} ended with {code}. Its topics were in memory: the events in them that were not yet"
                f" processed are gone, how many is unknown. Everything is being stopped; its log: {child.log}"
            )
        if now - member.started_s > STABLE_S:
            member.backoff_s = self.settings.restart_backoff_s
        self.say(f"{member.spec.name} ended with {code}; starting it again in {member.backoff_s:.1f} s ({child.log})")
        member.state, member.again_at_s = "restarting", now + member.backoff_s
        member.backoff_s = min(BACKOFF_MAX_S, member.backoff_s * 2)

    def stop(self, drain: bool = True) -> bool:
        """End everything in reverse order; True when every event had been worked off before (`drain`) and all ended.

        The first service (ingest) ends before anything else, so that nothing new comes in; then up to drain_timeout_s
        are given to what is on its way. Processes that die meanwhile are started again, or draining could not end.
        """
        services = [member for member in self.members if not member.spec.is_backend]
        clean = drain
        if drain and services:
            clean &= self._end(services[0])
            clean &= self._drain()
        for member in reversed(self.members):
            clean &= self._end(member)
        return clean

    def _drain(self) -> bool:
        deadline = time.monotonic() + self.settings.drain_timeout_s
        said = ""
        while (left := self._safely_pending()) and time.monotonic() < deadline:
            if left[0] != said:
                said = left[0]
                self.say(f"draining: {said}" + (f" and {len(left) - 1} more" if len(left) > 1 else ""))
            try:
                self.tick()
            except StackError as error:
                self.say(str(error))
                return False
            time.sleep(DRAIN_POLL_S)
        if left:
            self.say(f"not drained after {self.settings.drain_timeout_s:.0f} s: " + "; ".join(left[:5]))
        return not left

    def _safely_pending(self) -> list[str]:
        try:
            return self._pending()
        except Exception as error:  # noqa: BLE001 - whatever a look at dying backends raises, stopping goes on
            return [f"cannot tell: {error}"]

    def _end(self, member: Member) -> bool:
        child, member.child, member.state = member.child, None, "stopped"
        if child is None:
            return True
        child.terminate()
        in_time = child.wait(self.settings.stop_timeout_s)
        if not in_time:
            self.say(f"{member.spec.name} did not stop within {self.settings.stop_timeout_s:.0f} s and was killed")
        return in_time

    def close(self) -> None:
        """Kill whatever is left and free the lock. Idempotent."""
        for member in reversed(self.members):
            if member.child is not None:
                member.child.process.kill()
                self._end(member)
        if self._lock is not None:
            self._lock.release()
            self._lock = None
