"""Random histories of a store, its crashes and its disk, against a dict."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from synthians_memory.testing.state_machine import StoreMachine

PATIENT = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
)


def test_a_store_does_what_a_dict_does() -> None:
    run_state_machine_as_test(StoreMachine, settings=settings(PATIENT, max_examples=40, stateful_step_count=30))


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_store_does_what_a_dict_does_for_long() -> None:
    run_state_machine_as_test(StoreMachine, settings=settings(PATIENT, max_examples=1500, stateful_step_count=60))
