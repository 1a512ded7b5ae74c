"""A front at ClickHouse's address that is down, refuses, is slow, or does what it is asked and does not say so.

Faults of the connection below HTTP (latency, reset, half-open) are proxy.py's; here are those that an HTTP server has.
Only inserts are refused or left unanswered: archive's reads repeat by themselves.
"""

import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from tests.http_body import read_body

# What a server under pressure answers before and after it did the work.
REFUSED = (503, b"Code: 209. DB::Exception: down for maintenance. (SOCKET_TIMEOUT)")
BROKEN = (500, b"Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)")
TARGET_TIMEOUT_S = 60.0
_NOT_PASSED_ON = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "expect"}


@dataclass(slots=True)
class Counters:
    """What happened since the front was opened."""

    inserts: int = 0
    refused: int = 0  # answered 503, not applied
    broken: int = 0  # applied, answered 500
    withheld: int = 0  # applied, not answered
    resets: int = 0  # connections reset because the server was down


@dataclass(slots=True)
class Faults:
    """What is wrong right now."""

    is_down: bool = False
    is_refusing: bool = False
    delay_s: float = 0.0
    breaking: int = 0  # inserts that are still to be broken
    table: str = ""  # only inserts that name it
    withholding: int = 0


class ClickhouseFront:
    """Listens on 127.0.0.1:listen_port (0: any free one) and passes on to target, a URL. Any thread may control it."""

    def __init__(self, listen_port: int, target: str) -> None:
        self.target = urlsplit(target).netloc
        self.faults, self._counters = Faults(), Counters()
        self._lock = threading.Lock()
        self.healed = threading.Event()
        front = self

        class Handler(_Handler):
            """Knows its front."""

            def front(self) -> ClickhouseFront:
                return front

        self._server = _Server(("127.0.0.1", listen_port), Handler)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def down(self) -> None:
        """Every connection is reset, nothing reaches the server."""
        self._set(is_down=True)

    def refuse(self) -> None:
        """Inserts are answered 503 and not applied."""
        self._set(is_refusing=True)

    def slow(self, delay_s: float) -> None:
        """Every request is passed on so much later."""
        self._set(delay_s=delay_s)

    def break_answers(self, count: int, table: str = "") -> None:
        """The next inserts (into a table) are applied and answered 500."""
        self._set(breaking=count, table=table)

    def withhold_answers(self, count: int) -> None:
        """The next inserts are applied and not answered: until the client's patience ends, or heal() resets them."""
        self._set(withholding=count)

    def heal(self) -> None:
        """No fault any more."""
        with self._lock:
            self.faults = Faults()
            self.healed.set()
            self.healed = threading.Event()

    def close(self) -> None:
        """Stop listening."""
        self.heal()
        self._server.shutdown()
        self._server.server_close()

    @property
    def counters(self) -> Counters:
        """What happened so far (a copy)."""
        with self._lock:
            return replace(self._counters)

    def _set(self, **changes: bool | float | int | str) -> None:
        with self._lock:
            self.faults = replace(self.faults, **changes)  # type: ignore[arg-type]

    def count(self, what: str) -> None:
        """One more of a counter."""
        with self._lock:
            setattr(self._counters, what, getattr(self._counters, what) + 1)

    def take(self, fault: str) -> bool:
        """Whether one of so many faults is left; it is used up."""
        with self._lock:
            left = int(getattr(self.faults, fault))
            if left:
                setattr(self.faults, fault, left - 1)
            return left > 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle of a request is no news here."""

    def shutdown_request(self, request: Any) -> None:
        """Close without saying goodbye first: a FIN would come before the RST."""
        self.close_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def front(self) -> ClickhouseFront:
        raise NotImplementedError

    def do_POST(self) -> None:
        front, body = self.front(), read_body(self)
        healed, faults = front.healed, front.faults
        is_insert = b"INSERT INTO" in body[:200] or "INSERT INTO" in unquote_plus(self.path)
        if faults.delay_s:
            healed.wait(faults.delay_s)
        if faults.is_down:
            front.count("resets")
            return self._reset()
        if not is_insert:
            return self._answer(*self._pass_on(body))
        front.count("inserts")
        if faults.is_refusing:
            front.count("refused")
            return self._answer(*REFUSED, {})
        reply = self._pass_on(body)
        if faults.table.encode() in body[:200] and front.take("breaking"):
            front.count("broken")
            return self._answer(*BROKEN, {})
        if front.take("withholding"):
            front.count("withheld")
            healed.wait()
            return self._reset()
        return self._answer(*reply)

    do_GET = do_POST

    def _pass_on(self, body: bytes) -> tuple[int, bytes, Mapping[str, str]]:
        connection = HTTPConnection(self.front().target, timeout=TARGET_TIMEOUT_S)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED_ON}
        try:
            connection.request(self.command, self.path, body, headers)
            reply = connection.getresponse()
            kept = {n: v for n, v in reply.getheaders() if n.lower().startswith(("x-clickhouse", "content-type"))}
            return reply.status, reply.read(), kept
        except OSError as error:
            return 502, f"ClickHouse behind the front: {error}".encode(), {}
        finally:
            connection.close()

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass
