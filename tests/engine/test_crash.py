"""The whole engine under power cuts and deaths of its process: nothing acknowledged is lost, nothing is torn."""

from __future__ import annotations

import pytest

from synthians_memory.testing.store_crash import StoreSweep
from synthians_memory.testing.store_scenarios import FULL_DISK, SCENARIOS, StoreScenario

each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
each_room = pytest.mark.parametrize("room_bytes", [0, 5_000, 20_000, 60_000])
LONG = 3600


def named(name: str) -> StoreScenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


@each_scenario
def test_a_crash_at_any_call_loses_nothing_acknowledged(scenario: StoreScenario) -> None:
    assert StoreSweep(scenario).crashes(step=13, seeds=[len(scenario.name)])


@pytest.mark.parametrize("name", ["a transaction", "recovery", "views are logged", "durable at intervals"])
def test_a_crash_of_recovery_from_a_crash_loses_nothing(name: str) -> None:
    assert StoreSweep(named(name)).crashes_of_recovery(step=31, inner_step=13, seeds=[5])


def test_a_crash_loses_nothing_where_files_are_synced_one_by_one() -> None:
    sweep = StoreSweep(named("more files than are held open"), syncs_filesystem=False)
    assert sweep.crashes(step=29, seeds=[2])


@each_room
def test_a_crash_on_a_full_disk_loses_nothing(room_bytes: int) -> None:
    assert StoreSweep(FULL_DISK, room_bytes=room_bytes).crashes(step=17, seeds=[1])


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_scenario
def test_a_crash_at_every_call_loses_nothing_acknowledged(scenario: StoreScenario) -> None:
    assert StoreSweep(scenario).crashes(seeds=range(4))


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_scenario
def test_a_crash_of_every_recovery_loses_nothing(scenario: StoreScenario) -> None:
    assert StoreSweep(scenario).crashes_of_recovery(step=5, inner_step=3, seeds=range(2))


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_scenario
def test_a_crash_at_every_call_loses_nothing_where_files_are_synced_one_by_one(scenario: StoreScenario) -> None:
    assert StoreSweep(scenario, syncs_filesystem=False).crashes(step=3, seeds=[7])


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_room
def test_a_crash_at_every_call_on_a_full_disk_loses_nothing(room_bytes: int) -> None:
    assert StoreSweep(FULL_DISK, room_bytes=room_bytes).crashes(seeds=range(3))
