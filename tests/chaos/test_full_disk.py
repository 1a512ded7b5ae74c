"""A full disk: refused with an error, nothing that was answered is lost, and all goes on once there is space."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.chassis.redis.client import sync_client
from services.chassis.testing.waiting import wait_for
from tests.chaos.rig.local_valkey import Valkey
from tests.chaos.rig.script_writer import writers
from tests.chaos.rig.volume import Volume


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Volume]:
    volume = Volume(tmp_path / "valkey", 8 << 20)
    volume.open()
    yield volume
    volume.close()


def test_valkey_on_a_full_disk_refuses_and_keeps_what_it_answered(tmp_path: Path, disk: Volume) -> None:
    server = Valkey(tmp_path)
    server.start()
    with writers(server.port) as threads:
        disk.fill()
    # With `always` it cannot take back what it has executed and not written: it ends instead, having answered nobody.
    wait_for(lambda: not server.is_running(), "Valkey ends on a full disk")
    assert "Can't recover from AOF write error" in server.log.read_text()
    disk.free()
    server.start()
    with sync_client(server.url) as client:
        for thread in threads:
            thread.check(client)
    with writers(server.port, first=10):
        server.kill()
