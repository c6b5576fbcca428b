"""An import from elsewhere that is cut off, or meets a failing disk, at any call: it goes on, and nothing is lost or twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from legacy_stores import footprint, later_layout, memory, write

from synthians_memory.engine.import_chunk import ImportOptions
from synthians_memory.engine.store import Store
from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.layout import NOT_IMPORTED
from synthians_memory.maintenance.legacy.report import LegacyReport
from synthians_memory.maintenance.legacy.synthians import conveyor_of
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import Fault
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import POWER_CUTS, Policy
from synthians_memory.testing.store_history import observe
from synthians_memory.testing.store_scenarios import SMALL_STORE
from synthians_memory.testing.sweep import for_each_crash, for_each_fault

OPTIONS = ImportOptions(2, None, overwrite=False, stop_on_error=False)
BROKEN = {"memories/cut.json": b'{"id": "c', "memories/list.json": b"[]"}


class Import:
    """One import, over and over again into what is left."""

    def __init__(self, root: Path) -> None:
        source = later_layout(root)
        write(source, "memories/refused.json", memory("no\0id"))
        for path, data in BROKEN.items():
            write(source, path, data)
        self.source = LocalBackend(source)
        self.expected = 5

    def run(self, backend: Backend) -> LegacyReport:
        store = Store.open(backend, SMALL_STORE, ManualClock())
        try:
            report = conveyor_of(store, self.source, OPTIONS).run()
            store.close()
        finally:
            store.release()
        return report


@pytest.fixture
def job(tmp_path: Path) -> Import:
    return Import(tmp_path / "old")


def settled(job: Import) -> Callable[[FaultyBackend, Policy], None]:
    def verify(backend: FaultyBackend, then: Policy) -> None:
        report = job.run(FaultyBackend(backend.disk))
        assert report.imported + report.skipped == job.expected
        lost_nothing = FaultyBackend(backend.disk.crash(then))
        for problem in report.not_imported:
            assert lost_nothing.read(f"{problem.kept}/original") == BROKEN[problem.path]
            assert lost_nothing.read(f"{problem.kept}/reason.json")
        assert len(list(lost_nothing.scan(NOT_IMPORTED))) == len(BROKEN) == len(report.not_imported)
        again = job.run(lost_nothing)
        assert (again.imported, again.skipped, again.not_imported) == (0, job.expected, report.not_imported)
        store = Store.open(FaultyBackend(lost_nothing.disk), SMALL_STORE, ManualClock())
        assert len(observe(store)) == job.expected
        assert not store.check("full")
        store.release()

    return verify


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.long)])
def test_power_cuts(job: Import, step: int, tmp_path: Path) -> None:
    before, verify = footprint(tmp_path / "old"), settled(job)

    def look(backend: FaultyBackend, number: int, policy: Policy, seed: int) -> None:
        verify(backend, "lose_all")

    assert (
        for_each_crash(job.run, look, policies=("killed", *POWER_CUTS), seeds=(0,) if step > 1 else (0, 1), step=step)
        > 50
    )
    assert footprint(tmp_path / "old") == before


@pytest.mark.parametrize("step", [23, pytest.param(2, marks=pytest.mark.long)])
def test_failing_calls(job: Import, step: int, tmp_path: Path) -> None:
    before, verify = footprint(tmp_path / "old"), settled(job)

    def look(backend: FaultyBackend, fault: Fault, error: SynthiansMemoryError | None, policy: Policy) -> None:
        # What a failed sync lost is in the cache still, where a new process cannot tell it from the rest.
        verify(backend, policy)

    assert for_each_fault(job.run, look, step=step) > 50
    assert footprint(tmp_path / "old") == before
