"""Start and stop of a process, with real signals."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from services.chassis import failpoints
from services.chassis.errors import Fatal, Retriable
from services.chassis.failpoints import FailpointError, fp
from services.chassis.run import Stop, run
from services.chassis.settings import SettingsError
from services.chassis.testing.waiting import wait_for

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


@pytest.fixture
def start() -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """run() installs handlers in this process too."""
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)
    failpoints.configure("")


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


# -- failpoints
ARMED = "from services.chassis.failpoints import configure, fp\n"


def test_unarmed_points_do_nothing() -> None:
    failpoints.configure("")
    fp("identity.after_apply")


def test_a_point_acts_at_its_hit_and_only_then() -> None:
    failpoints.configure("a.b=raise@2, c.d=raise")
    fp("a.b")
    with pytest.raises(FailpointError, match=r"a\.b"):
        fp("a.b")
    fp("a.b")
    with pytest.raises(FailpointError):
        fp("c.d")
    fp("other")


@pytest.mark.parametrize("text", ["a.b", "a.b=explode", "a.b=", "a.b=raise@x"])
def test_a_point_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"failpoint|invalid literal"):
        failpoints.configure(text)


def test_a_point_that_kills(start: Callable[[str], "subprocess.Popen[str]"]) -> None:
    process = start(f"{ARMED}configure('x=kill@3')\nfor i in range(5): print(i, flush=True); fp('x')")
    assert process.wait(10) == -signal.SIGKILL
    assert [line(process) for _ in range(4)] == ["0", "1", "2", ""]


def test_a_point_that_stands_still_goes_on_when_it_is_continued(
    start: Callable[[str], "subprocess.Popen[str]"],
) -> None:
    process = start(
        "from services.chassis.failpoints import *\nconfigure('x=stop')\nfp('x'); print('awake', flush=True)"
    )

    def state() -> bool:
        with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
            return file.read().split()[2] == "T"

    wait_for(state, "the process stands still")
    process.send_signal(signal.SIGCONT)
    assert line(process) == "awake"
