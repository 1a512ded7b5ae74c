"""Another number of partitions than the topics have."""

from unittest.mock import patch

import pytest

from services.chassis.errors import Fatal
from services.chassis.kafka import loop, reader
from services.chassis.testing.fake_kafka import FakeClient
from services.chassis.testing.simulation import Simulation, loop_metrics
from tests.unit.chassis.test_loop import SERVICE


@pytest.mark.parametrize("told", [1, 3, 64])
def test_a_start_with_another_number_of_partitions_is_refused(told: int) -> None:
    """Keys went to partitions whose owner had never seen them: customers' logs had holes, and nothing said why."""
    simulation = Simulation([SERVICE], 1)
    process = simulation.processes[0]
    settings = process.loop.settings.model_copy(update={"partitions": told})
    client = FakeClient(simulation.broker, process, process.point, simulation.pass_time, SERVICE.partitions)
    patches = patch.object(reader, "client", client), patch.object(loop, "offsets", client)
    with patches[0], patches[1], pytest.raises(Fatal, match=f"has 2 partitions.* is {told}"):
        loop.Loop(SERVICE.config, settings, process.ledger, process.loop.owned.open_worker, loop_metrics("loop"))
    simulation.close()
