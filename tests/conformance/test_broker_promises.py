"""What every broker that we run on may be trusted with; where one may not, that is written down here and in README.

A limit that disappears turns its test red, so that the texts which name it are mended too.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Literal

import pytest

from cli.broker import own_broker
from services.chassis.kafka.trust.probe import Probe
from services.chassis.kafka.trust.promises import PROMISES, Promise

Kind = Literal["tansu", "apache"]
# Promise → what Tansu 0.6 does instead.
TANSU = {
    "too-large": "max.message.bytes is kept as a setting and ignored",
    "stamps": "LogAppendTime is kept as a setting and ignored: records carry their writer's time",
    "aborted": "what an aborted transaction wrote is visible",
    "ends": "ListOffsets answers the place after the first record of the last batch",
    "beyond": "a reader behind the end hears nothing",
    "deleted": "records cannot be deleted",
    "records-survive": "topics are in memory",
    "commits-survive": "topics are in memory",
}
# Seen to be broken now and then (README, what the local stack does not promise), so a test can ask neither way.
UNSTEADY = {("tansu", "two-writers")}


def cases() -> Iterator[object]:
    kinds: tuple[Kind, ...] = ("tansu", "apache")
    for kind in kinds:
        for promise in PROMISES:
            marks = [pytest.mark.kafka] if kind == "apache" else []
            limit = TANSU.get(promise.name) if kind == "tansu" else None
            if limit:
                marks.append(pytest.mark.xfail(strict=True, reason=f"Tansu 0.6: {limit}"))
            if (kind, promise.name) not in UNSTEADY:
                yield pytest.param(kind, promise, marks=marks, id=f"{kind}-{promise.name}")


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Kind, Probe]]:
    """One broker of each kind, started when the first test asks for it."""
    with ExitStack() as stack:

        class Started(dict[Kind, Probe]):
            def __missing__(self, kind: Kind) -> Probe:
                self[kind] = stack.enter_context(own_broker(tmp_path_factory.mktemp(kind), kind))
                return self[kind]

        yield Started()


@pytest.mark.parametrize(("kind", "promise"), list(cases()))
def test_a_broker_keeps_its_promises(brokers: dict[Kind, Probe], kind: Kind, promise: Promise) -> None:
    promise.trial(brokers[kind])


def test_every_limit_that_is_written_down_is_one_of_a_promise() -> None:
    assert set(TANSU) <= {promise.name for promise in PROMISES}
