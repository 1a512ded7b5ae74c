"""The supervisor over dummy processes: order, restarts, draining, and nothing left running whatever happens to it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import pidfile
from deploy.local.exclusive import StackError, end_leftovers
from deploy.local.processes import Port, Spec
from deploy.local.settings import ROOT, LocalSettings
from deploy.local.supervisor import Supervisor

# Says that it is up, sleeps, and on SIGTERM notes its name in the order file. With `stubborn` it ignores SIGTERM.
DUMMY = """
import pathlib, signal, sys, time
name, folder, how = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
def end(*_):
    with open(folder / "order", "a") as order: order.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if how == "stubborn" else end)
(folder / (name + ".up")).touch()
if how == "fails": sys.exit("cannot work like this")
time.sleep(120)
"""

Make = Callable[..., Supervisor]


def _spec(name: str, folder: Path, how: str = "obedient", **fields: object) -> Spec:
    command = (sys.executable, "-c", DUMMY, name, str(folder), how)
    return Spec(name, command, (folder / f"{name}.up").exists, **fields)  # type: ignore[arg-type]


@pytest.fixture
def settings(tmp_path: Path) -> LocalSettings:
    return LocalSettings(
        state_dir=tmp_path / "state", restart_backoff_s=0.05, ready_timeout_s=20, stop_timeout_s=5, drain_timeout_s=5
    )


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make(settings: LocalSettings, said: list[str], tmp_path: Path) -> Iterator[Make]:
    """Builds supervisors over broker, store, in, out (or given specs); kills what a failed test leaves."""
    built: list[Supervisor] = []

    def build(specs: list[Spec] | None = None, **fields: object) -> Supervisor:
        default = [
            _spec("broker", tmp_path, is_backend=True, is_lasting=True),
            _spec("store", tmp_path, is_backend=True),
            _spec("in", tmp_path),
            _spec("out", tmp_path),
        ]
        built.append(Supervisor(settings, specs or default, os.environ, said.append, **fields))  # type: ignore[arg-type]
        return built[-1]

    yield build
    for supervisor in built:
        supervisor.close()


def _until(condition: Callable[[], object], supervisor: Supervisor | None = None, what: object = "") -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, what
        if supervisor is not None:
            supervisor.tick()
        time.sleep(0.02)


def _pids(supervisor: Supervisor) -> dict[str, int]:
    return {member.spec.name: member.child.pid for member in supervisor.members if member.child}


def _runs(pid: int) -> bool:
    return pidfile.start_ticks(pid) is not None


def test_backends_are_prepared_before_services_start_and_all_stop_in_reverse(make: Make, tmp_path: Path) -> None:
    seen: list[tuple[bool, bool]] = []
    left = [["2 records"], ["1 record"], []]
    order = tmp_path / "order"
    supervisor = make(
        prepare=lambda: seen.append(((tmp_path / "store.up").exists(), (tmp_path / "in.up").exists())),
        pending=lambda: [*left.pop(0), order.read_text().strip()] if len(left) > 1 else [],
    )
    supervisor.start()
    pids = _pids(supervisor)
    assert seen == [(True, False)]
    assert {known.name for known in pidfile.remembered(supervisor.settings.run_dir)} == {"supervisor", *pids}
    assert supervisor.stop()
    supervisor.close()
    assert order.read_text().split() == ["in", "out", "store", "broker"]
    assert not any(_runs(pid) for pid in pids.values())
    assert pidfile.remembered(supervisor.settings.run_dir) == []


def test_a_killed_process_is_started_again_and_counted(make: Make, said: list[str]) -> None:
    supervisor = make()
    supervisor.start()
    before = _pids(supervisor)
    for expected in (1, 2):
        os.kill(_pids(supervisor)["out"], signal.SIGKILL)
        member = supervisor.members[-1]
        _until(lambda: member.restarts == expected and member.state == "running", supervisor, said)  # noqa: B023
    known = {started.name: started for started in pidfile.remembered(supervisor.settings.run_dir)}
    assert known["out"].restarts == 2
    assert known["out"].pid == _pids(supervisor)["out"] != before["out"]
    assert [line for line in said if line.startswith("out ended with -9")]
    assert _pids(supervisor)["in"] == before["in"]


def test_a_process_that_keeps_dying_waits_longer_each_time(make: Make, tmp_path: Path, said: list[str]) -> None:
    supervisor = make([_spec("in", tmp_path), _spec("bad", tmp_path)])
    supervisor.start()
    bad = supervisor.members[-1]
    waits = []
    for _ in range(3):
        assert bad.child is not None
        bad.child.process.kill()
        _until(lambda: bad.state == "restarting", supervisor, said)
        waits.append(bad.backoff_s)
        _until(lambda: bad.child is not None, supervisor, said)
    assert waits == [0.1, 0.2, 0.4]


def test_the_end_of_a_lasting_process_ends_the_stack(make: Make) -> None:
    supervisor = make()
    supervisor.start()
    os.kill(_pids(supervisor)["broker"], signal.SIGKILL)
    with pytest.raises(StackError, match=r"broker ended with -9.*in memory.*gone"):
        _until(lambda: False, supervisor)
    assert not supervisor.stop(drain=False)
    supervisor.close()
    assert _pids(supervisor) == {}


def test_a_stop_that_cannot_drain_says_what_is_left(make: Make, settings: LocalSettings, said: list[str]) -> None:
    short = settings.model_copy(update={"drain_timeout_s": 0.1})
    supervisor = make(pending=lambda: ["rules: profile.changes/2 is 7 behind"])
    supervisor.settings = short
    supervisor.start()
    assert not supervisor.stop()
    assert any("not drained" in line and "7 behind" in line for line in said)
    assert _pids(supervisor) == {}


def test_a_process_that_ignores_sigterm_is_killed(make: Make, settings: LocalSettings, tmp_path: Path) -> None:
    supervisor = make([_spec("in", tmp_path, "stubborn")])
    supervisor.settings = settings.model_copy(update={"stop_timeout_s": 0.2})
    supervisor.start()
    pid = _pids(supervisor)["in"]
    assert not supervisor.stop()
    assert not _runs(pid)


def test_a_process_that_fails_at_start_shows_its_last_words(make: Make, tmp_path: Path) -> None:
    failing = Spec("bad", (sys.executable, "-c", DUMMY, "bad", str(tmp_path), "fails"), lambda: False)
    supervisor = make([_spec("in", tmp_path), failing])
    with pytest.raises(StackError, match=r"bad ended with 1 while starting(?s:.*)cannot work like this"):
        supervisor.start()
    supervisor.close()
    assert _pids(supervisor) == {}


def test_a_taken_port_is_named_with_its_variable(make: Make, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        number = other.getsockname()[1]
        port = Port("TOUCHSTREAM_RULES_METRICS_PORT", "127.0.0.1", number)
        supervisor = make([_spec("in", tmp_path, ports=(port,))])
        with pytest.raises(StackError, match=f"port {number} .* in use.*TOUCHSTREAM_RULES_METRICS_PORT"):
            supervisor.start()


def test_a_second_supervisor_on_the_same_folder_is_refused(make: Make) -> None:
    first = make()
    first.start()
    with pytest.raises(StackError, match=rf"already runs on .* \(pid {os.getpid()}\)"):
        make().start()
    assert len(_pids(first)) == 4


# The supervisor in a process of its own, to be killed: argv = state folder, folder of the dummies.
DRIVER = """
import os, pathlib, sys, time
from deploy.local.processes import Spec
from deploy.local.settings import LocalSettings
from deploy.local.supervisor import Supervisor
state, folder = map(pathlib.Path, sys.argv[1:])
dummy = (folder / "dummy.py").read_text()
specs = [Spec(n, (sys.executable, "-c", dummy, n, str(folder), "stubborn"), (folder / (n + ".up")).exists,
              is_backend=n == "store") for n in ("store", "in", "out")]
supervisor = Supervisor(LocalSettings(state_dir=state), specs, os.environ, print)
supervisor.start()
(folder / "started").touch()
while True:
    supervisor.tick()
    time.sleep(0.05)
"""


@pytest.fixture
def killed(tmp_path: Path, settings: LocalSettings) -> list[pidfile.Started]:
    """What a supervisor had running when it was killed with -9."""
    (tmp_path / "dummy.py").write_text(DUMMY)
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(settings.state_dir), str(tmp_path)], cwd=ROOT)
    _until((tmp_path / "started").exists)
    known = pidfile.remembered(settings.run_dir)
    process.kill()
    process.wait()
    return known


def test_nothing_is_left_when_the_supervisor_is_killed(killed: list[pidfile.Started], make: Make) -> None:
    assert {started.name for started in killed} == {"supervisor", "store", "in", "out"}
    _until(lambda: not any(pidfile.is_running(started) for started in killed), what=killed)
    supervisor = make()
    supervisor.start()
    assert len(_pids(supervisor)) == 4


def test_leftovers_are_ended_and_strangers_with_their_pid_are_not(settings: LocalSettings, said: list[str]) -> None:
    ours = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0)
    left, other = pidfile.observe("rules", ours.pid), pidfile.observe("notify", stranger.pid)
    assert left is not None
    assert other is not None
    pidfile.write(settings.run_dir, left)
    pidfile.write(
        settings.run_dir, pidfile.Started("notify", other.pid, other.start_ticks + 1, other.boot_id, other.command)
    )
    assert end_leftovers(settings, said.append) == 1
    assert ours.wait(5) == -15
    assert stranger.poll() is None
    assert pidfile.remembered(settings.run_dir) == []
    stranger.kill()
    stranger.wait()
