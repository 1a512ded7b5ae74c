"""Every customer's log, worked off in pieces, in any interleaving, by processes that come and go."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from services.chassis.errors import Fatal
from tests.property.customer_log.customer_machine import AgeingMachine, CustomerMachine
from tests.property.customer_log.customer_mutants import MUTANTS

# A minute each on two cores that have nothing else to do.
pytestmark = pytest.mark.timeout(900)
CustomerMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
AgeingMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestCustomersAtOneMoment = CustomerMachine.TestCase
TestCustomersThatAge = AgeingMachine.TestCase


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_profile_without_a_safeguard_is_found_out(mutant: Callable[[], AbstractContextManager[None]]) -> None:
    # Fixed and unminimised: this asks whether the machine can fail, not how.
    once = settings(
        max_examples=200, stateful_step_count=40, phases=[Phase.generate], database=None, derandomize=True,
        suppress_health_check=list(HealthCheck), deadline=None, report_multiple_bugs=False, print_blob=False,
    )  # fmt: skip
    twin = type("Mutant", (CustomerMachine,), {})
    with mutant(), pytest.raises((AssertionError, Fatal)):
        run_state_machine_as_test(seed(1)(twin), settings=once)
