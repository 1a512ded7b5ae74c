"""Whom `tags backfill` counts as done: nobody who waits in profile's customer log, from the start or since the run."""

import msgspec
import pytest

from cli.tags import backfill
from cli.tags.backfill import Backfill
from services.profile.core.customer_log import CustomerState
from services.profile.core.state import Conclusion
from tests.unit.profile.profile_builders import CONFIG, part_of, purchase

encode = msgspec.msgpack.Encoder().encode


class Profile:
    """Redis, and what the running profile makes of what is laid before it."""

    def __init__(self, work, **states):
        self.states, self._work = states, work
        self.laid = 0

    def mget(self, keys):
        names = [key.rpartition(":c:")[2] if ":c:" in key else "" for key in keys]
        return [encode(self.states[name]) if name else None for name in names]

    def set(self, key, value, nx):
        assert nx
        self.laid += 1
        self._work(self.states)


def state(defined="old", wait=""):
    part = part_of(purchase(3))
    return CustomerState(5, 5, {"n:1": part}, Conclusion({}, "first_purchase", 0, defined), {}, wait)


def judged(states, *names):
    for name in names:
        states[name] = state(CONFIG.catalogue.version)


def ran(monkeypatch, redis):
    """(done, left by whether they wait) of a run over everybody."""
    for name in ("POLL_S", "PATIENCE_S"):
        monkeypatch.setattr(backfill, name, 0.0)
    monkeypatch.setattr(backfill, "scan_keys", lambda *_: [[f"x:c:{name}".encode() for name in redis.states]])
    work = Backfill(redis, None, CONFIG, 1)
    done = []
    left = work.run(work.left(), done.append)
    return sum(done), {one.customer_id: one.waits for one in left}


def test_who_waits_is_left_and_named(monkeypatch):
    redis = Profile(lambda states: judged(states, "bert"), anna=state(wait="give:x"), bert=state())
    assert ran(monkeypatch, redis) == (1, {"anna": True})


def test_nothing_is_laid_before_profile_for_those_who_wait(monkeypatch):
    redis = Profile(lambda states: None, anna=state(wait="give:x"))
    assert ran(monkeypatch, redis) == (0, {"anna": True})
    assert redis.laid == 0


def test_who_begins_to_wait_during_the_run_is_not_done(monkeypatch):
    redis = Profile(lambda states: states.update(anna=state(wait="give:x")), anna=state())
    assert ran(monkeypatch, redis) == (0, {"anna": True})


def test_who_does_not_get_on_without_waiting_is_left_too(monkeypatch):
    assert ran(monkeypatch, Profile(lambda states: None, anna=state())) == (0, {"anna": False})


@pytest.mark.parametrize("wait", ["", "give:x"])
def test_who_is_judged_by_this_file_already_is_owed_nothing(monkeypatch, wait):
    redis = Profile(lambda states: None, anna=state(CONFIG.catalogue.version, wait))
    assert ran(monkeypatch, redis) == (0, {})
