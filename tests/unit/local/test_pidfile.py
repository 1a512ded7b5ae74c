"""Only processes that are provably ours are ever signalled."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local import pidfile


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def _observed(process: "subprocess.Popen[bytes]") -> pidfile.Started:
    started = pidfile.observe("sleeper", process.pid, restarts=3)
    assert started is not None
    return started


def test_what_is_written_down_is_found_again(sleeper: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    started = _observed(sleeper)
    pidfile.write(tmp_path, started)
    (tmp_path / "broken.json").write_text("{not json")
    (tmp_path / "foreign.json").write_text('{"pid": 1}')
    assert pidfile.remembered(tmp_path) == [started]
    assert pidfile.is_running(started)
    pidfile.forget(tmp_path, "sleeper")
    pidfile.forget(tmp_path, "sleeper")
    assert pidfile.remembered(tmp_path) == []


def test_a_process_that_merely_has_the_same_pid_is_left_alone(sleeper: "subprocess.Popen[bytes]") -> None:
    started = _observed(sleeper)
    for other in (
        replace(started, start_ticks=started.start_ticks - 1),
        replace(started, command=["/usr/bin/something-else"]),
        replace(started, boot_id="another boot"),
        replace(started, pid=2**22 + 1),
    ):
        assert not pidfile.is_running(other)
        assert not pidfile.end(other, timeout_s=0.1)
    assert sleeper.poll() is None


def test_our_process_is_ended_even_when_it_ignores_sigterm(tmp_path: Path) -> None:
    code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, process_group=0)
    assert process.stdout is not None
    process.stdout.read(1)
    assert pidfile.end(_observed(process), timeout_s=0.1)
    assert process.wait(5) == -9
    process.stdout.close()


def test_an_ended_process_that_nobody_has_waited_for_is_not_running() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = _observed(process)
    process.kill()
    assert pidfile.wait_gone(started, 5)
    assert os.path.exists(f"/proc/{process.pid}")
    process.wait()
    assert process.stdin is not None
    process.stdin.close()
