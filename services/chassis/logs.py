"""Structured logs: JSON lines on stderr, event names `noun.verb`, never a payload, e-mail, phone or key."""

import json
import logging
import sys
import time
from typing import Any

import structlog


def configure_logs(service: str, level: str = "info") -> None:
    """Set up structlog for the process; every line carries `service`. Call once, in `__main__`."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LibraryLine(service))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _LibraryLine(logging.Formatter):
    """What a library logs, as one JSON line; of an error its type only (its text may hold a person's data)."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line = {"level": record.levelname.lower(), "event": "library.log", "service": self._service}
        line["text"] = f"{record.name}: {record.getMessage()}"
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False)


def get_logger() -> Any:
    """A structlog logger (its own type is dynamic)."""
    return structlog.get_logger()


class LimitedLogger:
    """Logs the same event at most once a second; the next line that passes carries `suppressed`, how many did not."""

    def __init__(self, logger: Any, interval_s: float = 1.0) -> None:
        self._logger = logger
        self._interval_s = interval_s
        self._last: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def warning(self, event: str, **fields: object) -> None:
        """Log at warning level unless the same event was logged less than interval_s ago."""
        self._emit("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Log at error level unless the same event was logged less than interval_s ago."""
        self._emit("error", event, fields)

    def _emit(self, level: str, event: str, fields: dict[str, object]) -> None:
        now = time.monotonic()
        if now - self._last.get(event, -1e9) < self._interval_s:
            self._held[event] = self._held.get(event, 0) + 1
            return
        self._last[event] = now
        held = self._held.pop(event, 0)
        if held:
            fields["suppressed"] = held
        getattr(self._logger, level)(event, **fields)


def limited(logger: Any) -> LimitedLogger:
    """Wrap a logger so that a storm of the same failure stays readable."""
    return LimitedLogger(logger)
