"""The operations port: ready when every component that spoke is well."""

from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from services.chassis.health import Health, OpsServer


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def url(health: Health) -> Iterator[str]:
    registry = CollectorRegistry()
    Counter("touchstream_test_things", "things", registry=registry).inc(3)
    server = OpsServer("127.0.0.1", 0, health, registry)
    yield f"http://127.0.0.1:{server.port}"
    server.close()


def test_nobody_spoke_so_it_is_not_ready(health: Health, url: str) -> None:
    assert not health.ready
    assert httpx.get(f"{url}/readyz").status_code == 503
    assert httpx.get(f"{url}/healthz").json() == {"alive": True}


def test_ready_follows_the_components(health: Health, url: str) -> None:
    health.set("kafka", True, "4 partitions assigned")
    health.set("redis", True)
    assert httpx.get(f"{url}/readyz").status_code == 200
    health.set("redis", False, "no answer")
    answer = httpx.get(f"{url}/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "components": {"kafka": {"ok": True, "detail": "4 partitions assigned"},
                       "redis": {"ok": False, "detail": "no answer"}},
    }  # fmt: skip
    health.set("redis", True)
    assert httpx.get(f"{url}/readyz").json()["ready"] is True


def test_metrics_are_prometheus_text(url: str) -> None:
    answer = httpx.get(f"{url}/metrics?name[]=x")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "touchstream_test_things_total 3.0" in answer.text


def test_other_paths_say_what_there_is(url: str) -> None:
    answer = httpx.get(f"{url}/")
    assert (answer.status_code, answer.text) == (404, "try /metrics, /healthz or /readyz\n")


def test_a_closed_port_is_free_again(health: Health) -> None:
    server = OpsServer("127.0.0.1", 0, health)
    port = server.port
    with pytest.raises(OSError, match="in use"):
        OpsServer("127.0.0.1", port, health)
    server.close()
    OpsServer("127.0.0.1", port, health).close()
