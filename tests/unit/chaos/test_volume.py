"""A full volume takes nothing, and everything again once there is space."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.rig.volume import Volume


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    volume = Volume(tmp_path / "disk", 1 << 20)
    volume.open()
    yield volume
    volume.close()
    assert list((tmp_path / "disk").iterdir()) == []


def test_a_full_volume_refuses_and_keeps_what_it_had(volume: Volume) -> None:
    file = volume.folder / "data"
    file.write_bytes(b"before" * 1_000)
    volume.fill()
    assert volume.free_bytes() == 0
    with pytest.raises(OSError, match="No space left") as refused:
        (volume.folder / "more").write_bytes(b"x" * 5_000)
    assert refused.value.errno == errno.ENOSPC
    assert file.read_bytes() == b"before" * 1_000


def test_space_that_is_given_back_can_be_used(volume: Volume) -> None:
    volume.fill()
    volume.free()
    assert volume.free_bytes() == 1 << 20
    (volume.folder / "more").write_bytes(b"x" * 500_000)
