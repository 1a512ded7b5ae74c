"""A Schema Registry that has the committed schemas under their committed ids: who asks it writes what all others do."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from services.chassis.schemas import SCHEMAS, published


class SchemaRegistry:
    """Answers look-ups on a free port from a daemon thread."""

    def __init__(self) -> None:
        ids = {schema.text: number for number, schema in published(SCHEMAS).items()}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(ids))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="schema-registry", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _handler(ids: dict[str, int]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["schema"]
            subject = self.path.strip("/").split("/")[1]
            found = {"subject": subject, "version": 1, "id": ids.get(text), "schema": text}
            body = json.dumps(found if text in ids else {"error_code": 40401, "message": "none"}).encode()
            self.send_response(200 if text in ids else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Nobody reads it."""

    return Handler
