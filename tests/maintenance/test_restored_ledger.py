"""Snapshots carry the head of the ledger; a restore keeps a newer log aside, and an entry names the cut."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.errors import DiskError
from synthians_memory.facade import PARTS
from synthians_memory.ledger import open_ledger
from synthians_memory.maintenance.care import own_directory, snapshots_in
from synthians_memory.maintenance.restore import Wanted, restore_store
from synthians_memory.maintenance.restore_report import RestoreReport
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import SystemClock


def write(path: Path, *tasks: str) -> None:
    ledger = open_ledger(path / "ledger")
    for task in tasks:
        ledger.write_log({"task": task})
    ledger.close()


def tasks_of(path: Path) -> list[object]:
    ledger = open_ledger(path / "ledger")
    try:
        assert ledger.check() == []
        return [entry.get("task") for entry in ledger.entries()]
    finally:
        ledger.close()


async def backed_up(path: Path) -> None:
    async with MemoryPersistence(path) as store:
        await store.save_memory(MemoryEntry(content="kept"))
        write(path, "one", "two")
        await store.backup()


def restored(path: Path, *, parts: tuple[object, ...] = PARTS, wanted: Wanted | None = None) -> RestoreReport:
    backend = LocalBackend(path)
    try:
        directory = own_directory(backend)
    finally:
        backend.close()
    with snapshots_in(directory) as folder:
        return restore_store(lambda: LocalBackend(path), folder, wanted or Wanted(), SystemClock(), parts=parts)  # type: ignore[arg-type]


async def test_a_snapshot_carries_the_head(tmp_path: Path) -> None:
    await backed_up(tmp_path)
    ledger = open_ledger(tmp_path / "ledger")
    head = ledger.head().hash_self
    ledger.close()
    with snapshots_in(str(tmp_path / "backups" / "snapshots")) as folder:
        (manifest,) = folder.listing().manifests
    assert manifest.marks == {"ledger": head}


async def test_a_restore_names_the_cut(tmp_path: Path) -> None:
    await backed_up(tmp_path)
    write(tmp_path, "three", "four")
    restored(tmp_path)
    assert tasks_of(tmp_path) == ["one", "two", "restore"]
    (kept,) = (tmp_path / "ledger").glob("log.cut-*.jsonl")
    assert len(kept.read_text().splitlines()) == 4
    write(tmp_path, "five")
    assert tasks_of(tmp_path) == ["one", "two", "restore", "five"]


async def test_where_nothing_was_cut_nothing_is_recorded(tmp_path: Path) -> None:
    await backed_up(tmp_path)
    restored(tmp_path)
    assert tasks_of(tmp_path) == ["one", "two"]


async def test_a_restore_that_is_gone_on_with_names_the_cut_once(tmp_path: Path) -> None:
    await backed_up(tmp_path)
    write(tmp_path, "three")

    class Failing:
        """The ledger's part, whose process dies when it has done its work."""

        name = "ledger"

        def restored(self, backend: Backend, replaced: str) -> None:
            for part in PARTS:
                part.restored(backend, replaced)
            raise DiskError("killed here", errno=5)

    with pytest.raises(DiskError):
        restored(tmp_path, parts=(Failing(),))
    assert restored(tmp_path).went_on
    assert tasks_of(tmp_path) == ["one", "two", "restore"]


async def test_a_new_place_has_no_cut(tmp_path: Path) -> None:
    await backed_up(tmp_path / "old")
    write(tmp_path / "old", "three")
    (tmp_path / "new").mkdir()
    with snapshots_in(str(tmp_path / "old" / "backups" / "snapshots")) as folder:
        target = lambda: LocalBackend(tmp_path / "new")  # noqa: E731
        restore_store(target, folder, Wanted(), SystemClock(), elsewhere=True, parts=PARTS)
    assert tasks_of(tmp_path / "new") == ["one", "two"]


async def test_a_restore_to_a_moment_is_gone_on_with_and_then_done(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path, archive_journal=True) as store:
        await store.save_memory(MemoryEntry(memory_id="first", content="x"))
        await store.backup()
        await store.save_memory(MemoryEntry(memory_id="second", content="x"))
        await asyncio.sleep(0.01)
        # Nothing is written after it: that it is to be had shows in the journal that goes on, and ends with the restore.
        moment = datetime.now(UTC)

    class Failing:
        """A part whose process dies."""

        name = "ledger"

        def restored(self, backend: Backend, replaced: str) -> None:
            raise DiskError("killed here", errno=5)

    with pytest.raises(DiskError, match="killed here"):
        restored(tmp_path, parts=(Failing(),), wanted=Wanted(at=moment))
    assert restored(tmp_path, wanted=Wanted(at=moment)).went_on
    async with MemoryPersistence(tmp_path) as store:
        assert await store.list_memories() == ["first", "second"]
