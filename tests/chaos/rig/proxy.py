"""A TCP proxy for one link of the deployment: slow, cut, torn in the middle of a request, robbed of an answer, or deaf.

All proxies live in one event loop in a thread of its own; every method of Proxy may be called from any thread and has
taken effect when it returns. What a link carries (Kafka, Redis, HTTP) is told by the answers it counts, see answers.py.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

from tests.chaos.rig.answers import Answers, KafkaFrames, Turns
from tests.chaos.rig.trouble import Counters, Faults, Trouble
from tests.chaos.rig.wire import Wire, reset

Address = tuple[str, int]
CONTROL_TIMEOUT_S = 10.0


class Proxy:
    """Listens on 127.0.0.1:listen_port (0: any free one, see `port`) and forwards to target.

    `answers` makes what counts the answers of one connection: Turns (Redis, HTTP) or KafkaFrames.
    """

    def __init__(
        self, listen_port: int, target: Address, answers: Callable[[], Answers] = Turns, name: str = ""
    ) -> None:
        self.name = name
        self.port = 0
        self._new_answers = answers
        self._trouble = Trouble()
        self._routes: dict[int, Address] = {}
        self._places: list[socket.socket] = []  # keep the ports ours while nobody listens
        self._servers: list[asyncio.Server] = []
        self._wires: set[Wire] = set()
        self._loop = _loop()
        self.port = self.also(listen_port, target)

    # Control: any thread.

    def also(self, listen_port: int, target: Address) -> int:
        """One more way over the same link, with its faults (another broker of a cluster). Returns the port."""
        port: int = self._do(self._add(listen_port, target))
        return port

    def delay(self, ms: float, jitter_ms: float = 0.0, seed: int = 0) -> None:
        """Every piece of traffic comes ms later, each way, plus up to jitter_ms; order is kept."""
        self._do(self._change(delay_s=ms / 1000, jitter_s=jitter_ms / 1000, random=Random(seed)))

    def cut(self) -> None:
        """All connections are reset, new ones refused, as if nobody listened."""
        self._do(self._cut())

    def reset_all(self) -> None:
        """All connections are reset; new ones are welcome."""
        self._do(self._reset_all())

    def reset_in(self, n_bytes_upstream: int) -> None:
        """Let so many more bytes through to the target, over all connections, then reset the one that brought them."""
        self._do(self._change(tear_after_bytes=n_bytes_upstream))

    def drop_answer(self, n: int = 1, kind: int | None = None) -> None:
        """The n-th answer from now is swallowed after the target did what was asked; its connection is reset.

        `kind` counts only answers to such requests, see answers.py (Kafka: PRODUCE).
        """
        self._do(self._change(drop_answer=n, drop_kind=kind))

    def half_open(self) -> None:
        """Connections stay and are accepted, nothing goes through. What is held comes late, after heal()."""
        self._do(self._half_open())

    def hold_requests(self, containing: bytes = b"") -> None:
        """Pieces of requests in which these bytes are found wait for release_requests() or heal(), those behind too."""
        self._do(self._hold_requests(containing))

    def release_requests(self) -> None:
        """Requests that were held go on."""
        self._do(self._set(self._trouble.asking))

    def hold_answers(self) -> None:
        """Requests go through, answers wait: for drop_held(), or for heal(), which delivers them late."""
        self._do(self._hold_answers())

    def drop_held(self) -> None:
        """Reset all connections, with the answers they hold; those to come are answered."""
        self._do(self._drop_held())

    def heal(self) -> None:
        """No fault any more, those that have not struck included; what was held goes on."""
        self._do(self._heal())

    def close(self) -> None:
        """Reset everything and stop listening for good."""
        self._do(self._close())

    @property
    def counters(self) -> Counters:
        """What happened so far (a copy)."""
        return replace(self._trouble.counters)

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CONTROL_TIMEOUT_S)

    # In the loop.

    async def _add(self, listen_port: int, target: Address) -> int:
        place = _bound(listen_port)
        self._places.append(place)
        port = int(place.getsockname()[1])
        self._routes[port] = target
        if not self._trouble.faults.is_cut:
            await self._listen(port)
        return port

    async def _listen(self, port: int) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(self._routes[port], reader, writer)

        self._servers.append(await asyncio.start_server(serve, sock=_bound(port), backlog=512))

    async def _change(self, **changes: Any) -> None:
        self._trouble.faults = replace(self._trouble.faults, **changes)

    async def _cut(self) -> None:
        self._trouble.faults.is_cut = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        await self._reset_all()

    async def _reset_all(self) -> None:
        for wire in list(self._wires):
            self._end(wire)

    async def _half_open(self) -> None:
        self._trouble.open.clear()

    async def _hold_requests(self, containing: bytes) -> None:
        self._trouble.held_request = containing
        self._trouble.asking.clear()

    async def _set(self, gate: asyncio.Event) -> None:
        gate.set()

    async def _hold_answers(self) -> None:
        self._trouble.answering.clear()

    async def _drop_held(self) -> None:
        await self._reset_all()
        self._trouble.answering.set()

    async def _heal(self) -> None:
        was_cut, self._trouble.faults = self._trouble.faults.is_cut, Faults()
        for gate in (self._trouble.open, self._trouble.asking, self._trouble.answering):
            gate.set()
        if was_cut:
            for port in self._routes:
                await self._listen(port)

    async def _close(self) -> None:
        await self._cut()
        self._trouble.open.set()
        for place in self._places:
            place.close()

    async def _serve(self, target: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._trouble.counters.connections += 1
        wire = Wire(self._trouble, (reader, writer), self._new_answers())
        self._wires.add(wire)
        try:
            await self._trouble.passage(is_up=True)
            await wire.run(target)
        except* ConnectionRefusedError:
            self._trouble.counters.refused += 1
        except* (OSError, asyncio.CancelledError):
            pass  # either end went away, or a fault ended it
        finally:
            self._wires.discard(wire)
            reset(writer)

    def _end(self, wire: Wire) -> None:
        self._trouble.counters.resets += 1
        wire.reset()


def kafka_proxy(listen_port: int, target: Address, name: str = "") -> Proxy:
    """A proxy that counts Kafka's answers."""
    return Proxy(listen_port, target, KafkaFrames, name)


def _bound(port: int) -> socket.socket:
    # Two sockets share the port: one only keeps it, so that a cut link refuses and nobody else takes its place.
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="proxies", daemon=True).start()
    return loop
