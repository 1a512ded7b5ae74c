"""Start and stop of a process, with real signals."""

import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from services.chassis.errors import Fatal, Retriable
from services.chassis.run import Stop, run
from services.chassis.settings import SettingsError

DRAINS = """
import sys, time
from services.chassis.run import run
def main(stop):
    print("up", flush=True)
    stop.wait()
    print("draining", flush=True)
    {drain}
    print("done", flush=True)
sys.exit(run(main))
"""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """run() installs handlers in this process too."""
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains(start: Callable[[str], "subprocess.Popen[str]"], number: signal.Signals) -> None:
    process = start(DRAINS.format(drain="pass"))
    assert line(process) == "up"
    process.send_signal(number)
    assert [line(process), line(process)] == ["draining", "done"]
    assert process.wait(10) == 0


def test_the_second_signal_exits_at_once(start: Callable[[str], "subprocess.Popen[str]"]) -> None:
    process = start(DRAINS.format(drain="time.sleep(60)"))
    assert line(process) == "up"
    process.send_signal(signal.SIGTERM)
    assert line(process) == "draining"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130


@pytest.mark.parametrize(
    ("error", "code"), [(SettingsError("wrong"), 2), (Fatal("cannot go on"), 1), (Retriable("Kafka is away"), 1)]
)
def test_what_ends_a_process_is_its_exit_code(error: Exception, code: int) -> None:
    def main(stop: Stop) -> None:
        raise error

    assert run(main) == code


def test_a_bug_is_not_dressed_up() -> None:
    def main(stop: Stop) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)


def test_a_normal_end_is_zero() -> None:
    assert run(lambda stop: None) == 0
