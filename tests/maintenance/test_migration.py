"""Migrations: each in steps that can be repeated, cut off anywhere, and never leaving a store that is half of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from legacy_stores import footprint, later_layout, vector, write

from synthians_memory import MemoryAssembly, MemoryEntry, MemoryPersistence
from synthians_memory.codec import encode
from synthians_memory.engine.documents import write_document
from synthians_memory.engine.store import Store
from synthians_memory.engine.superblock import load_superblock
from synthians_memory.errors import (
    DiskError,
    NotAStoreError,
    OutdatedFormatError,
    StoreLockedError,
    SynthiansMemoryError,
    UnsupportedFormatError,
)
from synthians_memory.layout import MEMORIES, SUPERBLOCK
from synthians_memory.maintenance.migration import migrate, migrate_store
from synthians_memory.maintenance.migrations import MIGRATIONS
from synthians_memory.maintenance.migrations.step import Migration, Workplace
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import POWER_CUTS, Policy
from synthians_memory.testing.store_history import observe
from synthians_memory.testing.store_scenarios import SMALL_STORE
from synthians_memory.testing.sweep import for_each_crash, for_each_fault

CREATED, UPDATED = "2025-03-15T14:32:01.123456", "2025-03-15T14:45:22.654321"


def old_store(root: Path) -> Path:
    """A store as it was laid out before it had a superblock: nested index, no hash lines, ids as file names."""
    index: dict[str, Any] = {"memories": {}, "assemblies": {}, "metadata": {"version": "2.3.0", "memory_count": 4}}
    for number, memory_id in enumerate(["550e8400", "Upper Case", "third", "gone"]):
        path = f"memories/{memory_id}.json"
        index["memories"][memory_id] = {"filepath": path, "created_at": CREATED, "quickrecal_score": 0.5}
        if memory_id != "gone":
            entry = {"memory_id": memory_id, "content": f"memory {number}", "embedding": vector(1.0, number)}
            write(
                root,
                path,
                {**entry, "created_at": CREATED, "updated_at": UPDATED, "metadata": {"n": number}, "mood": 1},
            )
    group = {"assembly_id": "assembly_001", "name": "all", "members": ["550e8400", "third"], "created_at": CREATED}
    write(root, "assemblies/assembly_001.json", group)
    index["assemblies"]["assembly_001"] = {"filepath": "assemblies/assembly_001.json", "member_count": 2}
    write(root, "memory_index.json", index)
    write(root, "vector_index/memory_vectors.faiss", b"IxFI of somebody")
    write(root, "vector_index/mapping.json", {"550e8400": 0})
    return root


# From 0 to 1


async def test_a_store_without_a_superblock_becomes_one_of_today(tmp_path: Path) -> None:
    root = old_store(tmp_path / "store")
    before = footprint(root)
    with pytest.raises(NotAStoreError) as refused:
        await MemoryPersistence(root).initialize()
    assert "`migrate`" in refused.value.hint
    assert footprint(root) == before
    report = migrate_store(root)
    assert (report.start, report.end, report.clean) == (0, 1, True)
    assert report.notes == ("memory_index.json names 'gone', which has no file, or none that is valid",)
    async with MemoryPersistence(root) as store:
        entries = {entry.memory_id: entry for entry in await store.load_all()}
        assert list(entries) == ["550e8400", "Upper Case", "third"]
        upper = entries["Upper Case"]
        assert (upper.content, upper.metadata, upper.extra) == ("memory 1", {"n": 1}, {"mood": 1})
        assert upper.embedding is not None
        assert upper.embedding.tolist() == vector(1.0, 1.0)
        assert upper.created_at.isoformat() == CREATED + "+00:00"
        assert upper.updated_at is not None
        assert upper.updated_at.isoformat() == UPDATED + "+00:00"
        group = await store.load_assembly("assembly_001")
        assert isinstance(group, MemoryAssembly)
        assert group.members == ("550e8400", "third")
        assert [hit.memory_id for hit in await store.search(vector(1.0, 0.0), 1)] == ["550e8400"]
        assert not [finding for finding in await store.verify_consistency() if finding.severity != "note"]
    kept = {path.name: path.read_bytes() for path in (root / "quarantine").rglob("*") if path.is_file()}
    for name in ("memory_index.json", "memory_vectors.faiss", "mapping.json"):
        assert kept[name] == next(content for path, (*_, content) in before.items() if path.endswith(name))


async def test_migrating_again_and_a_store_of_today(tmp_path: Path) -> None:
    root = old_store(tmp_path / "store")
    migrate_store(root)
    before = footprint(root)
    report = migrate_store(root)
    assert (report.start, report.end, report.steps) == (1, 1, ())
    after = footprint(root)
    assert after.keys() == before.keys()
    assert {name: entry[3] for name, entry in after.items()} == {name: entry[3] for name, entry in before.items()}


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    root = old_store(tmp_path / "store")
    before = footprint(root)
    report = migrate_store(root, dry_run=True)
    assert footprint(root) == before
    assert (report.steps, report.dry_run, len(report.notes)) == ((MIGRATIONS[0].what,), True, 1)


def test_files_that_are_no_entities_stay_and_are_told(tmp_path: Path) -> None:
    root = old_store(tmp_path / "store")
    broken = {"memories/cut.json": b"{", "memories/wrong.json": b'{"memory_id": "wrong"}', "memories/list.json": b"[]"}
    for path, data in broken.items():
        write(root, path, data)
    write(root, "memories/short.json", {"memory_id": "short", "content": "", "embedding": [1.0]})
    write(root, "memories/other name.json", {"memory_id": "third", "content": "a second one"})
    report = migrate(backend_of(root), ManualClock())
    told = " ".join(report.notes)
    for path, data in broken.items():
        assert (root / path).read_bytes() == data
        assert path in told
    assert "short.json has a vector of 1 numbers" in told
    assert "memories/third.json is there already" in told
    assert json.loads((root / "store.json").read_bytes())["embedding_dimension"] == 4


def backend_of(root: Path) -> Backend:
    return LocalBackend(root)


def test_directories_that_cannot_be_migrated(tmp_path: Path) -> None:
    sources = [later_layout(tmp_path / "original"), tmp_path / "empty"]
    (tmp_path / "empty").mkdir()
    for root in sources:
        before = {name: entry[3] for name, entry in footprint(root).items()}
        with pytest.raises(NotAStoreError) as refused:
            migrate_store(root)
        assert "import-legacy" in refused.value.hint
        assert {name: entry[3] for name, entry in footprint(root).items()} == before


async def test_a_store_that_only_lost_its_superblock_is_to_be_opened(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store"):
        pass
    (tmp_path / "store" / "store.json").unlink()
    with pytest.raises(NotAStoreError, match=r"has lost its store\.json"):
        migrate_store(tmp_path / "store")


async def test_an_open_store_is_refused(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "store"):
        with pytest.raises(StoreLockedError):
            migrate_store(tmp_path / "store")


class Migrated:
    """The migration from 0 to 1 on a disk that fails."""

    def __init__(self, root: Path) -> None:
        # It has its seal already, and only lacks the right name.
        sealed = encode(MemoryEntry(memory_id="Sealed", content="x", created_at=datetime(2025, 1, 1, tzinfo=UTC)))
        write(root, "memories/zzz.json", sealed.stamp(0).data)
        self.disk = disk_of(root)

    def run(self, backend: FaultyBackend) -> None:
        migrate(backend, ManualClock())

    def verify(self, backend: FaultyBackend) -> None:
        if load_superblock(backend) is None:
            with pytest.raises(NotAStoreError):
                Store.open(FaultyBackend(backend.disk), SMALL_STORE, ManualClock())
        self.run(FaultyBackend(backend.disk))
        after = FaultyBackend(backend.disk.crash("lose_all"))
        store = Store.open(after, SMALL_STORE, ManualClock())
        store.repair()
        assert {key[1] for key in observe(store)} == {"550e8400", "Upper Case", "third", "Sealed", "assembly_001"}
        assert not [finding for finding in store.check("full") if finding.severity != "note"]
        kept = {name for folder, _ in after.scan("quarantine") for name, _ in after.scan(f"quarantine/{folder}")}
        assert {"memory_index.json", "memory_vectors.faiss", "mapping.json"} <= kept
        store.close()


def disk_of(root: Path) -> FaultyDisk:
    """A durable copy of a directory on a disk that can be made to fail."""
    backend = FaultyBackend(FaultyDisk())
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_dir():
            backend.make_folder(name)
        else:
            file = backend.create(name)
            file.write(path.read_bytes())
            file.sync()
            file.close()
    for folder in ("", *(str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir())):
        backend.sync_folder(folder)
    return backend.disk


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.long)])
def test_power_cuts_from_0_to_1(tmp_path: Path, step: int) -> None:
    job = Migrated(old_store(tmp_path / "store"))

    def look(backend: FaultyBackend, number: int, policy: Policy, seed: int) -> None:
        job.verify(backend)

    assert for_each_crash(job.run, look, policies=("killed", *POWER_CUTS), disk=job.disk, seeds=(0,), step=step) > 15


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.long)])
def test_failing_calls_from_0_to_1(tmp_path: Path, step: int) -> None:
    job = Migrated(old_store(tmp_path / "store"))

    def look(backend: FaultyBackend, fault: Fault, error: SynthiansMemoryError | None, policy: Policy) -> None:
        assert error is None or isinstance(error, DiskError)
        job.verify(backend)

    assert for_each_fault(job.run, look, disk=job.disk, step=step, policies=("lose_all",)) > 15


# A step that only the tests know


SHARDS = "memories_by_letter"


def _shard(place: Workplace) -> Mapping[str, Any]:
    """From one folder of memories to one for each first letter."""
    backend = place.backend
    if place.dry_run:
        return place.facts
    backend.make_folder(SHARDS)
    names = [name for name, _ in sorted(backend.scan(MEMORIES))]
    for name in names:
        backend.make_folder(f"{SHARDS}/{name[0]}")
    # Before anything is in a folder its own name is durable.
    for folder in ("", SHARDS):
        backend.sync_folder(folder)
    for name in names:
        backend.replace(f"{MEMORIES}/{name}", f"{SHARDS}/{name[0]}/{name}")
    for folder, _ in sorted(backend.scan(SHARDS)):
        backend.sync_folder(f"{SHARDS}/{folder}")
    for folder in (SHARDS, MEMORIES, ""):
        backend.sync_folder(folder)
    return {**place.facts, "sharded": True}


def _rename_again(place: Workplace) -> Mapping[str, Any]:
    backend = place.backend
    if not place.dry_run and backend.stat(SHARDS) is not None:
        backend.replace(SHARDS, "memories_sharded")
    if not place.dry_run:
        backend.sync_folder("")
    return place.facts


STEPS = (
    *MIGRATIONS,
    Migration(1, "put memories into folders by letter", _shard),
    Migration(2, "rename", _rename_again),
)


async def make(root: Path) -> Path:
    async with MemoryPersistence(root, segment_bytes=16384, index_backup_count=0) as store:
        for name in ("ada", "alan", "grace"):
            await store.import_memories(one_line({"memory_id": name, "content": name}))
    return root


async def one_line(found: dict[str, Any]) -> Any:
    yield [json.dumps(found).encode()]


async def test_steps_follow_each_other_and_keep_what_they_do_not_know(tmp_path: Path) -> None:
    root = await make(tmp_path / "store")
    report = migrate(LocalBackend(root), ManualClock(), migrations=STEPS, end=3)
    assert (report.start, report.end, len(report.steps)) == (1, 3, 2)
    facts = json.loads((root / SUPERBLOCK).read_bytes())
    assert (facts["format_version"], facts["sharded"], facts["mandatory_features"]) == (3, True, [])
    assert (root / "memories_sharded" / "a" / "ada.json").exists()
    with pytest.raises(UnsupportedFormatError, match="format version 3") as refused:
        await MemoryPersistence(root).initialize()
    assert not isinstance(refused.value, OutdatedFormatError)
    with pytest.raises(UnsupportedFormatError, match="newer"):
        migrate_store(root)


async def test_a_version_without_a_way_out_is_named(tmp_path: Path) -> None:
    root = await make(tmp_path / "store")
    with pytest.raises(UnsupportedFormatError, match="no migration from format version 1"):
        migrate(LocalBackend(root), ManualClock(), end=2)


async def test_an_older_store_is_told_to_migrate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = await make(tmp_path / "store")
    monkeypatch.setattr("synthians_memory.engine.superblock.FORMAT_VERSION", 2)
    with pytest.raises(OutdatedFormatError) as refused:
        await MemoryPersistence(root).initialize()
    assert "`migrate`" in refused.value.hint


async def test_unknown_features_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    root = await make(tmp_path / "store")
    assert migrate(LocalBackend(root), ManualClock(), migrations=STEPS, end=2, dry_run=True).steps
    facts = {**json.loads((root / SUPERBLOCK).read_bytes()), "mandatory_features": ["of the future"]}
    del facts["content_hash"]
    write_document(LocalBackend(root), SUPERBLOCK, [f'  "{k}": {json.dumps(v)}'.encode() for k, v in facts.items()])
    before = footprint(root)
    with pytest.raises(UnsupportedFormatError, match="of the future"):
        migrate(LocalBackend(root), ManualClock(), migrations=STEPS, end=2)
    assert {n: e[3] for n, e in footprint(root).items()} == {n: e[3] for n, e in before.items()}


async def test_a_migration_that_a_newer_library_began_is_not_taken_for_done(tmp_path: Path) -> None:
    root = await make(tmp_path / "store")

    def fail(place: Workplace) -> Mapping[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrate(LocalBackend(root), ManualClock(), migrations=[Migration(1, "fail", fail)], end=2)
    with pytest.raises(OutdatedFormatError, match="was interrupted"):
        await MemoryPersistence(root).initialize()
    with pytest.raises(UnsupportedFormatError, match="beyond format version 1"):
        migrate_store(root)
    assert migrate(LocalBackend(root), ManualClock(), migrations=STEPS, end=2).end == 2


class Sharded:
    """The artificial steps on a disk that fails."""

    def __init__(self, root: Path) -> None:
        self.disk = disk_of(root)
        self.names = {path.name for path in (root / "memories").iterdir()}

    def run(self, backend: FaultyBackend) -> None:
        migrate(backend, ManualClock(), migrations=STEPS, end=3)

    def verify(self, backend: FaultyBackend) -> None:
        """Whoever opens what is left sees a whole store of version 1, or is refused."""
        try:
            store = Store.open(FaultyBackend(backend.disk.copy()), SMALL_STORE, ManualClock(), read_only=True)
        except OutdatedFormatError:
            assert b"migrating" in (backend.read(SUPERBLOCK) or b"")
        except UnsupportedFormatError:
            assert b'"format_version": 1' not in (backend.read(SUPERBLOCK) or b"")
        else:
            assert {key[1] for key in observe(store)} == {"ada", "alan", "grace"}
            store.release()
        self.run(FaultyBackend(backend.disk))
        after = FaultyBackend(backend.disk.crash("lose_all"))
        folders = [f"memories_sharded/{name}" for name, _ in after.scan("memories_sharded")]
        assert {name for folder in folders for name, _ in after.scan(folder)} == self.names
        assert b'"format_version": 3' in (after.read(SUPERBLOCK) or b"")
        assert b"migrating" not in (after.read(SUPERBLOCK) or b"")


@pytest.mark.parametrize("step", [2, pytest.param(1, marks=pytest.mark.long)])
async def test_power_cuts_of_a_step(tmp_path: Path, step: int) -> None:
    job = Sharded(await make(tmp_path / "store"))

    def look(backend: FaultyBackend, number: int, policy: Policy, seed: int) -> None:
        job.verify(backend)

    assert (
        for_each_crash(
            job.run,
            look,
            policies=("killed", *POWER_CUTS),
            disk=job.disk,
            seeds=(0,) if step > 1 else (0, 1, 2),
            step=step,
        )
        > 20
    )


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.long)])
async def test_failing_calls_of_a_step(tmp_path: Path, step: int) -> None:
    job = Sharded(await make(tmp_path / "store"))

    def look(backend: FaultyBackend, fault: Fault, error: SynthiansMemoryError | None, policy: Policy) -> None:
        assert error is None or isinstance(error, DiskError)
        job.verify(backend)

    assert for_each_fault(job.run, look, disk=job.disk, step=step, policies=("lose_all",)) > 20
