"""The same seed means the same requests and the same faults; every fault that the file names can be injected."""

from tests.chaos.rig import nemeses
from tests.chaos.rig.run import parse_seeds
from tests.chaos.rig.schedule import Fault, load_schedule
from tests.chaos.rig.workload import Manners, Plan

NOW_MS = 1_800_000_000_000


def plan(seed: int) -> Plan:
    shape = load_schedule().shapes["single"]
    return Plan(seed, f"s{seed}.", shape.scenes, NOW_MS, Manners())


def test_a_seed_always_chooses_the_same_shape_and_faults() -> None:
    one, other = load_schedule(), load_schedule()
    for seed in range(50):
        shape = one.shape_of(seed)
        assert shape == other.shape_of(seed)
        assert one.faults_of(seed, shape) == other.faults_of(seed, shape)


def test_a_seed_always_sends_the_same_requests() -> None:
    assert plan(7).batches == plan(7).batches
    assert plan(7).lines == plan(7).lines
    assert plan(7).batches != plan(8).batches


def test_every_fault_of_the_schedule_is_one_that_can_be_injected() -> None:
    schedule = load_schedule()
    assert {kind.name for kind in schedule.kinds} == nemeses.KINDS


def test_a_campaign_meets_every_kind_of_fault_and_every_shape() -> None:
    schedule = load_schedule()
    shapes = {seed: schedule.shape_of(seed) for seed in range(1, 301)}
    faults = [fault for seed, shape in shapes.items() for fault in schedule.faults_of(seed, shape)]
    assert {shape.name for shape in shapes.values()} == set(schedule.shapes)
    assert {fault.kind for fault in faults} == {kind.name for kind in schedule.kinds}


def test_results_count_a_fault_by_kind_and_service_not_by_replica() -> None:
    assert Fault("kill", "identity-2", 0, 0, 0).label == "kill identity"
    assert Fault("cut", "archive-1:clickhouse", 0, 0, 0).label == "cut archive:clickhouse"
    assert Fault("kill-backend", "kafka-all", 0, 0, 0).label == "kill-backend kafka-all"


def test_seeds_are_numbers_and_ranges() -> None:
    assert parse_seeds("1-3,9") == [1, 2, 3, 9]
