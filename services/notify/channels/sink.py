"""The built-in sink: a bounded memory of what would have reached people. The local stack and test mode send here."""

import threading
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from services.notify.core.model import Delivery, Outcome, Result


class SinkItem(msgspec.Struct, frozen=True):
    """One delivery as the sink shows it. `n` grows for ever, also over a restart; the recipient is masked."""

    n: int
    at_ms: int
    latency_ms: int  # from acceptance by ingest; -1 when no event was behind the trigger
    delivery_id: str
    trigger_id: str
    rule: str
    customer_id: str
    channel: str
    destination: str
    template: str
    language: str
    subject: str
    text: str


class SinkStore:
    """The last `size` items and counts of everything since the start. Thread-safe: the HTTP server reads it."""

    def __init__(self, size: int, clock: Callable[[], int]) -> None:
        self._size = size
        self._clock = clock
        self._items: OrderedDict[str, SinkItem] = OrderedDict()
        self._changed = threading.Condition()
        # Starting at the clock keeps `after=N` meaningful for a reader that outlives this process.
        self._last = clock() * 1_000
        self._counts: dict[str, dict[str, int]] = {"channel": {}, "rule": {}, "destination": {}}
        self._total = self._duplicates = 0

    def add(self, delivery: Delivery) -> bool:
        """Keep a delivery; False (and only counted) when its id is among those remembered."""
        with self._changed:
            if delivery.delivery_id in self._items:
                self._duplicates += 1
                return False
            self._last += 1
            self._items[delivery.delivery_id] = self._item(delivery, self._last)
            if len(self._items) > self._size:
                self._items.popitem(last=False)
            self._total += 1
            for group, name in (
                ("channel", delivery.channel), ("rule", delivery.rule), ("destination", delivery.destination)
            ):  # fmt: skip
                self._counts[group][name] = self._counts[group].get(name, 0) + 1
            self._changed.notify_all()
            return True

    def _item(self, delivery: Delivery, number: int) -> SinkItem:
        now_ms, content = self._clock(), delivery.content
        latency_ms = now_ms - delivery.accepted_at if delivery.accepted_at else -1
        return SinkItem(
            number, now_ms, latency_ms, delivery.delivery_id, delivery.trigger_id, delivery.rule, delivery.customer_id,
            delivery.channel, delivery.label, delivery.template, content.language, content.subject,
            content.text or content.body,
        )  # fmt: skip

    def read(self, after: int, limit: int, wait_s: float = 0.0) -> list[SinkItem]:
        """Items with n > after, oldest first, at most `limit`; waits up to wait_s for the first one."""
        with self._changed:
            self._changed.wait_for(lambda: self._last > after and bool(self._items), timeout=wait_s)
            newest: list[SinkItem] = []
            for item in reversed(self._items.values()):
                if item.n <= after:
                    break
                newest.append(item)
            return newest[::-1][:limit]

    def counts(self) -> dict[str, object]:
        """Totals since the process started."""
        with self._changed:
            by = {f"by_{group}": dict(sorted(names.items())) for group, names in self._counts.items()}
            return {"total": self._total, "duplicates": self._duplicates, "last": self._last, **by}


class SinkSender:
    """A destination that is the sink; keeps the channel the delivery was rendered for."""

    def __init__(self, store: SinkStore) -> None:
        self._store = store

    async def send(self, delivery: Delivery) -> Outcome:
        """Always delivered: a repeat of a delivery id is recognised."""
        self._store.add(delivery)
        return Outcome(Result.DELIVERED, provider_id="sink")

    async def close(self) -> None:
        """Nothing to close."""


class AbsentSender:
    """Stands for a destination that deliveries wait for and that is no longer configured."""

    async def send(self, delivery: Delivery) -> Outcome:
        """Never delivers: they end as failed after the usual hours unless the destination comes back."""
        return Outcome(Result.TRANSIENT, f"destination {delivery.destination!r} is not configured")

    async def close(self) -> None:
        """Nothing to close."""
