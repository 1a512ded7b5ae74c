"""Failpoints: what is refused, when a point acts, how, and what it costs while none is armed."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from services.chassis import failpoints
from services.chassis.failpoints import FailpointError, fp, fp_async
from services.chassis.settings import SettingsError
from services.chassis.testing.waiting import wait_for

ARMED = """
from services.chassis.failpoints import configure, fp
from services.chassis.logs import configure_logs
configure_logs("identity")
configure("identity.before_apply={}", "identity")
"""


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.configure("", "identity")


def test_a_step_acts_at_its_hit_and_only_then() -> None:
    failpoints.configure("identity.before_apply=raise@2, identity.after_apply=raise", "identity")
    fp("before_apply")
    with pytest.raises(FailpointError, match="before_apply"):
        fp("before_apply")
    fp("before_apply")
    with pytest.raises(FailpointError):
        fp("after_apply")
    fp("before_poll")


def test_a_step_raises_what_its_driver_raises() -> None:
    failpoints.configure("identity.before_apply=raise", "identity")
    with pytest.raises(ConnectionError, match="failpoint before_apply"):
        fp("before_apply", ConnectionError)


def test_points_of_other_services_are_not_armed_and_may_stand_there() -> None:
    failpoints.configure("archive.after_insert=raise,profile.before_apply=raise", "identity")
    fp("after_insert")
    fp("before_apply")


@pytest.mark.parametrize(
    "text",
    ["{}", "{}=explode", "{}=", "{}=raise@x", "{}=kill@0", "{}=sleep", "{}=sleep:x", "{}=sleep:"],
)
def test_a_form_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="expected name=action"):
        failpoints.configure(text.format("identity.before_apply"), "identity")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("identity.before_aply", "did you mean identity.before_apply"),
        ("identiti.before_apply", "did you mean identity.before_apply"),
        ("before_apply", "no such failpoint"),
        ("identity.before_accept", "no such failpoint"),
    ],
)
def test_a_name_that_is_none_is_refused(name: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name}: no such failpoint.*{hint}|{hint}"):
        failpoints.configure(f"{name}=kill", "identity")


def test_a_refused_text_stops_a_service_at_its_start() -> None:
    env = {"TOUCHSTREAM_FAILPOINTS": "rules.before_aply=kill", "TOUCHSTREAM_RULES_METRICS_PORT": "0"}
    done = subprocess.run([sys.executable, "-m", "services.rules"], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    line = json.loads(done.stderr.splitlines()[-1])
    assert line["event"] == "settings.refused"
    assert "rules.before_aply: no such failpoint; did you mean rules.before_apply?" in line["text"]


def test_a_step_that_the_catalogue_does_not_give_the_service_is_reported_once(
    start: Callable[[str], "subprocess.Popen[str]"],
) -> None:
    process = start(ARMED.format("kill") + "fp('before_accept'); fp('before_accept'); fp('before_poll')")
    _, errors = process.communicate(timeout=60)
    assert [json.loads(line)["step"] for line in errors.splitlines() if "unlisted" in line] == ["before_accept"]


def test_a_point_that_kills_says_so_first(start: Callable[[str], "subprocess.Popen[str]"]) -> None:
    code = ARMED.format("kill@3") + "for i in range(5): print(i, flush=True); fp('before_apply')"
    process = start(code)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (-signal.SIGKILL, "0\n1\n2\n")
    hit = json.loads(errors.splitlines()[-1])
    assert hit == {
        "level": "warning", "event": "failpoint.hit", "step": "before_apply", "action": "kill", "hit": 3,
    }  # fmt: skip


def test_a_point_that_stands_still_goes_on_when_it_is_continued(
    start: Callable[[str], "subprocess.Popen[str]"],
) -> None:
    process = start(ARMED.format("stop") + "fp('before_apply'); print('awake', flush=True)")

    def state() -> bool:
        with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
            return file.read().split()[2] == "T"

    wait_for(state, "the process stands still")
    process.send_signal(signal.SIGCONT)
    assert process.stdout is not None
    assert process.stdout.readline() == "awake\n"


def test_a_sleep_blocks_the_thread_or_only_the_task() -> None:
    failpoints.configure("identity.before_apply=sleep:80,identity.after_apply=sleep:80", "identity")
    began = time.monotonic()
    fp("before_apply")
    assert time.monotonic() - began >= 0.08

    async def both() -> list[str]:
        order: list[str] = []

        async def sleeper() -> None:
            await fp_async("after_apply")
            order.append("slept")

        async def other() -> None:
            order.append("went on")

        await asyncio.gather(sleeper(), other())
        return order

    assert asyncio.run(both()) == ["went on", "slept"]


def test_an_unarmed_step_does_nothing_but_look_whether_any_is_armed(monkeypatch: pytest.MonkeyPatch) -> None:
    failpoints.configure("", "identity")
    monkeypatch.setattr(failpoints, "_act", lambda *values: pytest.fail("an unarmed step went further"))
    fp("before_apply")
    assert list(fp_async("before_apply").__await__()) == []
