"""The gauge `waiting_customers`, and with it an alert, spoke of customers that had gone on long before."""

import pytest
from prometheus_client import REGISTRY

from services.chassis.redis.slots import Slot
from services.chassis.testing.fake_ledger import FakeLedger
from services.profile.handler import ProfileHandler
from services.rules.handler import RulesHandler
from tests.unit.profile.profile_builders import CONFIG
from tests.unit.rules.test_rules_handler import World

PARTITION = 3


def open_handler(service: str, waits: dict[str, str]) -> object:
    if service == "profile":
        return ProfileHandler(Slot(service, PARTITION), FakeLedger(), waits, CONFIG, 4, lambda: None, 0)
    world = World()
    return RulesHandler(Slot(service, PARTITION), world, waits, lambda: world.rules, world.wire)


def shown(service: str) -> float | None:
    return REGISTRY.get_sample_value(f"touchstream_{service}_waiting_customers", {"partition": str(PARTITION)})


@pytest.mark.parametrize("service", ["profile", "rules"])
def test_the_gauge_says_who_waits_now_also_on_an_idle_partition(service: str) -> None:
    waits = {"anna": "key"}  # as in the claim: apply changes it after the decision
    handler = open_handler(service, waits)
    assert shown(service) == 1
    waits.clear()
    assert shown(service) == 0, handler


@pytest.mark.parametrize("service", ["profile", "rules"])
def test_a_partition_that_was_given_away_has_nobody_waiting_here(service: str) -> None:
    handler = open_handler(service, {"anna": "key"})
    again = open_handler(service, {"anna": "key", "bert": "key"})
    del handler
    assert shown(service) == 2, "the newest claim counts"
    del again
    assert shown(service) == 0
