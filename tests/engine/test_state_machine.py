"""Random histories of a store, its crashes, its disk and what others do to its files, against a dict."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from synthians_memory.testing.outside_machine import OutsideMachine
from synthians_memory.testing.state_machine import StoreMachine

MACHINES = [StoreMachine, OutsideMachine]


def run(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    patient = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    chosen = settings(deadline=None, suppress_health_check=patient, max_examples=examples, stateful_step_count=steps)
    run_state_machine_as_test(machine, settings=chosen)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_store_does_what_a_dict_does(machine: type[RuleBasedStateMachine]) -> None:
    run(machine, 100, 40)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", MACHINES)
def test_a_store_does_what_a_dict_does_for_long(machine: type[RuleBasedStateMachine]) -> None:
    run(machine, 2000, 80)
