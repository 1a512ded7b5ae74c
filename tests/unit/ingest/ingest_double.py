"""An ingest without broker: the real application over a publisher whose acknowledgements the test decides."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from services.chassis.avro import Codec
from services.chassis.errors import Fatal
from services.chassis.testing.clock import FakeClock
from services.ingest.adapters import NotStored, Outgoing
from services.ingest.app import build_app
from services.ingest.core.keys import Grant, Keyring, key_digest
from services.ingest.core.source import Source
from services.ingest.encode import REJECTED, TOUCHPOINTS, Encoder
from services.ingest.handler import Collector
from services.ingest.settings import IngestSettings

KEY = b"0123456789abcdef"


@dataclass
class FakePublisher:
    """Keeps what it is given. `mode`: ack at once, hold until release(), fail, or die (Fatal)."""

    mode: str = "ack"
    messages: list[Outgoing] = field(default_factory=list)
    was_held: asyncio.Event = field(default_factory=asyncio.Event)
    held: list[tuple[asyncio.Future[None], Callable[[], None]]] = field(default_factory=list)
    unacknowledged: int = 0

    def publish(self, messages: Sequence[Outgoing], settled: Callable[[], None]) -> asyncio.Future[None]:
        if self.mode == "die":
            raise Fatal("fenced")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.messages += messages
        if self.mode == "ack":
            future.set_result(None)
            settled()
        elif self.mode == "fail":
            future.set_exception(NotStored("no leader"))
            settled()
        else:
            self.unacknowledged += len(messages)
            self.held.append((future, settled))
            self.was_held.set()
        return future

    def release(self) -> None:
        """Acknowledge what is held."""
        for future, settled in self.held:
            if not future.done():
                future.set_result(None)
            settled()
        self.held.clear()
        self.unacknowledged = 0

    def touchpoints(self) -> list[dict[str, Any]]:
        """The touchpoints written, decoded."""
        return [Codec("touchpoint").decode(m.value) for m in self.messages if m.topic == TOUCHPOINTS]

    def rejected(self) -> list[dict[str, Any]]:
        """The refused events written, decoded."""
        return [Codec("rejected").decode(m.value) for m in self.messages if m.topic == REJECTED]


@dataclass
class Ingest:
    """The application under test and what stands around it."""

    settings: IngestSettings
    publisher: FakePublisher
    collector: Collector
    clock: FakeClock
    app: Any
    client: httpx.AsyncClient

    async def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """POST with the key `local`, unless headers are given."""
        options.setdefault("headers", {"Authorization": "Bearer local"})
        if json is not None:
            options["json"] = json
        return await self.client.post(path, **options)


def make_keyring() -> Keyring:
    """`local` may send everything, `browser` is public, `slow` may send ten events and then one a second."""
    return Keyring(
        {
            key_digest("local"): Grant(Source("local", key="local")),
            key_digest("browser"): Grant(Source("web", key="browser", is_public=True)),
            key_digest("slow"): Grant(Source("slow", key="slow", events_per_s=1.0, burst_events=10.0)),
        }
    )


def build_ingest(**values: Any) -> Ingest:
    """The application with the given settings, open for requests."""
    settings = IngestSettings(partitions=4, **values)
    publisher, clock = FakePublisher(), FakeClock()
    encoder = Encoder(Codec("touchpoint"), Codec("rejected"), KEY, 4)
    collector = Collector(settings, make_keyring(), publisher, encoder, clock)
    collector.refusal = None
    app = build_app(collector, settings)
    transport = httpx.ASGITransport(app=app, client=("203.0.113.7", 5), raise_app_exceptions=False)
    client = httpx.AsyncClient(transport=transport, base_url="http://ingest")
    return Ingest(settings, publisher, collector, clock, app, client)
