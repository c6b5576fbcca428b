"""The whole engine under power cuts and deaths of its process: nothing acknowledged is lost, nothing is torn."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthians_memory.engine.store import Store
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.store_crash import StoreSweep
from synthians_memory.testing.store_history import StoreHistory
from synthians_memory.testing.store_scenarios import (
    FULL_DISK,
    SCENARIOS,
    SMALL_STORE,
    Step,
    StoreScenario,
    memory,
)
from synthians_memory.testing.store_verifier import StoreVerifier
from synthians_memory.testing.stored_files import all_files

each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
each_room = pytest.mark.parametrize("room_bytes", [0, 5_000, 20_000, 60_000])
LONG = 3600


def named(name: str) -> StoreScenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


@each_scenario
def test_a_crash_at_any_call_loses_nothing_acknowledged(scenario: StoreScenario) -> None:
    assert StoreSweep(scenario).crashes(step=29, seeds=[len(scenario.name)])


@pytest.mark.parametrize("name", ["a transaction", "recovery", "views are logged", "durable at intervals"])
def test_a_crash_of_recovery_from_a_crash_loses_nothing(name: str) -> None:
    assert StoreSweep(named(name)).crashes_of_recovery(step=43, inner_step=29, seeds=[5])


def test_a_crash_loses_nothing_where_files_are_synced_one_by_one() -> None:
    sweep = StoreSweep(named("more files than are held open"), syncs_filesystem=False)
    assert sweep.crashes(step=41, seeds=[2])


@each_room
def test_a_crash_on_a_full_disk_loses_nothing(room_bytes: int) -> None:
    assert StoreSweep(FULL_DISK, room_bytes=room_bytes).crashes(step=31, seeds=[1])


@each_scenario
def test_the_verifier_serves_a_real_disk_too(scenario: StoreScenario, tmp_path: Path) -> None:
    """Here a life ends as by the death of its process, and the next begins with what the system has in its cache."""

    def again(_: Backend) -> Backend:
        return LocalBackend(tmp_path / "store", create=True)

    def next_life(backend: Backend) -> Backend:
        backend.close()
        return again(backend)

    history = StoreHistory()
    with scenario.thresholds():
        for live in (scenario.prepare, scenario.run):
            backend = LocalBackend(tmp_path / "store", create=True)
            live(backend, history)
            backend.close()
        StoreVerifier(scenario.config, next_life, again).verify(again(backend), history)


@pytest.mark.parametrize("before", [(), (lambda driven: driven.save(memory("m0")),)], ids=["empty", "with a memory"])
def test_a_store_that_is_only_opened_and_closed_stays_as_it_is(before: tuple[Step, ...]) -> None:
    disk = FaultyDisk()
    StoreScenario("made", (), (*before, lambda driven: driven.checkpoint())).prepare(
        FaultyBackend(disk), StoreHistory()
    )
    made = all_files(FaultyBackend(disk))
    for _ in range(3):
        Store.open(FaultyBackend(disk), SMALL_STORE, ManualClock()).close()
    assert all_files(FaultyBackend(disk)) == made


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_scenario
def test_a_crash_at_every_call_loses_nothing_acknowledged(scenario: StoreScenario) -> None:
    assert StoreSweep(scenario).crashes(seeds=range(4))


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_scenario
def test_a_crash_of_every_recovery_loses_nothing(scenario: StoreScenario) -> None:
    assert StoreSweep(scenario).crashes_of_recovery(step=11, inner_step=5, seeds=range(2))


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
