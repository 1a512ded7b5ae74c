"""One service process led through its failpoints, life after life, until every goal is reached or given up.

A life is armed with all goals of one kind that are left. A kill ends it at the first one it meets, and the next life is
armed with the rest; other actions go on to the next goal in the same life. A partition that does not get on is given
lives without failpoints, as an orchestrator would: a record that ends its process again and again is a dead letter.
"""

import json
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.chaos.rig.goals import KILL, STOP, Goal, Kind
from tests.chaos.rig.provoke import Provoke

# A frozen process is a zombie once its session is over (course.py: 2 s, notify's 6 s).
FROZEN_S, NOTIFY_FROZEN_S = 3.5, 8.0
# A life that comes by none of its points: nothing has come from upstream, where others die as well.
LIFE_S = 60.0
MISSES = 5
SETUPS = 6
DRAIN_S = 20.0
ASK_S = 0.2
Say = Callable[[str], None]
# Drained; ended by an error that it has logged; told to end before it could know how.
WELL = (0, 1, -signal.SIGTERM)


@dataclass
class Life:
    """One start of the process. `hit` are steps that have said so."""

    kind: Kind | None = None
    armed: dict[str, Goal] = field(default_factory=dict)
    setup: str = ""
    began_s: float = 0.0
    last_s: float = 0.0
    hit: list[str] = field(default_factory=list)
    thaw_at_s: float = 0.0
    termed_s: float = 0.0
    was_ready: bool = False
    next_ask_s: float = 0.0
    last_words: str = ""

    @property
    def is_over(self) -> bool:
        """Nothing is left to be hit."""
        return not any(step not in self.hit for step in self.armed) and not (self.setup and not self.hit)


class Lane:
    """look() as often as possible; ask() when the process is about to start again."""

    def __init__(self, name: str, service: str, goals: Iterable[Goal], provoke: Provoke, say: Say) -> None:
        self.name, self.service, self._provoke, self._say = name, service, provoke, say
        self.goals = list(goals)
        self.reached: list[Goal] = []
        self.given_up: list[Goal] = []
        self.problems: list[str] = []
        self.lives = self.deaths = 0
        self.is_resting = True
        self._life = Life()
        self._log_at = self._setups = 0

    @property
    def is_done(self) -> bool:
        """Nothing is left to do."""
        return not self.goals

    @property
    def is_clean(self) -> bool:
        """Whether the process that runs is an ordinary one."""
        return self._life.kind is None

    def ask(self, code: int) -> dict[str, str]:
        """The environment of the next life. `code`: how the last one ended."""
        self._read()
        self._ended(code)
        self._life = self._next()
        self._life.began_s = self._life.last_s = time.monotonic()
        self.lives += 1
        texts = [goal.armed for goal in self._life.armed.values()]
        if self._life.kind is not None:
            texts = [self._provoke.first(self._life.kind, self.service, self._life.setup), *texts]
        environ = self._provoke.environ(self.service, self._life.kind)
        return environ | {"TOUCHSTREAM_FAILPOINTS": ",".join(filter(None, texts))}

    def _next(self) -> Life:
        if self.is_resting or not self.goals or self._provoke.is_stuck(self.service):
            return Life()
        kind = next(kind for kind in Kind if any(goal.kind is kind for goal in self.goals))
        setup = self._provoke.setup(kind, self.service)
        if setup:
            self._setups += 1
            if self._setups < SETUPS:
                return Life(kind, {}, setup)
        self._setups = 0
        armed: dict[str, Goal] = {}
        for goal in self.goals:
            # One action a life: after a kill nothing else would come, and a frozen process should be nothing else.
            if goal.kind is kind and goal.step not in armed and goal.action == self._action(kind):
                armed[goal.step] = goal
        self._provoke.before(kind, self.service)
        return Life(kind, armed)

    def _action(self, kind: Kind) -> str:
        return next(goal.action for goal in self.goals if goal.kind is kind)

    def _ended(self, code: int) -> None:
        life = self._life
        killed = [step for step in life.hit if life.armed.get(step) and life.armed[step].action == KILL]
        is_killed = code == -signal.SIGKILL
        if is_killed:
            self.deaths += 1
        if is_killed and not (killed or (life.setup and life.hit)) and not life.termed_s:
            self.problems.append(f"{self.name} was killed and has not said by which failpoint")
        if code not in WELL and not is_killed:
            self.problems.append(f"{self.name} ended with {code}")
        if code == 1 and not life.hit and not life.last_words:
            self.problems.append(f"{self.name} ended with 1, and says neither why nor by which failpoint")
        if not is_killed and killed:
            self.problems.append(f"{self.name} ended with {code} after {killed} should have killed it")

    def look(self, is_ready: Callable[[], bool], send: Callable[[signal.Signals], None]) -> None:
        """Read what it says, provoke what it needs, and end the life when nothing is left for it."""
        self._read()
        life, now_s = self._life, time.monotonic()
        if life.thaw_at_s:
            if now_s < life.thaw_at_s:
                return
            life.thaw_at_s = 0.0
            send(signal.SIGCONT)
        if not life.was_ready and now_s > life.next_ask_s:  # the answer may take as long as the process
            life.was_ready, life.next_ask_s = is_ready(), time.monotonic() + ASK_S
        if life.termed_s:
            if now_s - life.termed_s > DRAIN_S:
                life.termed_s = now_s
                send(signal.SIGKILL)
            return
        if self._should_end(life, now_s):
            life.termed_s = now_s
            send(signal.SIGTERM)
        elif life.kind is not None and not self.is_resting:
            self._provoke.meanwhile(life.kind, self.service, set(life.armed) - set(life.hit), life.was_ready)

    def _should_end(self, life: Life, now_s: float) -> bool:
        if not life.armed and not life.setup:
            wants = not self.is_resting and bool(self.goals)
            return wants and life.was_ready and now_s - life.began_s > 1.0 and not self._provoke.is_stuck(self.service)
        if self.is_resting or life.is_over:
            return True
        if life.kind is Kind.STOP and life.was_ready and now_s - life.began_s > 1.0:
            return True
        if now_s - life.last_s > LIFE_S:
            self._missed(life)
            return True
        return False

    def _missed(self, life: Life) -> None:
        for step, goal in life.armed.items():
            if step in life.hit or goal not in self.goals:
                continue
            goal.misses += 1
            if goal.misses >= MISSES:
                self.goals.remove(goal)
                self.given_up.append(goal)
                self._say(f"{goal.name} was never hit")

    def _read(self) -> None:
        """New lines of its log."""
        try:
            with self._provoke.log(self.name).open("rb") as log:
                if log.seek(0, 2) < self._log_at:  # set aside, begun anew
                    self._log_at = 0
                log.seek(self._log_at)
                text = log.read()
        except FileNotFoundError:
            return
        whole = text.rpartition(b"\n")[0]
        self._log_at += len(whole) + bool(whole)
        for line in whole.splitlines():
            if b'"failpoint.' in line:
                self._heard(json.loads(line))
            elif b'"process.stopped"' in line:  # a backend was away; whoever starts us tries again
                self._life.last_words = str(json.loads(line)["text"])
                self._say(f"{self.name} stopped: {self._life.last_words[:150]}")

    def _heard(self, line: dict[str, object]) -> None:
        step, life = str(line["step"]), self._life
        if line["event"] == "failpoint.unlisted":
            self.problems.append(f"{self.service}.{step} is hit and not in the catalogue")
        if line["event"] != "failpoint.hit":
            return
        life.last_s = time.monotonic()
        if step not in life.armed:
            life.hit += [step] if step in life.setup else []
            return
        goal = life.armed[step]
        life.hit.append(step)
        goal.lives -= 1
        goal.misses = 0
        if goal.action == STOP:
            life.thaw_at_s = life.last_s + (NOTIFY_FROZEN_S if self.service == "notify" else FROZEN_S)
        if goal.lives == 0:
            self.goals.remove(goal)
            self.reached.append(goal)
            self._say(f"{goal.name} ({life.last_s - life.began_s:.1f} s)")
