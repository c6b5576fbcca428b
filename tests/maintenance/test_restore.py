"""A restore gives back what was, replaces nothing before all of it is proved, and deletes nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from snapshot_cases import Case, entity_state

from synthians_memory.engine.commit import Batch
from synthians_memory.engine.quarantine import Quarantine
from synthians_memory.engine.store import Store
from synthians_memory.engine.superblock import load_superblock
from synthians_memory.errors import EntityNotFoundError, InvalidValueError, NotAStoreError, StoreLockedError, UsageError
from synthians_memory.layout import INDEX, JOURNAL, QUARANTINE, REPAIR_PLAN, RESTORE, SUPERBLOCK, entity_path
from synthians_memory.maintenance.restore import Wanted, past_version, restore_store
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.models import MemoryEntry
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.store_history import observe, save
from synthians_memory.testing.store_scenarios import SMALL_STORE, assembly, memory
from synthians_memory.testing.stored_files import StoredFiles, all_files
from synthians_memory.times import from_micros


def put(backend: Backend, path: str, data: bytes) -> None:
    backend.unlink(path)
    file = backend.create(path)
    file.write(data)
    file.close()


def changed() -> Case:
    """A store, a snapshot of it, and what happened to it since."""
    case = Case()
    case.driven.save(*(memory(f"m{n}") for n in range(20)), assembly("a1", "m1", "m2"))
    case.backup()
    case.clock.advance(60)
    case.driven.save(memory("m1", 2), memory("new"))
    case.driven.delete(("memory", "m2"))
    return case


def test_the_store_is_what_it_was() -> None:
    case = changed()
    wanted = case.driven.history.states[1]
    epoch = case.store.state.superblock.epoch
    report = case.restore()
    assert (report.memories, report.assemblies, report.replayed, report.problems) == (20, 1, 0, ())
    assert entity_state(case.view()) == {key: version.data for key, version in wanted.items()}
    StoredFiles.read(case.view())
    store = Store.open(case.view(), SMALL_STORE, case.clock)
    assert not store.opening_report.findings
    assert not store.state.notes
    assert not [f for f in store.check("full") if f.severity != "note"]
    assert store.state.superblock.epoch != epoch
    found = store.load(("memory", "m1"))
    assert isinstance(found, MemoryEntry)
    assert found.vector is not None
    assert store.search(found.vector, 1, "memory")[0].memory_id == "m1"
    store.close()
    assert case.medium.stat(RESTORE) is None


def test_the_window_of_loss_is_stated_and_what_was_lost_is_kept() -> None:
    case = changed()
    versions = case.state()
    report = case.restore()
    loss = report.loss
    assert loss is not None
    assert (loss.newer, loss.returned, loss.known) == (2, 1, True)
    assert loss.ids == ("memory m1", "memory new", "memory m2")
    assert loss.until is not None
    assert loss.until - loss.since == timedelta(seconds=60)
    kept = all_files(case.medium, report.quarantine).values()
    assert all(data in kept for data in versions.values())


def test_numbers_go_on_above_those_of_the_life_before() -> None:
    case = changed()
    before = case.store.state.journal
    assert before is not None
    case.restore()
    store = Store.open(case.view(), SMALL_STORE, case.clock)
    journal = store.state.journal
    assert journal is not None
    assert journal.last_sequence == before.last_sequence
    store.close()


def test_it_goes_on_as_a_store_does() -> None:
    case = changed()
    case.restore()
    store = Store.open(case.view(), SMALL_STORE, case.clock)
    store.commit([Batch([save(memory("after"))])])
    store.close()
    store = Store.open(case.view(), SMALL_STORE, case.clock)
    assert ("memory", "after") in observe(store)
    store.close()


@pytest.mark.parametrize("what", ["store.json", "memory_index.json", "everything"])
def test_a_store_that_is_damaged_is_restored_all_the_same(what: str) -> None:
    case = changed()
    wanted = case.driven.history.states[1]
    case.driven.close()
    for path in all_files(case.medium):
        if what in (path, "everything"):
            put(case.medium, path, b"rot")
    report = case.restore()
    assert entity_state(case.view()) == {key: version.data for key, version in wanted.items()}
    assert report.loss is not None
    assert report.loss.known == (what != "everything")
    assert not any(f.severity != "note" for f in Store.open(case.view(), SMALL_STORE, case.clock).check("full"))


def test_a_lost_store_is_restored_into_a_new_place() -> None:
    case = changed()
    place = MemoryBackend()
    report = restore_store(place.reopen, case.folder, Wanted(), case.clock, elsewhere=True)
    assert report.loss is None
    assert len(entity_state(place)) == 21
    superblock = load_superblock(place)
    assert superblock is not None
    assert superblock.store_id == case.store.state.superblock.store_id
    assert superblock.epoch != case.store.state.superblock.epoch
    assert superblock.embedding_dimension == 4


@pytest.mark.parametrize("name", ["letters.txt", SUPERBLOCK])
def test_a_place_that_is_not_empty_is_left_alone(name: str) -> None:
    case = changed()
    place = MemoryBackend()
    put(place, name, b"mine")
    before = all_files(place)
    with pytest.raises(NotAStoreError, match="not empty"):
        restore_store(place.reopen, case.folder, Wanted(), case.clock, elsewhere=True)
    assert all_files(place) == before


def test_a_directory_that_is_no_store_is_left_alone() -> None:
    case = changed()
    place = MemoryBackend()
    put(place, "letters.txt", b"mine")
    with pytest.raises(NotAStoreError, match="neither"):
        restore_store(place.reopen, case.folder, Wanted(), case.clock)
    assert all_files(place) == {"letters.txt": b"mine"}


def test_a_store_that_is_open_is_left_alone() -> None:
    case = changed()
    before = all_files(case.medium)
    with pytest.raises(StoreLockedError):
        restore_store(case.view, case.folder, Wanted(), case.clock)
    assert all_files(case.medium) == before


def test_a_repair_that_was_planned_in_the_life_before_is_not_gone_on_with() -> None:
    case = changed()
    case.driven.close()
    put(case.medium, REPAIR_PLAN, b"a plan")
    report = case.restore()
    assert case.medium.stat(REPAIR_PLAN) is None
    assert b"a plan" in all_files(case.medium, report.quarantine).values()


def test_what_was_in_quarantine_stays() -> None:
    case = changed()
    kept = Quarantine(case.medium, case.clock).keep("memories/x.json", b"kept", "a reason")
    case.restore()
    assert case.medium.read(kept) == b"kept"
    assert case.medium.stat(JOURNAL) is not None
    assert case.medium.stat(INDEX) is not None
    assert case.medium.stat(QUARANTINE) is not None


# Choosing


def test_a_snapshot_is_chosen_by_the_beginning_of_its_name_or_by_time() -> None:
    case = changed()
    newer = case.backup().manifest
    older = case.folder.names()[0]
    case.driven.close()

    def m1(wanted: Wanted) -> str:
        entity, _ = past_version(case.folder, ("memory", "m1"), wanted, case.view())
        assert isinstance(entity, MemoryEntry)
        return entity.content

    assert m1(Wanted()) == "m1, edition 2 "
    assert m1(Wanted(older[:15])) == "m1, edition 1 "
    assert m1(Wanted(at=from_micros(newer.taken_micros))) == "m1, edition 2 "
    assert m1(Wanted(at=from_micros(newer.taken_micros - 1_000_000))) == "m1, edition 1 "
    with pytest.raises(InvalidValueError, match="2 snapshots"):
        m1(Wanted("2023"))
    for wanted in (Wanted("1999"), Wanted(at=from_micros(0))):
        with pytest.raises(EntityNotFoundError):
            m1(wanted)


def test_an_entity_that_was_not_there_is_none() -> None:
    case = changed()
    entity, moment = past_version(case.folder, ("memory", "new"), Wanted(), case.view())
    assert entity is None
    assert moment == from_micros(case.folder.listing().manifests[0].taken_micros)
    assert past_version(SnapshotFolder(case.to), ("assembly", "a1"), Wanted(), case.view())[0] is not None
    assert entity_path("assembly", "a1") in all_files(case.medium)


def test_a_snapshot_of_another_store_replaces_nothing() -> None:
    case, other = changed(), changed()
    other.driven.close()
    before = all_files(other.medium)
    with pytest.raises(UsageError, match="another store"):
        restore_store(other.view, case.folder, Wanted(), case.clock)
    assert all_files(other.medium) == before
