"""The sink over HTTP: GET /sink?after=N[&limit=L][&wait=S] → JSON lines, GET /sink/counts → totals."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import msgspec

from services.notify.channels.sink import SinkStore

LIMIT = 1_000
LONGEST_WAIT_S = 30.0


class SinkServer:
    """Serves a SinkStore from a daemon thread; close() frees the port."""

    def __init__(self, host: str, port: int, store: SinkStore) -> None:
        """port 0 picks a free one. Raises OSError when taken."""
        self._server = ThreadingHTTPServer((host, port), _handler(store))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="sink", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving; waits for the thread (under a second)."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=2)


def _handler(store: SinkStore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/sink/counts":
                self._answer(200, "application/json", msgspec.json.encode(store.counts()))
            elif url.path == "/sink":
                self._items(parse_qs(url.query))
            else:
                self._answer(404, "text/plain", b"try /sink?after=0 or /sink/counts\n")

        def _items(self, query: dict[str, list[str]]) -> None:
            try:
                after, limit = int(query.get("after", ["0"])[0]), int(query.get("limit", [str(LIMIT)])[0])
                wait_s = float(query.get("wait", ["0"])[0])
            except ValueError:
                self._answer(400, "text/plain", b"after and limit are whole numbers, wait is seconds\n")
                return
            items = store.read(after, min(max(limit, 1), LIMIT), min(max(wait_s, 0.0), LONGEST_WAIT_S))
            self._answer(200, "application/x-ndjson", msgspec.json.Encoder().encode_lines(items))

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Polling is not worth a log line."""

    return Handler
