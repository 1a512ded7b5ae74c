"""What senders know: every attempt, and what became of it. Nothing else reaches the oracle. Thread-safe.

One JSON line an attempt in the file, written before the attempt is answered for, so that it outlives the rig too.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

ACKED, REFUSED, UNKNOWN = "acked", "refused", "unknown"


class Journal:
    """`attempts`: how often each event was sent; `acked` and `refused`: how often that was the answer to it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()
        self.attempts: Counter[str] = Counter()
        self.acked: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def sending(self, request: str, url: str, events: Sequence[str]) -> None:
        """An attempt begins."""
        with self._lock:
            self.attempts.update(events)
        self._write({"request": request, "to": url, "events": list(events)})

    def answered(self, request: str, acked: Iterable[str], refused: Iterable[str]) -> None:
        """Every event of it has a verdict."""
        taken, kept = list(acked), list(refused)
        with self._lock:
            self.acked.update(taken)
            self.refused.update(kept)
        self._write({"request": request, "acked": len(taken), "refused": kept})

    def unanswered(self, request: str, why: str) -> None:
        """It may be there or not."""
        with self._lock:
            self.errors[why.split(":", 1)[0]] += 1
        self._write({"request": request, "unknown": why})

    def status(self, event: str) -> str:
        """ACKED or REFUSED once it was said; UNKNOWN otherwise."""
        return ACKED if self.acked[event] else REFUSED if self.refused[event] else UNKNOWN

    def _write(self, line: dict[str, object]) -> None:
        with self._lock:
            if not self._file.closed:
                self._file.write(json.dumps({"at": round(time.time(), 3), **line}) + "\n")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()
