"""What is sent to this machine goes there, whatever HTTP_PROXY says; and only the word of ingest is a verdict."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from cli.http import uses_proxies
from cli.main import app
from cli.mend import Ready
from cli.send_again import ACCEPTED, SendAgain
from services.chassis.errors import Retriable

ANSWER = {"success": True, "accepted": 1, "rejected": 0, "events": [{"index": 0, "accepted": True}]}
READY = {"a": Ready("/v1/batch", b'{"userId":"u1"}', False)}
WHOLE = {"a": Ready("/v1/batch", b'{"batch":[]}', True)}


class Host:
    """An HTTP server that counts what reaches it and answers as ingest does."""

    def __init__(self) -> None:
        self.reached = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.reached += 1
                self.rfile.read(int(self.headers["Content-Length"]))
                body = json.dumps(ANSWER).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Host, Host]]:
    """(ingest, proxy); the environment names the proxy."""
    ingest, proxy = Host(), Host()
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    yield ingest, proxy
    ingest.close()
    proxy.close()


def test_what_is_sent_again_to_this_machine_passes_no_proxy(hosts: tuple[Host, Host]) -> None:
    ingest, proxy = hosts
    with SendAgain(ingest.url, "secret") as sender:
        assert list(sender.send(READY)) == [{"a": ACCEPTED}]
    assert (ingest.reached, proxy.reached) == (1, 0)


def test_a_replay_to_this_machine_passes_no_proxy(
    hosts: tuple[Host, Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest, proxy = hosts
    monkeypatch.setenv("TOUCHSTREAM_LOCAL_STATE_DIR", str(tmp_path))
    file = tmp_path / "one.jsonl"
    file.write_text('{"type":"track","event":"E","userId":"u1","messageId":"m1"}\n')
    done = CliRunner().invoke(app, ["replay", str(file), "--url", ingest.url, "--write-key", "secret"])
    assert done.exit_code == 0, done.output
    assert (ingest.reached, proxy.reached) == (1, 0)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", False),
        ("http://127.3.2.1", False),
        ("http://[::1]:8080", False),
        ("http://LOCALHOST:8080/", False),
        ("http://shop.localhost", False),
        ("https://ingest.example.com", True),
        ("http://10.0.0.7:8080", True),
        ("http://localhost.example.com", True),
    ],
)
def test_only_this_machine_is_reached_without_proxies(url: str, expected: bool) -> None:
    assert uses_proxies(url) is expected


@pytest.mark.parametrize("status", [200, 400, 413])
@pytest.mark.parametrize("ready", [READY, WHOLE])
def test_an_answer_that_is_no_json_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, status: int, ready: dict[str, Ready]
) -> None:
    monkeypatch.setattr("cli.send_again.time.sleep", lambda seconds: None)
    page = httpx.MockTransport(lambda request: httpx.Response(status, text="<html>please sign in</html>"))
    with httpx.Client(transport=page) as client, pytest.raises(Retriable, match="please sign in"):
        list(SendAgain("http://ingest.test", "secret", client).send(ready))
