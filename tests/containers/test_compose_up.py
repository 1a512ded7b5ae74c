"""`docker compose up` brings up the whole product: one event goes in, a customer and a delivered trigger come out."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from testcontainers.compose import DockerCompose

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1_800)]

REPO = Path(__file__).resolve().parents[2]
METRICS_PORTS = range(9101, 9107)
CLICKHOUSE = "http://127.0.0.1:18123/?database=touchstream"
Wait = Callable[[Callable[[], bool], str], None]


@pytest.fixture(scope="module")
def product(engine: None, wait: Wait) -> Iterator[None]:
    """The compose file as it is, with fewer partitions so that a laptop starts it soon; its volumes go at the end."""
    os.environ["TOUCHSTREAM_PARTITIONS"] = "4"
    with DockerCompose(str(REPO), build=True, wait=False):
        for port in METRICS_PORTS:
            url = f"http://127.0.0.1:{port}/readyz"
            wait(lambda url=url: httpx.get(url, timeout=2).status_code == 200, f"{url} says ready")  # type: ignore[misc]
        yield


def ask(sql: str) -> str:
    answer = httpx.post(
        CLICKHOUSE, params={"database": "touchstream"}, content=sql, auth=("touchstream", "touchstream")
    )
    answer.raise_for_status()
    return answer.text.strip()


@pytest.mark.usefixtures("product")
def test_a_registration_becomes_a_customer_and_a_delivered_trigger(wait: Wait) -> None:
    message_id = str(uuid.uuid4())
    event = {
        "messageId": message_id,
        "userId": f"u-{message_id}",
        "event": "Registered",
        "context": {"traits": {"email": f"{message_id}@example.org"}},
    }
    for _ in range(2):  # as an SDK does whose answer was lost
        answer = httpx.post("http://127.0.0.1:8080/v1/track", json=event, auth=("local", ""), timeout=30)
        assert answer.status_code == 200, answer.text
    stored = f"FROM events WHERE event_id = '{message_id}'"
    wait(lambda: ask(f"SELECT count() {stored}") == "1", "the event is in ClickHouse")
    customer = ask(f"SELECT customer_id {stored}")
    wait(lambda: ask(f"SELECT count() FROM customers WHERE customer_id = '{customer}'") == "1", "the customer is there")
    delivered = f"SELECT count() > 0 FROM deliveries WHERE customer_id = '{customer}' AND status = 'delivered'"
    wait(lambda: ask(delivered) == "1", "a trigger was delivered")
    assert ask(f"SELECT count() {stored}") == "1"


@pytest.mark.usefixtures("product")
def test_prometheus_sees_every_service(wait: Wait) -> None:
    def all_up() -> bool:
        answer = httpx.get("http://127.0.0.1:9090/api/v1/query", params={"query": 'sum(up{job="touchstream"})'})
        return bool(answer.json()["data"]["result"][0]["value"][1] == str(len(METRICS_PORTS)))

    wait(all_up, "all services are scraped")
