"""What profile reads from outside its ledger: the configuration file and the current RFM thresholds."""

import threading
from pathlib import Path
from typing import Protocol

import msgspec
import yaml

from services.chassis.errors import Fatal, Retriable
from services.chassis.health import Health
from services.chassis.logs import get_logger, limited
from services.profile import metrics
from services.profile.core.config import ProfileConfig
from services.profile.core.configuration import ConfigError, parse_config
from services.profile.core.state import Thresholds
from services.profile.core.tagging.definitions import DefinitionsError
from services.profile.yaml_lines import Lines

# The first customers are scored with the thresholds of Redis, which answers within ms. Higher: a ClickHouse that hangs
# holds up the start. Lower: a slow one costs these customers a second look, when the thresholds come.
FIRST_LOAD_S = 5.0


def load_config(path: str, tags_path: str, time_zone: str) -> ProfileConfig:
    """The checked configuration of two YAML files. Raises Fatal naming file, line, key and what was expected."""
    read, lines = [], []
    for name in (path, tags_path):
        try:
            text = Path(name).read_text(encoding="utf-8")
            read.append(yaml.safe_load(text))
            lines.append(Lines(text))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise Fatal(f"profile configuration {name}: {error}") from error
        _refuse(name, list(lines[-1].repeated()), lines[-1])
    try:
        return parse_config(read[0], read[1], time_zone)
    except ConfigError as error:
        raise Fatal(f"profile configuration {path}: {error}") from error
    except DefinitionsError as error:
        _refuse(tags_path, error.problems, lines[1])
        raise


def _refuse(path: str, problems: list[str], lines: Lines) -> None:
    if problems:
        told = sorted((lines.of(problem), problem) for problem in problems)
        said = "".join(f"\n  {path}:{line}: {problem}" for line, problem in told)
        raise Fatal(f"profile configuration {path} is wrong:{said}")


class Refresh(Protocol):
    """What computes or loads the newest thresholds: services.profile.thresholds.Refresher.

    It may raise Retriable, Fatal and msgspec.MsgspecError; `problem`: why it came back with none newer than before.
    """

    problem: Exception | None

    def __call__(self) -> Thresholds | None: ...


class ThresholdSource:
    """The thresholds in use, refreshed by a thread of its own: the hot path never waits for ClickHouse.

    Whatever is wrong there, also for good (a table or a right is missing), the last thresholds stay in use, none at
    first: scores are 0 then, as before anybody has bought. The process stays ready, and the next attempt comes.
    """

    def __init__(self, refresh: Refresh, interval_s: float, health: Health) -> None:
        self._refresh, self._interval_s, self._health = refresh, interval_s, health
        self._current: Thresholds | None = None
        self._stop, self._has_tried = threading.Event(), threading.Event()
        self._limited = limited(get_logger())
        self._thread = threading.Thread(target=self._run, name="thresholds", daemon=True)

    def start(self) -> None:
        """Load in the background, now and then; returns after the first attempt or FIRST_LOAD_S."""
        self._thread.start()
        self._has_tried.wait(FIRST_LOAD_S)

    def current(self) -> Thresholds | None:
        """The newest thresholds known; stable within one decision when called once."""
        return self._current

    def close(self) -> None:
        """Stop refreshing; waits at most two seconds for a refresh under way."""
        self._stop.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        self._once()
        self._has_tried.set()
        while not self._stop.wait(self._interval_s):
            self._once()

    def _once(self) -> None:
        try:
            self._use(self._refresh())
            problem = self._refresh.problem
        except (Retriable, Fatal, msgspec.MsgspecError) as error:
            problem = error
        version = 0 if self._current is None else self._current.version
        if problem is None:
            # Nothing is said of a good start: it would call a process ready that has no partitions yet.
            if "thresholds" in self._health.report():
                self._health.set("thresholds", True, f"version {version}" if version else "nobody has bought yet")
            return
        metrics.THRESHOLDS_FAILED.inc()
        self._limited.warning("thresholds.kept", version=version, text=str(problem))
        # Still ready: yesterday's thresholds are better than none. The counter is there to be alerted on.
        kept = f"version {version} stays in use" if version else "there are none: scores are 0"
        self._health.set("thresholds", True, f"{kept}: {problem}")

    def _use(self, found: Thresholds | None) -> None:
        if found is not None and (self._current is None or found.version > self._current.version):
            self._current = found
            metrics.THRESHOLDS.set(found.version)
            get_logger().info("thresholds.loaded", version=found.version, buyers=found.buyers)
