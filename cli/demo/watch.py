"""Deliveries as they arrive, from notify's built-in sink: for the eye only, the numbers come from ClickHouse."""

import threading
from collections import Counter, deque
from dataclasses import dataclass, field

import httpx
import msgspec

WAIT_S = 1.0
PAUSE_S = 0.3
SHOWN = 10


class Item(msgspec.Struct, frozen=True):
    """The part of a sink's line that is shown; the recipient is masked already."""

    n: int
    at_ms: int
    latency_ms: int
    rule: str
    channel: str
    destination: str
    template: str
    subject: str
    text: str


@dataclass(slots=True)
class Seen:
    """What has arrived so far. Written by the watching thread, read by the screen."""

    total: int = 0
    by_rule: Counter[str] = field(default_factory=Counter)
    latest: deque[Item] = field(default_factory=lambda: deque(maxlen=SHOWN))


class SinkWatch:
    """Follows the sink from now on, over restarts of notify, until close()."""

    def __init__(self, sink_url: str, seen: Seen) -> None:
        self._url, self._seen = sink_url, seen
        self._stop = threading.Event()
        self._client = httpx.Client(timeout=WAIT_S + 5, trust_env=False)
        self._after = self._last()
        self._lines = msgspec.json.Decoder(Item)
        self._thread = threading.Thread(target=self._run, name="sink-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop following; takes as long as one question to the sink."""
        self._stop.set()
        self._thread.join(timeout=WAIT_S + 5)
        self._client.close()

    def _last(self) -> int:
        try:
            return int(self._client.get(f"{self._url}/counts").json()["last"])
        except (httpx.HTTPError, ValueError, KeyError):
            return 0

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except (httpx.HTTPError, msgspec.DecodeError):  # notify is being restarted
                self._stop.wait(PAUSE_S)

    def _read(self) -> None:
        answer = self._client.get(self._url, params={"after": self._after, "wait": WAIT_S})
        for line in answer.raise_for_status().content.splitlines():
            item = self._lines.decode(line)
            self._after = item.n
            self._seen.total += 1
            self._seen.by_rule[item.rule] += 1
            self._seen.latest.append(item)
