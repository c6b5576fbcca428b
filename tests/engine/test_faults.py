"""The whole engine on a disk that fails: what is acknowledged stays, and what fails says so in the library's words."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from synthians_memory.config import StoreConfig
from synthians_memory.engine.commit import Batch, Operation
from synthians_memory.engine.statistics import statistics
from synthians_memory.engine.store import Store
from synthians_memory.errors import (
    DiskError,
    DiskFullError,
    JournalFailedError,
    PermissionDeniedError,
    ReadOnlyError,
)
from synthians_memory.layout import ENTITY_FOLDERS, JOURNAL, entity_path, scratch_path
from synthians_memory.models import Entity, MemoryEntry
from synthians_memory.storage.backend import WritableFile
from synthians_memory.storage.segment import read_journal
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import MUTATING, READING, SYNCING, WRITING, Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.store_crash import StoreSweep
from synthians_memory.testing.store_history import delete, save
from synthians_memory.testing.store_scenarios import (
    FULL_DISK,
    SCENARIOS,
    SMALL_STORE,
    StoreScenario,
    logged_views,
    memory,
)
from synthians_memory.testing.store_verifier import require_sound

each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
LONG = 3600


@each_scenario
def test_a_failing_call_loses_nothing_acknowledged(scenario: StoreScenario) -> None:
    assert StoreSweep(scenario).faults(step=97)


@each_scenario
def test_a_failing_read_loses_nothing_acknowledged(scenario: StoreScenario) -> None:
    assert StoreSweep(scenario).faults(step=89, verbs=READING, policies=["lose_all"])


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_scenario
def test_every_failing_call_loses_nothing_acknowledged(scenario: StoreScenario) -> None:
    assert StoreSweep(scenario).faults(policies=["killed", "lose_all", "sampled"])


@each_scenario
def test_a_store_goes_on_once_the_disk_is_mended(scenario: StoreScenario) -> None:
    assert StoreSweep(scenario).faults(step=43, errnos=[errno.EIO], policies=["lose_all"], mended=True)


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_scenario
def test_a_store_goes_on_once_the_disk_is_mended_wherever_it_failed(scenario: StoreScenario) -> None:
    assert StoreSweep(scenario).faults(errnos=[errno.EIO, errno.ENOSPC], policies=["lose_all"], mended=True)


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_scenario
def test_every_failing_read_loses_nothing_acknowledged(scenario: StoreScenario) -> None:
    assert StoreSweep(scenario).faults(verbs=READING)


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_scenario
def test_every_failing_call_loses_nothing_where_files_are_synced_one_by_one(scenario: StoreScenario) -> None:
    assert StoreSweep(scenario, syncs_filesystem=False).faults(step=3)


class RefusingBackend(FaultyBackend):
    """A disk on which the names of entity files can be neither made nor removed while it is told so."""

    refuses = False

    def create(self, path: str) -> WritableFile:
        self.look_at(path)
        return super().create(path)

    def unlink(self, path: str) -> bool:
        self.look_at(path)
        return super().unlink(path)

    def look_at(self, path: str) -> None:
        if self.refuses and path.partition("/")[0] in ENTITY_FOLDERS.values():
            raise PermissionDeniedError(f"cannot change {path}", path=path, errno=errno.EACCES)


CONFIG: StoreConfig = SMALL_STORE


def opened(backend: FaultyBackend, config: StoreConfig = CONFIG) -> Store:
    return Store.open(backend, config, ManualClock())


def commit(store: Store, *operations: Operation) -> Batch:
    batch = Batch(operations)
    store.commit([batch])
    return batch


def content(store: Store, name: str) -> str | None:
    found: Entity | None = store.load(("memory", name))
    return found.content if isinstance(found, MemoryEntry) else None


def segments(backend: FaultyBackend) -> set[str]:
    return {name for name, _ in backend.scan(JOURNAL) if name.endswith(".wal")}


@pytest.fixture
def disk() -> FaultyDisk:
    """With a store of three memories in files, and a segment in use."""
    return FaultyDisk()


@pytest.fixture
def backend(disk: FaultyDisk) -> RefusingBackend:
    return RefusingBackend(disk)


@pytest.fixture
def store(backend: RefusingBackend) -> Store:
    store = opened(backend)
    assert commit(store, *(save(memory(f"m{n}")) for n in range(3))).error is None
    store.checkpoint()
    return store


# A failed apply after the durable record


def test_a_failed_apply_is_acknowledged_served_and_retried(store: Store, backend: RefusingBackend) -> None:
    backend.refuses = True
    assert commit(store, save(memory("m0", 2)), delete(("memory", "m1"))).error is None
    assert (content(store, "m0"), content(store, "m1")) == ("m0, edition 2 ", None)
    assert statistics(store)["pending_files"] == 2
    assert {f.entity_id for f in store.check("quick") if f.code == "apply_pending"} == {"m0", "m1"}
    backend.refuses = False
    assert store.checkpoint()
    assert statistics(store)["pending_files"] == 0
    assert not store.check("full")
    assert backend.stat(entity_path("memory", "m1")) is None


@pytest.mark.parametrize("checkpoints", [0, 1, 3])
def test_a_failed_apply_survives_checkpoints_and_a_crash(
    store: Store, backend: RefusingBackend, disk: FaultyDisk, checkpoints: int
) -> None:
    backend.refuses = True
    for edition in (2, 3, 4):
        assert commit(store, save(memory("m0", edition))).error is None
        for _ in range(checkpoints):
            assert store.checkpoint()
    assert commit(store, delete(("memory", "m1")), save(memory("m9"))).error is None
    for _ in range(checkpoints):
        assert store.checkpoint()
    again = opened(FaultyBackend(disk.crash("lose_all")))
    assert [content(again, name) for name in ("m0", "m1", "m9")] == ["m0, edition 4 ", None, "m9, edition 1 "]
    # The version that is still in the file was acknowledged once, so that it is nobody else's.
    assert not [note for note in again.state.notes if note.severity != "note"]
    assert not again.check("full")


def test_a_version_from_outside_under_a_failed_apply_is_kept(
    store: Store, backend: RefusingBackend, disk: FaultyDisk
) -> None:
    backend.refuses = True
    assert commit(store, save(memory("m0", 2))).error is None
    store.checkpoint()
    path = entity_path("memory", "m0")
    foreign = (backend.read(path) or b"").replace(b"edition 1", b"of mine")
    lines = [line for line in foreign.split(b"\n") if b"content_hash" not in line]
    foreign = b"\n".join(lines).replace(b",\n}", b"\n}")
    file = FaultyBackend.create(backend, scratch_path("", "outside"))
    file.write(foreign)
    file.sync()
    backend.replace(scratch_path("", "outside"), path)
    again = opened(FaultyBackend(disk.crash("keep_all")))
    assert content(again, "m0") == "m0, edition 2 "
    (note,) = [note for note in again.state.notes if note.code == "conflict"]
    assert again.state.backend.read(note.message.rpartition(" ")[2]) == foreign


def test_more_failed_applies_than_a_segment_holds_are_not_forgotten(
    store: Store, backend: RefusingBackend, disk: FaultyDisk
) -> None:
    backend.refuses = True
    for n in range(12):
        assert commit(store, save(memory(f"long{n}", length=4_000))).error is None
    before = segments(backend)
    # Room for the segments of half of them, at most.
    disk.capacity_bytes = disk.volume.used_bytes() + 40_000
    with pytest.raises(DiskError):
        store.checkpoint()
    assert segments(backend) >= before
    survivor = disk.crash("lose_all")
    survivor.capacity_bytes = None
    again = opened(FaultyBackend(survivor))
    assert all(content(again, f"long{n}") for n in range(12))


# The journal


@pytest.mark.parametrize("durability", ["commit", "interval"])
@pytest.mark.parametrize(
    "fault",
    [Fault(1, errno.EIO, verbs=WRITING), Fault(1, verbs=WRITING, short=True), Fault(1, errno.EIO, verbs=SYNCING)],
)
def test_after_a_failed_write_or_sync_of_the_journal_nothing_is_acknowledged(
    disk: FaultyDisk, fault: Fault, durability: str
) -> None:
    store = opened(FaultyBackend(disk), StoreConfig(embedding_dimension=4, durability=durability, flush_threshold=1))  # type: ignore[arg-type]
    assert commit(store, save(memory("m0"))).error is None
    disk.plan(fault)
    assert isinstance(_error_of(lambda: commit(store, save(memory("m1"))).error), JournalFailedError)
    assert disk.failed
    for operation in (save(memory("m2")), delete(("memory", "m0"))):
        assert isinstance(_error_of(lambda o=operation: commit(store, o).error), ReadOnlyError | JournalFailedError)
    assert content(store, "m0") == "m0, edition 1 "
    assert statistics(store)["read_only"]
    with pytest.raises(JournalFailedError):
        store.checkpoint()
    assert not disk.retried_syncs
    again = opened(FaultyBackend(disk.crash("lose_all")))
    assert content(again, "m0") == "m0, edition 1 "
    assert content(again, "m2") is None
    assert commit(again, save(memory("m2"))).error is None


def _error_of(step: Callable[[], Exception | None]) -> Exception | None:
    try:
        return step()
    except JournalFailedError as error:
        return error


@pytest.mark.parametrize("durability", ["commit", "interval"])
def test_what_had_nothing_to_do_because_of_what_failed_is_not_acknowledged(disk: FaultyDisk, durability: str) -> None:
    store = opened(FaultyBackend(disk), StoreConfig(embedding_dimension=4, durability=durability))  # type: ignore[arg-type]
    assert commit(store, save(memory("m0"))).error is None
    disk.plan(Fault(1, errno.EIO, verbs=WRITING))
    group = [Batch([delete(("memory", "m0"))]) for _ in range(2)]
    store.commit(group)
    assert [type(batch.error) for batch in group] == [JournalFailedError, JournalFailedError]
    assert content(store, "m0") == "m0, edition 1 "


def test_closing_says_where_the_journal_failed_before_all_was_durable(disk: FaultyDisk) -> None:
    store = opened(FaultyBackend(disk), StoreConfig(embedding_dimension=4, durability="interval"))
    assert commit(store, save(memory("m0"))).error is None
    disk.plan(Fault(1, errno.EIO, verbs=SYNCING))
    with pytest.raises(JournalFailedError):
        store.flush()
    with pytest.raises(JournalFailedError):
        store.close()
    store.close()


@pytest.mark.parametrize("verb", sorted(MUTATING - {"make_folder", "remove_folder", "sync_filesystem", "write_at"}))
def test_a_failed_checkpoint_drops_no_segment_and_is_made_up_for(store: Store, disk: FaultyDisk, verb: str) -> None:
    backend = FaultyBackend(disk)
    assert commit(store, save(memory("m0", 2)), save(memory("m3")), delete(("memory", "m1"))).error is None
    before = segments(backend)
    covered = read_journal(backend, None).checkpointed_through
    disk.plan(Fault(1, errno.EIO, verbs=frozenset([verb]), forever=True))
    with pytest.raises(DiskError):
        store.checkpoint()
    assert before <= segments(backend)
    assert content(store, "m0") == "m0, edition 2 "
    disk.clear_plan()
    if store.state.journal is not None and store.state.journal.failure is None:
        assert store.checkpoint() or read_journal(backend, None).checkpointed_through > covered
        assert commit(store, save(memory("m4"))).error is None
    assert not disk.retried_syncs
    again = opened(FaultyBackend(disk.crash("lose_all")))
    assert [content(again, name) for name in ("m0", "m1", "m3")] == ["m0, edition 2 ", None, "m3, edition 1 "]


def test_a_removal_whose_sync_failed_is_made_again(store: Store, disk: FaultyDisk) -> None:
    assert commit(store, delete(("memory", "m1"))).error is None
    disk.plan(Fault(1, errno.EIO, verbs=frozenset(["sync_folder"])))
    with pytest.raises(DiskError):
        store.checkpoint()
    assert store.checkpoint()
    again = FaultyBackend(disk.crash("lose_all"))
    assert again.stat(entity_path("memory", "m1")) is None
    assert content(opened(again), "m1") is None


# A full disk


@pytest.mark.parametrize("room_bytes", [0, 5_000, 20_000, 60_000])
def test_faults_on_a_full_disk_lose_nothing(room_bytes: int) -> None:
    assert StoreSweep(FULL_DISK, room_bytes=room_bytes).faults(step=97, errnos=[errno.EIO], policies=["lose_all"])


def test_a_full_disk_is_read_and_freed(store: Store, disk: FaultyDisk) -> None:
    journal = store.state.journal
    assert journal is not None
    assert commit(store, save(memory("m0", 2))).error is None
    journal.prepare_spare()
    for n in range(20):
        assert commit(store, save(memory(f"big{n}", length=2_000))).error is None
    disk.capacity_bytes = disk.volume.used_bytes()
    refused = [n for n in range(20) if commit(store, save(memory(f"more{n}", length=2_000))).error is not None]
    assert refused
    assert isinstance(commit(store, save(memory("more0", length=2_000))).error, DiskFullError)
    assert content(store, "m0") == "m0, edition 2 "
    for n in range(20):
        assert commit(store, delete(("memory", f"big{n}"))).error is None, n
    assert not store.state.read_only_reason
    assert store.checkpoint()
    assert commit(store, save(memory("more0", length=2_000))).error is None


def test_a_store_that_was_killed_on_a_full_disk_is_opened_and_read(store: Store, disk: FaultyDisk) -> None:
    journal = store.state.journal
    assert journal is not None
    assert commit(store, save(memory("m0", 2))).error is None
    journal.prepare_spare()
    assert commit(store, save(memory("m1", 2)), save(memory("m3"))).error is None
    full = disk.crash("keep_all")
    full.capacity_bytes = full.volume.used_bytes()
    again = opened(FaultyBackend(full))
    assert [content(again, f"m{n}") for n in range(4)] == [f"m{n}, edition {e} " for n, e in enumerate((2, 2, 1, 1))]
    assert again.opening_report.remaining
    assert statistics(again)["last_error"]
    assert commit(again, delete(("memory", "m2"))).error is None
    full.capacity_bytes = None
    assert again.checkpoint()
    state = {("memory", name): _version(again, name) for name in ("m0", "m1", "m3")}
    require_sound(again, state)


def _version(store: Store, name: str):  # type: ignore[no-untyped-def]
    found = store.load(("memory", name))
    assert found is not None
    return save(found).draft.stamp(int(found.updated_at.timestamp() * 1_000_000))  # type: ignore[union-attr, attr-defined]


# Views


@pytest.mark.parametrize("at", range(1, 7))
def test_a_snapshot_that_failed_half_way_is_not_finished_with_old_rows(disk: FaultyDisk, at: int) -> None:
    # Both snapshots are due at the checkpoint that fails, and not at the next, as they have grown by then.
    with logged_views(0.6):
        store = opened(FaultyBackend(disk))
        assert commit(store, *(save(memory(f"m{n}")) for n in range(6))).error is None
        store.checkpoint()
        for edition in range(2, 5):
            assert commit(store, *(save(memory(f"m{n}", edition)) for n in range(2))).error is None
            store.checkpoint()
        assert commit(store, *(save(memory(f"n{n}")) for n in range(40))).error is None
        disk.plan(Fault(at, errno.EIO, verbs=frozenset(["create"])))
        with pytest.raises(DiskError):
            store.checkpoint()
        assert commit(store, save(memory("late")), delete(("memory", "m0"))).error is None
        store.checkpoint()
        state = {key: _version(store, key[1]) for key in store.state.index.rows["memory"] for key in [("memory", key)]}
        again = opened(FaultyBackend(disk.crash("lose_all")))
        require_sound(again, state)
        assert not again.opening_report.findings
        assert not again.state.notes
