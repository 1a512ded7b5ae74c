"""The ledger, the relay, the loop and accept survive everything that a machine thinks of; and it can tell if not."""

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from services.chassis.errors import Fatal
from services.chassis.kafka import relay
from tests.property.ledger.ledger_machine import LedgerMachine
from tests.property.ledger.ledger_mutants import LEDGERS, SERVERS, GoesOnAfterAFailure

LedgerMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestLedgerThatCrashes = LedgerMachine.TestCase


def is_found_out(**parts: Any) -> bool:
    """Whether the machine fails with these classes in place of the right ones."""
    mutant = type("Mutant", (LedgerMachine,), parts)
    # Fixed and unminimised: this asks whether the machine can fail, not how.
    once = settings(
        max_examples=300, stateful_step_count=40, phases=[Phase.generate], database=None,
        suppress_health_check=list(HealthCheck), deadline=None, report_multiple_bugs=False, print_blob=False,
    )  # fmt: skip
    for start in range(1, 9):  # a rare coincidence may need another beginning; the right classes survive all of them
        try:
            run_state_machine_as_test(seed(start)(mutant), settings=once)
        except (AssertionError, Fatal):
            return True
    return False


@pytest.mark.parametrize("mutant", SERVERS)
def test_a_server_without_a_safeguard_is_found_out(mutant: type) -> None:
    assert is_found_out(server_class=mutant)


@pytest.mark.parametrize("mutant", LEDGERS)
def test_a_ledger_without_a_safeguard_is_found_out(mutant: type) -> None:
    assert is_found_out(ledger_class=mutant)


def test_a_relay_that_goes_on_after_a_failure_is_found_out() -> None:
    with patch.object(relay, "Relay", GoesOnAfterAFailure):
        assert is_found_out()
