"""Apprise against a real HTTP service: what it took, refused, or may have taken."""

import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from apprise.result import AppriseResultStatus

from services.chassis.testing.waiting import free_port
from services.notify.channels.apprise import AppriseSender, judge_result
from services.notify.core.model import Result
from tests.unit.notify.notify_builders import delivery

# Apprise imports imghdr, which leaves with Python 3.13; it knows how to do without.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")


class Service:
    """Answers /<status>; /silent closes the connection, /slow never answers in time."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.release = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                service.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                path = self.path.strip("/")
                if path == "silent":
                    self.connection.close()
                    return
                if path == "slow":
                    service.release.wait(10)
                self.send_response(int(path) if path.isdigit() else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, path: str) -> str:
        return f"json://127.0.0.1:{self.port}/{path}"


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()
    yield found
    found.release.set()
    found.server.shutdown()
    found.server.server_close()


async def test_subject_and_text_arrive(service: Service) -> None:
    outcome = await AppriseSender(service.url("200"), 5.0).send(delivery())
    assert outcome.result is Result.DELIVERED
    ((body),) = service.bodies
    assert (body["title"], body["message"]) == ("Hello", "Dear Lena")


@pytest.mark.parametrize(
    ("path", "result"),
    [("500", Result.TRANSIENT), ("429", Result.TRANSIENT), ("401", Result.TRANSIENT), ("400", Result.PERMANENT)],
)
async def test_a_refusal_is_judged_by_its_status(service: Service, path: str, result: Result) -> None:
    assert (await AppriseSender(service.url(path), 5.0).send(delivery())).result is result


async def test_what_may_have_arrived_is_ambiguous_and_what_cannot_have_is_transient(service: Service) -> None:
    assert (await AppriseSender(service.url("silent"), 5.0).send(delivery())).result is Result.AMBIGUOUS
    unreachable = AppriseSender(f"json://127.0.0.1:{free_port()}/", 5.0)
    assert (await unreachable.send(delivery())).result is Result.TRANSIENT


async def test_a_service_that_does_not_answer_in_time_is_ambiguous(service: Service) -> None:
    started = time.monotonic()
    assert (await AppriseSender(service.url("slow"), 0.5).send(delivery())).result is Result.AMBIGUOUS
    assert time.monotonic() - started < 8


async def test_nothing_of_the_message_reaches_the_processes_log(service: Service) -> None:
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    logging.getLogger().addHandler(handler)
    try:
        await AppriseSender(service.url("500"), 5.0).send(delivery())
        logging.getLogger("other").warning("the handler works")
    finally:
        logging.getLogger().removeHandler(handler)
    assert "the handler works" in lines.getvalue()
    assert "Lena" not in lines.getvalue()


def test_an_address_that_apprise_cannot_read_is_refused_without_being_shown() -> None:
    with pytest.raises(ValueError, match="Apprise can read") as told:
        AppriseSender("nonsense-token-123", 5.0)
    assert "token" not in str(told.value)


def test_a_partial_success_is_not_repeated_and_no_service_is_no_success() -> None:
    assert judge_result(AppriseResultStatus.PARTIAL, []).result is Result.AMBIGUOUS
    assert judge_result(AppriseResultStatus.NOMATCH, []).result is Result.TRANSIENT
    assert judge_result(AppriseResultStatus.FAILURE, ["no reason"]).result is Result.TRANSIENT
