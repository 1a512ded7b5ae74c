"""The other end of notify's webhooks: remembers every message it took, and can refuse or fall silent after taking one.

It lives in the rig's process, so that what it took survives whatever is done to notify.
"""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Received:
    """One POST that was taken. `body` are its bytes; ids as header and body name them."""

    delivery_id: str
    trigger_id: str
    rule: str
    body: bytes


class Receiver:
    """Serves POST on a free port from a daemon thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: list[Received] = []
        self.refuse = 0  # so many next messages are answered 503 and not taken
        self.silence = 0  # so many next messages are taken and their connection is closed without an answer
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True).start()

    def taken(self, since: int = 0) -> list[Received]:
        """Everything taken so far, from the `since`-th on."""
        with self._lock:
            return self._taken[since:]

    def judge(self, delivery_id: str, body: bytes) -> int:
        """Take or refuse one message; the status of the answer, 0: none."""
        with self._lock:
            if self.refuse > 0:
                self.refuse -= 1
                return 503
            data = json.loads(body)["data"]
            self._taken.append(Received(delivery_id, data["trigger_id"], data["rule"], body))
            if self.silence > 0:
                self.silence -= 1
                return 0
            return 200

    def heal(self) -> None:
        """Take and answer everything."""
        with self._lock:
            self.refuse = self.silence = 0

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """A sender that went away in the middle is one of the things that happen here."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:  # its sender died: nothing was received
                self.close_connection = True
                return
            status = receiver.judge(self.headers["webhook-id"], body)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Nobody reads it."""

    return Handler
