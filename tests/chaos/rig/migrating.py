"""The command that migrates ClickHouse, ended at its failpoints, each time in a database of its own; then run again."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.local.settings import ROOT
from services.profile.archive.migrate import load_migrations
from tests.chaos.rig.goals import KILL, STOP, Goal
from tests.chaos.rig.lane import FROZEN_S, Say
from tests.chaos.rig.processes import module_command

MODULE = "services.profile.archive.migrate"
TIMEOUT_S = 90.0
Rows = Callable[[str], list[dict[str, Any]]]


class Migrating:
    """look() as often as possible; one goal after the other, each armed, then without failpoints."""

    def __init__(
        self, environ: Mapping[str, str], logs_dir: Path, rows: Rows, goals: Sequence[Goal], say: Say
    ) -> None:  # fmt: skip
        """`environ`: archive's; `rows` asks ClickHouse."""
        self._environ, self._logs_dir, self._rows, self._say = environ, logs_dir, rows, say
        self.goals = list(goals)
        self.reached: list[Goal] = []
        self.problems: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._is_armed = False
        self._began_s = self._thaw_at_s = 0.0
        self._runs = 0
        self._log = Path()

    @property
    def is_done(self) -> bool:
        """Nothing is left to do."""
        return not self.goals

    @property
    def is_busy(self) -> bool:
        """A run is under way."""
        return self._process is not None

    def look(self, is_resting: bool) -> None:
        """Begin or end a run; never waits."""
        if self._process is None:
            if self.goals and not is_resting:
                self._runs += 1
                self._start(self.goals[0].armed)
            return
        code = self._process.poll()
        if code is None:
            self._move()
        elif self._is_armed:
            self._judge(code)
            self._start("")
        else:
            self._process = None
            if code != 0:
                self.problems.append(f"migrate ended with {code} after {self.goals[0].name}: see {self._log}")
            elif self._count() != len(load_migrations(ROOT / "deploy" / "clickhouse")):
                self.problems.append(f"migrate after {self.goals[0].name}: {self._count()} files are applied")
            self.reached.append(self.goals.pop(0))

    def _start(self, failpoints: str) -> None:
        self._is_armed, self._began_s = bool(failpoints), time.monotonic()
        self._log = self._logs_dir / f"migrate-{self._runs}.log"
        environ = {
            **self._environ, "TOUCHSTREAM_CLICKHOUSE_DATABASE": f"migrated_{self._runs}",
            "TOUCHSTREAM_FAILPOINTS": failpoints,
        }  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(module_command(MODULE), env=environ, cwd=ROOT, stdout=log, stderr=log)

    def _move(self) -> None:
        assert self._process is not None
        now_s = time.monotonic()
        if self._is_armed and self.goals[0].action == STOP and self._has_hit():
            self._thaw_at_s = self._thaw_at_s or now_s + FROZEN_S
            if now_s > self._thaw_at_s:
                self._process.send_signal(signal.SIGCONT)
        if now_s - self._began_s > TIMEOUT_S:
            self.problems.append(f"{self.goals[0].name}: migrate did not end")
            self._process.kill()

    def _judge(self, code: int) -> None:
        goal, self._thaw_at_s = self.goals[0], 0.0
        if not self._has_hit():
            self.problems.append(f"{goal.name} was never hit: see {self._log}")
        elif goal.action == KILL and code != -signal.SIGKILL:
            self.problems.append(f"{goal.name}: ended with {code}")
        else:
            self._say(f"{goal.name} ({time.monotonic() - self._began_s:.1f} s)")

    def _has_hit(self) -> bool:
        lines = [line for line in self._log.read_bytes().splitlines() if b'"failpoint.hit"' in line]
        return any(json.loads(line)["step"] == self.goals[0].step for line in lines)

    def _count(self) -> int:
        sql = f"SELECT count() AS n FROM migrated_{self._runs}.schema_migrations FINAL"
        return int(self._rows(sql)[0]["n"])

    def close(self) -> None:
        """End a run that is under way."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
