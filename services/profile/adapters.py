"""What profile reads from outside its ledger: the configuration file and the current RFM thresholds."""

import threading
from collections.abc import Callable
from pathlib import Path

import yaml

from services.chassis.errors import Fatal, Retriable
from services.chassis.logs import get_logger, limited
from services.profile import metrics
from services.profile.core.config import ConfigError, ProfileConfig, parse_config
from services.profile.core.state import Thresholds


def load_config(path: str, time_zone: str) -> ProfileConfig:
    """The checked configuration of a YAML file. Raises Fatal naming the key and what was expected."""
    try:
        return parse_config(yaml.safe_load(Path(path).read_text(encoding="utf-8")), time_zone)
    except (OSError, yaml.YAMLError, ConfigError) as error:
        raise Fatal(f"profile configuration {path}: {error}") from error


class ThresholdSource:
    """The thresholds in use, refreshed by a thread of its own: the hot path never waits for ClickHouse."""

    def __init__(self, refresh: Callable[[], Thresholds | None], interval_s: float) -> None:
        """`refresh` computes or loads the newest thresholds; None when there are none yet. It may raise Retriable."""
        self._refresh, self._interval_s = refresh, interval_s
        self._current: Thresholds | None = None
        self._stop = threading.Event()
        self._limited = limited(get_logger())
        self._thread = threading.Thread(target=self._run, name="thresholds", daemon=True)

    def start(self) -> None:
        """Load once, then go on in the background."""
        self._once()
        self._thread.start()

    def current(self) -> Thresholds | None:
        """The newest thresholds known; stable within one decision when called once."""
        return self._current

    def close(self) -> None:
        """Stop refreshing; waits at most two seconds for a refresh under way."""
        self._stop.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._once()

    def _once(self) -> None:
        try:
            found = self._refresh()
        except Retriable as error:
            self._limited.warning("thresholds.unavailable", text=str(error))
            return
        if found is not None and (self._current is None or found.version > self._current.version):
            self._current = found
            metrics.THRESHOLDS.set(found.version)
            get_logger().info("thresholds.loaded", version=found.version, buyers=found.buyers)
