"""The sender against a real HTTP server that answers as it is told to."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from cli.demo.sender import DemoError, Interrupted, Sender
from tests.unit.demo.demo_builders import batch, event

TWO = batch(event("e1", "user_id:a"), event("e2", "user_id:b"))
ACCEPTED = (200, {"success": True, "accepted": 2, "rejected": 0, "events": []})
HALF = {"index": 1, "accepted": False, "errors": [{"rule": "time_invalid"}, {"rule": "event_missing"}]}
MIXED = (200, {"success": True, "accepted": 1, "rejected": 1, "events": [{"index": 0, "accepted": True}, HALF]})


class Ingest:
    """Answers with `script`, in turn; None closes the connection without an answer."""

    def __init__(self) -> None:
        self.script: list[tuple[int, Any] | None] = []
        self.bodies: list[bytes] = []
        self.keys: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                outer.keys.append(base64.b64decode(self.headers["Authorization"].split()[1]).decode())
                answer = outer.script.pop(0)
                if answer is None:
                    self.close_connection = True
                    return
                body = json.dumps(answer[1]).encode()
                self.send_response(answer[0])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def ingest() -> Iterator[Ingest]:
    made = Ingest()
    yield made
    made.server.shutdown()
    made.server.server_close()


def sender(ingest: Ingest, stop: threading.Event | None = None, is_alive: bool = True) -> Sender:
    return Sender(ingest.url, stop or threading.Event(), lambda: is_alive, lambda: 1_790_000_000_000)


def test_the_verdicts_of_an_answer_are_the_refusals(ingest: Ingest) -> None:
    ingest.script = [ACCEPTED, MIXED]
    sending = sender(ingest)
    assert sending.send(TWO, 0) == []
    assert sending.send(TWO, 0) == [(1, "time_invalid")]
    assert ingest.keys == ["local:", "local:"]


def test_without_an_answer_the_same_bytes_are_sent_until_there_is_one(ingest: Ingest) -> None:
    ingest.script = [None, (503, {"code": "stopping"}), (429, {"code": "rate_limited"}), ACCEPTED]
    sending = sender(ingest)
    assert sending.send(TWO, 0) == []
    assert len(ingest.bodies) == 4
    assert len(set(ingest.bodies)) == 1
    assert sending.unanswered == 3


def test_a_refused_batch_is_an_answer(ingest: Ingest) -> None:
    events = [{**HALF, "index": 0}, HALF]
    ingest.script = [(400, {"code": "batch_refused", "accepted": 0, "rejected": 2, "events": events})]
    assert sender(ingest).send(TWO, 0) == [(0, "time_invalid"), (1, "time_invalid")]


@pytest.mark.parametrize(
    "answer",
    [
        (401, {"code": "write_key_unknown"}),
        (200, {"accepted": 1, "rejected": 0, "events": []}),
        (200, {"accepted": 1, "rejected": 1, "events": []}),
        (200, ["unexpected"]),
    ],
)
def test_an_answer_that_is_no_verdict_ends_the_play(ingest: Ingest, answer: tuple[int, Any]) -> None:
    ingest.script = [answer]
    with pytest.raises(DemoError, match="no verdict on its events"):
        sender(ingest).send(TWO, 0)


def test_a_stack_that_is_gone_is_not_waited_for(ingest: Ingest) -> None:
    ingest.script = [None]
    with pytest.raises(DemoError, match="the stack is gone"):
        sender(ingest, is_alive=False).send(TWO, 0)


def test_once_stopped_nothing_is_sent(ingest: Ingest) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        sender(ingest, stop).send(TWO, 0)
    assert ingest.bodies == []
