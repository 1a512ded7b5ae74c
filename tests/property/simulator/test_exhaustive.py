"""Two processes of each service, three requests, and a fault at every single point of the run."""

from dataclasses import replace

import pytest

from services.chassis.testing.faults import Fault
from tests.property.simulator.pipeline import fast
from tests.property.simulator.run import run
from tests.property.simulator.workload import Config, Draft, Plan

SMALL = Config(partitions=2, processes=2, batch_most=2, faults=(0, 0), lost_sends=(0, 0))
A, B = "device_id:0", "device_id:1"
BUY, LOOK = "Order Completed", "Page Viewed"


def draft(kind: str, ids: tuple[str, ...], message: str, name: str = LOOK) -> Draft:
    return Draft(kind, ids, message, 0, 1, name, 35, 100)


WORKLOADS = {
    "merge": (draft("event", (A,), "m1", BUY), draft("event", (B,), "m2"), draft("event", (A, B), "m3", BUY)),
    "split": (draft("event", (A, B), "m1", BUY), draft("event", (B,), "m2"), draft("unlink", (A,), "m3")),
    "erase": (draft("event", (A,), "m1", BUY), draft("erase", (A,), "m2"), draft("event", (B, A), "m3", BUY)),
    "duplicate": (draft("event", (A, B), "m1", BUY), draft("event", (B, A), "m1", BUY), draft("event", (A,), "m2")),
}


@pytest.mark.parametrize("kind", ["crash", "zombie"])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_fault_at_any_point_changes_nothing(workload: str, kind: str) -> None:
    plan = Plan(SMALL, 1, WORKLOADS[workload], ())
    with fast():
        undisturbed = run(plan)
        assert undisturbed.wrong == []
        found = {}
        for at in range(1, undisturbed.points + 1):
            result = run(replace(plan, faults=(Fault(at, kind, 60, at),)))
            assert result.struck, "the fault has happened"
            if result.wrong:
                found[at] = result.wrong
    assert found == {}
