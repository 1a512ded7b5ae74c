"""What a power loss may cost: with `appendfsync always` nothing that was answered, and never half a script."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from services.chassis.redis.client import sync_client
from tests.chaos.rig import local_valkey
from tests.chaos.rig.local_valkey import Valkey
from tests.chaos.rig.power import Cut, lose_last_second, lose_power
from tests.chaos.rig.proxy import Proxy
from tests.chaos.rig.script_writer import writers


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    with local_valkey.running(tmp_path) as server:
        yield server


@pytest.mark.parametrize("cut", Cut)
def test_what_was_answered_survives_and_scripts_stay_whole(server: Valkey, cut: Cut) -> None:
    proxy, random = Proxy(0, ("127.0.0.1", server.port)), Random(3)
    losses = []
    for _ in range(6):
        with sync_client(server.url) as client:
            client.flushall()
        with writers(proxy.port) as threads:
            losses.append(lose_power(server.victim, [proxy], cut, random))
        server.start()
        with sync_client(server.url) as client:
            for thread in threads:
                thread.check(client)
    proxy.close()
    assert all(loss.written > loss.synced for loss in losses), "every time something was written and not answered"
    assert (sum(loss.transactions_lost for loss in losses) > 0) == (cut is not Cut.NOTHING)
    assert "Truncated" not in server.log.read_text() or cut in (Cut.INSIDE, Cut.BORDER)


def test_a_cut_inside_a_script_drops_it_whole(server: Valkey) -> None:
    proxy = Proxy(0, ("127.0.0.1", server.port))
    with writers(proxy.port, count=1) as (writer,):
        loss = lose_power(server.victim, [proxy], Cut.INSIDE, Random(1))
    server.start()
    with sync_client(server.url) as client:
        writer.check(client)
        assert int(client.get(writer.keys[0]) or 0) == writer.answered
    assert loss.synced < loss.kept < loss.written
    proxy.close()


def test_without_traffic_nothing_is_lost(server: Valkey) -> None:
    with sync_client(server.url) as client:
        client.set("a", "1")
    loss = lose_power(server.victim, [], Cut.LAST_ANSWER, Random(0))
    assert loss.written == loss.kept == loss.synced
    server.start()
    with sync_client(server.url) as client:
        assert client.get("a") == b"1"


def test_everysec_really_loses_what_was_answered(tmp_path: Path) -> None:
    with local_valkey.running(tmp_path, appendfsync="everysec") as server:
        with writers(server.port) as threads:
            loss = lose_last_second(server.victim)
        server.start()
        with sync_client(server.url) as client:
            lost = sum(thread.answered - int(client.get(thread.keys[0]) or 0) for thread in threads)
    assert lost > 100
    assert loss.transactions_lost >= lost
