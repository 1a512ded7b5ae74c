"""The built-in sink: bounded, counted, readable from any point on."""

import json
import threading

import httpx

from services.chassis.testing.clock import FakeClock
from services.notify.channels.sink import SinkSender, SinkStore
from services.notify.channels.sink_server import SinkServer
from services.notify.core.model import Result
from tests.unit.notify.notify_builders import delivery, email_delivery


def test_it_remembers_the_last_ones_and_counts_all() -> None:
    sink = SinkStore(3, FakeClock())
    for n in range(5):
        assert sink.add(delivery(f"d{n}"))
    assert [item.delivery_id for item in sink.read(0, 10)] == ["d2", "d3", "d4"]
    assert sink.counts()["total"] == 5
    assert sink.counts()["by_channel"] == {"webhook": 5}


def test_a_repeat_of_an_id_is_recognised_and_counted() -> None:
    sink = SinkStore(3, FakeClock())
    assert sink.add(delivery("d1"))
    assert not sink.add(delivery("d1"))
    assert (sink.counts()["total"], sink.counts()["duplicates"]) == (1, 1)


def test_a_reader_that_outlives_the_process_goes_on_with_the_same_number() -> None:
    clock = FakeClock()
    first = SinkStore(3, clock)
    first.add(delivery("d1"))
    (item,) = first.read(0, 10)
    clock.advance(1_000)
    second = SinkStore(3, clock)
    second.add(delivery("d2"))
    assert [found.delivery_id for found in second.read(item.n, 10)] == ["d2"]


async def test_the_sender_always_delivers_and_masks_the_recipient() -> None:
    sink = SinkStore(3, FakeClock())
    outcome = await SinkSender(sink).send(email_delivery(label="mail:l***@example.com"))
    assert outcome.result is Result.DELIVERED
    assert "lena@" not in repr(sink.read(0, 1))


def test_it_is_read_over_http_as_json_lines() -> None:
    sink = SinkStore(10, FakeClock())
    server = SinkServer("127.0.0.1", 0, sink)
    base = f"http://127.0.0.1:{server.port}/sink"
    try:
        assert httpx.get(base).text == ""
        sink.add(delivery("d1"))
        sink.add(delivery("d2"))
        lines = [json.loads(line) for line in httpx.get(f"{base}?after=0&limit=1").text.splitlines()]
        assert [line["delivery_id"] for line in lines] == ["d1"]
        rest = httpx.get(f"{base}?after={lines[0]['n']}").text
        assert json.loads(rest)["delivery_id"] == "d2"
        assert httpx.get(f"{base}/counts").json()["total"] == 2
        assert httpx.get(f"{base}?after=x").status_code == 400
        assert httpx.get(f"http://127.0.0.1:{server.port}/other").status_code == 404
    finally:
        server.close()


def test_a_reader_may_wait_for_the_next_one() -> None:
    sink = SinkStore(10, FakeClock())
    sink.add(delivery("d1"))
    last = sink.read(0, 1)[0].n
    threading.Timer(0.05, lambda: sink.add(delivery("d2"))).start()
    assert [item.delivery_id for item in sink.read(last, 10, wait_s=10)] == ["d2"]
    assert sink.read(last + 1, 10, wait_s=0.01) == []
