"""One connection through a proxy: two streams, forwarded piece by piece as the link lets them."""

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from typing import Protocol

from tests.chaos.rig.answers import Answers

PIECE_BYTES = 65_536
# Pieces under way each way. Lower: latency would cost throughput too. Higher: memory.
UNDER_WAY = 256

End = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Pieces = asyncio.Queue[tuple[float, bytes]]


class Link(Protocol):
    """What a wire asks the proxy for each piece of its traffic."""

    async def passage(self, is_up: bool, chunk: bytes = b"") -> None: ...
    def delay_s(self) -> float: ...
    def pass_up(self, chunk: bytes) -> tuple[bytes, bool]: ...
    def pass_down(self, chunk: bytes, begun: list[tuple[int, int]]) -> tuple[bytes, bool]: ...


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST, which loses what is still in the buffers, as a broken link does."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@dataclass(eq=False, slots=True)
class Wire:
    """A client's connection and the one to the target that belongs to it."""

    link: Link
    client: End
    answers: Answers
    task: "asyncio.Task[None] | None" = field(default_factory=asyncio.current_task)

    async def run(self, address: tuple[str, int]) -> None:
        """Forward both ways until both have ended. Raises OSError (also in a group), CancelledError after reset()."""
        target = await asyncio.open_connection(*address)
        up: Pieces = asyncio.Queue(UNDER_WAY)
        down: Pieces = asyncio.Queue(UNDER_WAY)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(self.client[0], up))
                tasks.create_task(self._send(up, target[1], is_up=True))
                tasks.create_task(self._read(target[0], down))
                tasks.create_task(self._send(down, self.client[1], is_up=False))
        finally:
            reset(target[1])

    def reset(self) -> None:
        """End both connections at once."""
        reset(self.client[1])
        if self.task is not None:
            self.task.cancel()

    async def _read(self, source: asyncio.StreamReader, pieces: Pieces) -> None:
        now_s, latest_s = asyncio.get_running_loop().time, 0.0
        while True:
            chunk = await source.read(PIECE_BYTES)
            latest_s = max(latest_s, now_s() + self.link.delay_s())
            await pieces.put((latest_s, chunk))
            if not chunk:
                return

    async def _send(self, pieces: Pieces, sink: asyncio.StreamWriter, is_up: bool) -> None:
        gate = self._to_target if is_up else self._to_client
        now_s = asyncio.get_running_loop().time
        while True:
            due_s, chunk = await pieces.get()
            if due_s > now_s():
                await asyncio.sleep(due_s - now_s())
            await self.link.passage(is_up, chunk)
            if not chunk:
                sink.write_eof()
                return
            part, is_last = gate(chunk)
            if part:
                sink.write(part)
                await sink.drain()
            if is_last:
                raise ConnectionResetError("ended by the proxy")

    # A piece of traffic → how much of it goes on, and whether the connection ends right behind it.

    def _to_target(self, chunk: bytes) -> tuple[bytes, bool]:
        self.answers.asked(chunk)
        return self.link.pass_up(chunk)

    def _to_client(self, chunk: bytes) -> tuple[bytes, bool]:
        return self.link.pass_down(chunk, self.answers.begun(chunk))
