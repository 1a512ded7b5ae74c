"""The WeCom robot against a server that answers with its errcodes."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.chassis.clock import now_ms
from services.notify.channels.wecom import MARKDOWN_BYTES, TEXT_BYTES, WecomSender, cut_utf8, judge_answer
from services.notify.core.model import Content, Result
from tests.unit.notify.notify_builders import delivery


class Robot:
    """Takes at most `limit` messages, then answers as WeCom does when there were too many in a minute."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.limit, self.status, self.answer = 20, 200, b""
        robot = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                robot.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                full = len(robot.bodies) > robot.limit
                code, text = (45009, "api freq out of limit") if full else (0, "ok")
                body = robot.answer or json.dumps({"errcode": code, "errmsg": text}).encode()
                self.send_response(robot.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/cgi-bin/webhook/send?key=SECRETKEY"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def robot() -> Iterator[Robot]:
    found = Robot()
    yield found
    found.server.shutdown()
    found.server.server_close()


def sender(url: str, kind: str = "markdown") -> WecomSender:
    return WecomSender(url, kind, 5.0, now_ms)


async def test_markdown_is_sent_and_a_repeat_is_identical(robot: Robot) -> None:
    channel = sender(robot.url)
    found = delivery(content=Content(text="**首单客户**\n> 客户：李娜"))
    assert [(await channel.send(found)).result for _ in range(2)] == [Result.DELIVERED, Result.DELIVERED]
    assert robot.bodies[0] == robot.bodies[1]
    assert json.loads(robot.bodies[0]) == {"msgtype": "markdown", "markdown": {"content": "**首单客户**\n> 客户：李娜"}}


async def test_text_has_its_own_form(robot: Robot) -> None:
    await sender(robot.url, "text").send(delivery(content=Content(text="hello")))
    assert json.loads(robot.bodies[0]) == {"msgtype": "text", "text": {"content": "hello"}}


async def test_the_twenty_first_of_a_minute_waits_a_minute(robot: Robot) -> None:
    channel = sender(robot.url)
    outcomes = [await channel.send(delivery(f"d{n}")) for n in range(21)]
    assert {o.result for o in outcomes[:20]} == {Result.DELIVERED}
    last = outcomes[20]
    assert (last.result, last.retry_after_ms, last.error) == (Result.TRANSIENT, 60_000, "WeCom errcode 45009")


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b'{"errcode": 0}', Result.DELIVERED), (b'{"errcode": -1}', Result.TRANSIENT),
        (b'{"errcode": 45033}', Result.TRANSIENT), (b'{"errcode": 40058}', Result.PERMANENT),
        (b'{"errcode": 44004}', Result.PERMANENT), (b'{"errcode": 93000}', Result.TRANSIENT),
        (b"<html>proxy</html>", Result.AMBIGUOUS), (b"[]", Result.AMBIGUOUS), (b"{}", Result.AMBIGUOUS),
    ],
)  # fmt: skip
def test_every_errcode_has_its_outcome(body: bytes, result: Result) -> None:
    assert judge_answer(body).result is result


async def test_http_errors_before_the_robot_count_too_and_the_key_never_shows(robot: Robot) -> None:
    robot.status = 502
    outcome = await sender(robot.url).send(delivery())
    assert outcome.result is Result.TRANSIENT
    refused = await sender("http://127.0.0.1:9/?key=SECRETKEY").send(delivery())
    assert refused.result is Result.TRANSIENT
    assert "SECRETKEY" not in outcome.error + refused.error


@pytest.mark.parametrize(("kind", "limit"), [("markdown", MARKDOWN_BYTES), ("text", TEXT_BYTES)])
async def test_long_content_is_cut_at_the_providers_limit(robot: Robot, kind: str, limit: int) -> None:
    await sender(robot.url, kind).send(delivery(content=Content(text="客" * 3_000)))
    content = json.loads(robot.bodies[0])[kind]["content"]
    assert limit - 3 <= len(content.encode()) <= limit
    assert content.endswith("客…")


def test_cutting_never_splits_a_character() -> None:
    for limit in range(4, 20):
        assert len(cut_utf8("a客户b🎉" * 9, limit).encode()) <= limit
    assert cut_utf8("客户", 6) == "客户"
