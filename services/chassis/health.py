"""Health of a process and the HTTP port that shows it: /metrics, /healthz (alive), /readyz (able to work)."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest


class Health:
    """What each component of the process last said about itself; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state: dict[str, tuple[bool, str]] = {}

    def set(self, component: str, ok: bool, detail: str = "") -> None:
        """Record a component's state; a component that never spoke does not count."""
        with self._lock:
            self._state[component] = (ok, detail)

    def remove(self, component: str) -> None:
        """Forget a component, whether or not it ever spoke."""
        with self._lock:
            self._state.pop(component, None)

    @property
    def ready(self) -> bool:
        """True when at least one component spoke and all are well."""
        with self._lock:
            return bool(self._state) and all(ok for ok, _ in self._state.values())

    def report(self) -> dict[str, dict[str, object]]:
        """Component → {ok, detail}."""
        with self._lock:
            return {name: {"ok": ok, "detail": detail} for name, (ok, detail) in sorted(self._state.items())}


class OpsServer:
    """A small HTTP server in a daemon thread; close() stops it and frees the port."""

    def __init__(self, host: str, port: int, health: Health, registry: CollectorRegistry = REGISTRY) -> None:
        handler = _handler(health, registry)
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="ops", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving; waits for the thread (under a second)."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=2)


def serve_ops(port: int, health: Health, host: str = "127.0.0.1") -> OpsServer:
    """Serve /metrics, /healthz and /readyz on host:port (port 0 picks a free one). Raises OSError when taken."""
    return OpsServer(host, port, health)


def _handler(health: Health, registry: CollectorRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?", 1)[0]
            if path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
            elif path == "/healthz":
                self._answer(200, "application/json", b'{"alive":true}')
            elif path == "/readyz":
                body = json.dumps({"ready": health.ready, "components": health.report()}).encode()
                self._answer(200 if health.ready else 503, "application/json", body)
            else:
                self._answer(404, "text/plain", b"try /metrics, /healthz or /readyz\n")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Scrapes are not worth a log line."""

    return Handler
