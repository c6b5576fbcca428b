"""Rows first, then their memories: whatever call of the store fails or is cut, reconciliation leaves one memory for each row.

The store is on a disk that can be made to fail; the databases are in a real directory, where SQLite keeps what it has committed.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import pytest
from collection_samples import OpenRows, on_faulty_disk

from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.testing.faults import Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import Policy
from synthians_memory.testing.sweep import for_each_crash, for_each_fault
from synthians_memory.tiers.collections import row_of
from synthians_memory.tiers.database import Database
from synthians_memory.tiers.reconciliation import is_told
from synthians_memory.tiers.records import Decision, Incident, Knowledge, Procedure, Record
from synthians_memory.tiers.row_places import PLACES, FoundRow, places_in, read_rows, row_hashes

# The writer of a process without power ends where it stands.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

LONG = [pytest.mark.long, pytest.mark.timeout(1800)]
STEPS: list[tuple[str, Record]] = [
    ("incidents", Incident(id="a", description="disk full", timestamp=5)),
    ("decisions", Decision(id="d", context="disk full", chosen="wait", timestamp=5)),
    ("incidents", Incident(id="a", description="disk full", resolution="waited", timestamp=5)),
    ("procedures", Procedure(id="p", name="wait", created_at=5)),
    ("knowledge", Knowledge(id="k", title="Disks", content="They fill.", created_at=5)),
    ("decisions", Decision(id="d", context="disk full", chosen="wait", outcome="it helped", timestamp=5)),
]


class Life:
    """A process that writes rows; `acknowledged` are those of which it was told that row and memory are stored."""

    def __init__(self, folder: Path, *, reconciling: bool = False) -> None:
        self._folder = folder
        self._lives = count()
        self.reconciling = reconciling
        self.rows = folder
        self.acknowledged: dict[tuple[str, str], Record] = {}
        # What was tried, and may be stored or not.
        self.tried: dict[tuple[str, str], list[Record]] = {}

    def __call__(self, backend: FaultyBackend) -> None:
        self.rows = self._folder / f"rows{next(self._lives)}"
        if self.reconciling:
            shutil.copytree(self._folder / "given", self.rows)
        else:
            self.rows.mkdir()
        self.acknowledged, self.tried = {}, {}
        asyncio.run(self._until_cut(backend))

    async def _until_cut(self, backend: FaultyBackend) -> None:
        """A writer without power gives no answer any more; nobody waits for it."""
        task = asyncio.create_task(self._live(backend))
        while not task.done() and not backend.disk.power_is_off:
            await asyncio.wait({task}, timeout=0.002)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def _live(self, backend: FaultyBackend) -> None:
        async with on_faulty_disk(backend.disk, self.rows) as rows:
            for database in (rows.working, rows.longterm):
                without_power(database, backend.disk)
            if self.reconciling:
                await rows.reconcile()
                return
            for collection, record in STEPS:
                key = (collection, record.key)
                self.tried.setdefault(key, []).append(record)
                try:
                    await write(rows, record)
                except SynthiansMemoryError:
                    continue
                if not backend.disk.power_is_off:
                    self.acknowledged[key] = record


def without_power(database: Database, disk: FaultyDisk) -> None:
    """The power that is cut is that of the databases as well: nothing is written any more, whatever the store may answer."""
    transact = database.transact

    async def powered(function: Callable[[Connection], Any]) -> Any:
        if disk.power_is_off:
            raise SynthiansMemoryError("the power is off")
        return await transact(function)

    database.transact = powered  # type: ignore[method-assign]


async def write(rows: OpenRows, record: Record) -> None:
    writers: dict[type[Record], Callable[..., Awaitable[object]]] = {
        Incident: rows.memory.store_incident,
        Procedure: rows.memory.store_procedure,
        Knowledge: rows.memory.add_knowledge,
        Decision: rows.log,
    }
    await writers[type(record)](record)


async def stored_rows(rows: OpenRows) -> dict[tuple[str, str], FoundRow]:
    found: dict[tuple[str, str], FoundRow] = {}
    for database in (rows.longterm, rows.working):
        keys = await database.run(lambda c, path=database.path: list(row_hashes(c, places_in(path))))
        for place in PLACES:
            ids = [row_id for collection, row_id in keys if collection == place.collection]
            if place.schema.path == database.path:
                read = await database.run(lambda c, place=place, ids=ids: read_rows(c, place, ids))
                assert all(isinstance(row, FoundRow) for row in read.values())
                found |= {(place.collection, i): row for i, row in read.items() if isinstance(row, FoundRow)}
    return found


async def reconciled(life: Life, backend: FaultyBackend, copy: Path) -> None:
    shutil.copytree(life.rows, copy)
    async with on_faulty_disk(backend.disk, copy) as rows:
        report = await rows.reconcile()
        assert (report.left, report.failure) == ((), "")
        held = await stored_rows(rows)
        for key, record in life.acknowledged.items():
            tried = life.tried[key]
            assert held[key].record in tried[tried.index(record) :]
        memories = {row_of(entry): entry for entry in await rows.store.load_all()}
        assert memories.keys() == held.keys()
        for key, row in held.items():
            assert is_told(memories[key], row)
        again = await rows.reconcile()
        assert (again.made, again.replaced) == ((), ())
    shutil.rmtree(copy)


def sweep_crashes(life: Life, tmp_path: Path, disk: FaultyDisk | None, step: int) -> int:
    copies = count()

    def verify(backend: FaultyBackend, number: int, policy: Policy, seed: int) -> None:
        asyncio.run(reconciled(life, backend, tmp_path / f"copy{next(copies)}"))

    return for_each_crash(life, verify, disk=disk, seeds=(0,), step=step)


def sweep_faults(life: Life, tmp_path: Path, disk: FaultyDisk | None, step: int) -> int:
    copies = count()

    def verify(backend: FaultyBackend, fault: Fault, error: SynthiansMemoryError | None, policy: Policy) -> None:
        asyncio.run(reconciled(life, backend, tmp_path / f"copy{next(copies)}"))

    return for_each_fault(
        life, verify, disk=disk, errnos=(errno.ENOSPC, errno.EIO), policies=("lose_all",), short=False, step=step
    )


@pytest.fixture
def given(tmp_path: Path) -> tuple[Path, FaultyDisk]:
    """Rows of which some have no memory, and others one that says something else; and the disk of their store."""
    disk = FaultyDisk()
    (tmp_path / "given").mkdir()

    async def make() -> None:
        async with on_faulty_disk(disk, tmp_path / "given") as rows:
            for _, record in STEPS:
                await write(rows, record)
            await rows.store.delete_memory("knowledge-k")
            entry = await rows.store.load_memory("incidents-a")
            assert entry is not None
            await rows.store.save_memory(entry.replace(content="something else"))

    asyncio.run(make())
    return tmp_path, disk


@pytest.mark.parametrize("step", [31, pytest.param(1, marks=LONG)])
def test_after_a_power_cut_at_any_call_each_row_has_its_memory(tmp_path: Path, step: int) -> None:
    assert sweep_crashes(Life(tmp_path), tmp_path, None, step) > 8


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=LONG)])
def test_after_a_failure_of_any_call_each_row_has_its_memory(tmp_path: Path, step: int) -> None:
    assert sweep_faults(Life(tmp_path), tmp_path, None, step) > 5


@pytest.mark.parametrize("step", [31, pytest.param(1, marks=LONG)])
def test_a_reconciliation_that_is_cut_at_any_call_is_made_up_for(given: tuple[Path, FaultyDisk], step: int) -> None:
    folder, disk = given
    assert sweep_crashes(Life(folder, reconciling=True), folder, disk, step) > 8


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=LONG)])
def test_a_reconciliation_in_which_any_call_fails_is_made_up_for(given: tuple[Path, FaultyDisk], step: int) -> None:
    folder, disk = given
    assert sweep_faults(Life(folder, reconciling=True), folder, disk, step) > 2
