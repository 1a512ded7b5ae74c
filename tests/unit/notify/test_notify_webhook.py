"""Webhooks against a real HTTP receiver that verifies the signature with the specification's library."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from services.chassis.clock import now_ms
from services.chassis.testing.waiting import free_port
from services.notify.channels.base import judge_http, read_retry_after
from services.notify.channels.webhook import WebhookSender
from services.notify.core.model import Result
from tests.unit.notify.notify_builders import NOW_MS, delivery

SECRET = "whsec_dG91Y2hzdHJlYW0tdGVzdC1zZWNyZXQ="


class Receiver:
    """Answers with `status` and `headers`; keeps what it was sent."""

    def __init__(self) -> None:
        self.status, self.headers = 200, dict[str, str]()
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.is_silent = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((dict(self.headers.items()), body))
                if receiver.is_silent:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(receiver.status)
                for name, value in {**receiver.headers, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


def sender(url: str, clock: Any = now_ms) -> WebhookSender:
    return WebhookSender(url, SECRET, 5.0, 4, clock)


async def test_the_receiver_verifies_the_signature_and_knows_the_delivery_by_its_id(receiver: Receiver) -> None:
    channel = sender(receiver.url)
    outcome = await channel.send(delivery("d1"))
    await channel.close()
    assert outcome.result is Result.DELIVERED
    ((headers, body),) = receiver.requests
    assert Webhook(SECRET).verify(body, headers) == {"a": 1}
    assert {k.lower(): v for k, v in headers.items()}["webhook-id"] == "d1"


async def test_a_receiver_with_another_secret_refuses_it(receiver: Receiver) -> None:
    await sender(receiver.url).send(delivery())
    ((headers, body),) = receiver.requests
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_b3RoZXI=").verify(body, headers)


async def test_a_repeat_has_the_same_id_and_body_and_a_signature_of_its_own_time(receiver: Receiver) -> None:
    times = iter([NOW_MS, NOW_MS + 90_000])
    channel = sender(receiver.url, lambda: next(times))
    await channel.send(delivery("d1"))
    await channel.send(delivery("d1"))
    (first, first_body), (second, second_body) = receiver.requests
    assert first["webhook-id"] == second["webhook-id"] == "d1"
    assert first_body == second_body
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 90
    assert first["webhook-signature"] != second["webhook-signature"]


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, Result.DELIVERED), (204, Result.DELIVERED), (302, Result.TRANSIENT), (400, Result.PERMANENT),
        (401, Result.TRANSIENT), (404, Result.TRANSIENT), (410, Result.PERMANENT), (413, Result.PERMANENT),
        (422, Result.PERMANENT), (429, Result.TRANSIENT), (500, Result.TRANSIENT), (503, Result.TRANSIENT),
    ],
)  # fmt: skip
async def test_the_answer_decides(receiver: Receiver, status: int, result: Result) -> None:
    receiver.status = status
    assert (await sender(receiver.url).send(delivery())).result is result


async def test_retry_after_is_handed_on(receiver: Receiver) -> None:
    receiver.status, receiver.headers = 429, {"Retry-After": "120"}
    assert (await sender(receiver.url).send(delivery())).retry_after_ms == 120_000


async def test_no_connection_is_transient_and_a_lost_answer_is_ambiguous(receiver: Receiver) -> None:
    assert (await sender(f"http://127.0.0.1:{free_port()}/").send(delivery())).result is Result.TRANSIENT
    receiver.is_silent = True
    outcome = await sender(receiver.url).send(delivery())
    assert outcome.result is Result.AMBIGUOUS
    assert receiver.url not in outcome.error


async def test_many_at_once_are_each_verified(receiver: Receiver) -> None:
    channel = sender(receiver.url)
    await asyncio.gather(*(channel.send(delivery(f"d{n}")) for n in range(50)))
    await channel.close()
    assert (
        len({headers["webhook-id"] for headers, body in receiver.requests if Webhook(SECRET).verify(body, headers)})
        == 50
    )


def test_retry_after_is_read_as_seconds_or_as_a_date_and_nonsense_is_ignored() -> None:
    date = format_datetime(datetime.fromtimestamp(NOW_MS / 1_000 + 30, UTC), usegmt=True)
    found = [read_retry_after(value, NOW_MS) for value in ("5", date, "soon", "-3", None, "1e999", "nan")]
    assert found == [5_000, 30_000, 0, 0, 0, 0, 0]
    assert read_retry_after("999999999", NOW_MS) == 24 * 3_600_000
    assert judge_http(503, "7", NOW_MS).retry_after_ms == 7_000
