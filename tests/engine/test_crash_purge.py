"""A purge that is interrupted, or refused by the disk, is finished by the next open or purge, and claims nothing before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from synthians_memory.engine.commit import Batch
from synthians_memory.engine.store import Store
from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.layout import INDEX, LOGS, PURGE_PLAN, QUARANTINE, REEMBEDDING, entity_path, part_path
from synthians_memory.models import MemoryEntry
from synthians_memory.storage.backend import Backend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import SYNCING, Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import Policy
from synthians_memory.testing.store_history import DrivenStore, StoreHistory, observe, save
from synthians_memory.testing.store_scenarios import SMALL_STORE, assembly, memory
from synthians_memory.testing.stored_files import all_files
from synthians_memory.testing.sweep import for_each_crash, for_each_fault

LONG = 3600
ID = "whisper"
BACKED_UP = replace(SMALL_STORE, index_backup_count=3, backup_interval=0.0)
VERSIONS = [memory(ID, edition, length=100) for edition in (1, 2, 3)]
OTHERS = {**{f"m{n}": f"m{n}, edition 1 " for n in range(5)}, "a1": "a1, edition 1"}


def needles() -> list[bytes]:
    found = [b'"whisper"', b"whisper.json"]
    for entry in VERSIONS:
        assert entry.embedding is not None
        norm = entry.embedding / float((entry.embedding.astype(float) ** 2).sum() ** 0.5)
        found += [entry.content.encode(), entry.embedding.tobytes(), norm.astype("<f4").tobytes()[:8]]
        found.append(str(float(entry.embedding[0])).encode()[:8])
    return found


NEEDLES = needles()
# Of the purge that ran last: syncs that failed.
SYNC_FAILED: list[str] = []


def traces(backend: Backend) -> list[str]:
    """Where something of it stands, but for plans and receipts, which name its id."""
    files = all_files(backend)
    return [
        f"{path}: {needle!r}"
        for path, data in files.items()
        if not path.startswith(LOGS)
        for needle in NEEDLES
        if needle in data or needle in path.encode()
    ]


def receipts(backend: Backend) -> list[str]:
    return [path for path in all_files(backend) if path.startswith(f"{LOGS}/purge-")]


def put(backend: Backend, path: str, data: bytes) -> None:
    file = backend.create(path)
    file.write(data)
    file.sync()
    file.close()


def written_segments(backend: Backend) -> dict[str, bytes]:
    return {path: data for path, data in all_files(backend).items() if path.endswith(".wal")}


@pytest.fixture(scope="module")
def disk() -> FaultyDisk:
    """A store that died with the memory in files, journal, both views and their logs, copies of an index and quarantine."""
    disk, clock = FaultyDisk(), ManualClock()
    backend = FaultyBackend(disk)
    driven = DrivenStore.open(backend, BACKED_UP, clock, StoreHistory())
    driven.save(*(memory(f"m{n}") for n in range(5)), assembly("a1", "m1"), VERSIONS[0])
    segments = written_segments(backend)
    driven.checkpoint()
    clock.advance(1)
    driven.save(VERSIONS[1])
    segments |= written_segments(backend)
    driven.checkpoint()
    driven.save(VERSIONS[2])
    # Of a record whose beginning never reached the disk: only the text tells whose it was.
    nameless = bytes(64) + VERSIONS[2].content.encode() + b"SMR1 another's"
    for number, (origin, data) in enumerate(
        [*segments.items(), (entity_path("memory", ID), b"{}"), ("journal/0000000099.wal", nameless)]
    ):
        folder = f"{QUARANTINE}/20260101_000000_{number:06}"
        backend.make_folder(folder)
        put(backend, f"{folder}/reason.json", b'{"path":"%s","reason":"a test"}' % origin.encode())
        kept = (backend.read(origin) or b"") if data == b"{}" else data
        put(backend, f"{folder}/{origin.rpartition('/')[2]}", kept)
        backend.sync_folder(folder)
        backend.sync_folder(QUARANTINE)
    leave_replaced_store(backend, segments)
    leave_staged(backend)
    crashed = disk.crash("keep_all")
    assert {trace.split("/")[0].split(":")[0] for trace in traces(FaultyBackend(crashed))} >= {
        "memories", "journal", "memory_index.json", "vector_index", "backups", "quarantine", "reembedding",
    }  # fmt: skip
    return crashed


def leave_replaced_store(backend: FaultyBackend, segments: dict[str, bytes]) -> None:
    """A whole store in quarantine, as a restore leaves the one that it replaced; beside others' files."""
    root = f"{QUARANTINE}/20260102_000000_000000/store"
    files = {
        path: backend.read(path) or b"" for path in (entity_path("memory", ID), entity_path("memory", "m1"), INDEX)
    }
    files |= segments
    made = {""}
    for path, data in files.items():
        target = f"{root}/{path}"
        parts = target.split("/")[:-1]
        for folder in ("/".join(parts[: count + 1]) for count in range(len(parts))):
            if folder not in made:
                backend.make_folder(folder)
                made.add(folder)
        put(backend, target, data)
    for folder in sorted(made):
        backend.sync_folder(folder)


def leave_staged(backend: FaultyBackend) -> None:
    """What a change of the model had begun to stage, and a process that died left behind."""
    backend.make_folder(REEMBEDDING)
    backend.sync_folder("")
    put(backend, part_path("0123456789ab", "staged", 1), VERSIONS[0].content.encode())
    backend.sync_folder(REEMBEDDING)


def purge(backend: FaultyBackend) -> None:
    try:
        store = Store.open(backend, BACKED_UP, ManualClock())
        store.purge([ID], "memory", backups=False, progress=None)
        assert traces(backend) == []
        store.release()
    finally:
        SYNC_FAILED[:] = [verb for verb, _ in backend.disk.failed if verb in SYNCING]


def purge_twice(backend: FaultyBackend) -> None:
    store = Store.open(backend, BACKED_UP, ManualClock())
    try:
        store.purge([ID], "memory", backups=False, progress=None)
    except SynthiansMemoryError:
        backend.disk.clear_plan()
    journal = store.state.journal
    if journal is not None and journal.failure is None and not store.state.read_only_reason:
        store.purge([ID], "memory", backups=False, progress=None)
        assert traces(backend) == []
        assert contents(store) == OTHERS


def contents(store: Store) -> dict[str, str]:
    return {i: e.content if isinstance(e, MemoryEntry) else e.__dict__["name"] for (_, i), e in observe(store).items()}


def verify(backend: FaultyBackend, *how: object) -> None:
    """What is claimed is so on the disk; what is not is finished, by opening or by purging again; others are untouched."""
    claimed, begun = receipts(backend), backend.stat(PURGE_PLAN) is not None
    if claimed:
        assert traces(backend) == []
    store = Store.open(backend, BACKED_UP, ManualClock())
    if claimed or begun:
        assert receipts(backend)
        assert traces(backend) == []
        assert contents(store) == OTHERS
    else:
        assert contents(store) == {**OTHERS, ID: VERSIONS[2].content}
        store.purge([ID], "memory", backups=False, progress=None)
    assert backend.stat(PURGE_PLAN) is None
    require_purged(store)
    # What a failed sync lost is in the cache still, where a new process cannot tell it from the rest.
    policy: Policy = "killed" if SYNC_FAILED and how[-1] == "killed" else "lose_all"
    again = Store.open(FaultyBackend(backend.disk.crash(policy)), BACKED_UP, ManualClock())
    assert traces(again.state.backend) == []
    require_purged(again)
    again.close()


def require_purged(store: Store) -> None:
    assert contents(store) == OTHERS
    assert not [finding for finding in store.check("full") if finding.severity != "note"]
    for number in range(5):
        entity = store.load(("memory", f"m{number}"))
        assert entity is not None
        assert entity.vector is not None
        assert store.search(entity.vector, 9, "memory")[0].memory_id == f"m{number}"
    kept = b"".join(data for path, data in all_files(store.state.backend).items() if path.startswith(QUARANTINE))
    assert all(f"m{number}, edition 1 ".encode() in kept for number in range(5))


def test_a_purge_that_is_not_interrupted(disk: FaultyDisk) -> None:
    life = disk.copy()
    purge(FaultyBackend(life))
    verify(FaultyBackend(life.crash("lose_all")), "lose_all")


@pytest.mark.parametrize("policy", ["killed", "lose_all", "sampled"])
def test_a_crash_of_a_purge_is_made_up_for(disk: FaultyDisk, policy: Policy) -> None:
    assert for_each_crash(purge, verify, disk=disk, seeds=[4], policies=[policy], step=5)


def test_a_fault_during_a_purge_is_made_up_for(disk: FaultyDisk) -> None:
    assert for_each_fault(purge, verify, disk=disk, policies=["lose_all"], step=41)


def test_a_purge_goes_on_where_the_disk_is_mended(disk: FaultyDisk) -> None:
    assert for_each_fault(purge_twice, verify, disk=disk, forever=[False], policies=["lose_all"], step=37)


def test_a_folder_that_cannot_be_synced_keeps_nothing(disk: FaultyDisk) -> None:
    """A removal that was lost in a failed sync is made again, also one that the opening before the purge has lost."""
    sweep = for_each_fault(
        purge_twice,
        verify,
        disk=disk,
        errnos=[5, 28],
        forever=[False],
        policies=["lose_all"],
        verbs=frozenset(["sync_folder"]),
    )
    assert sweep > 20


def test_a_crash_while_a_purge_is_finished_is_made_up_for(disk: FaultyDisk) -> None:
    def finish(backend: FaultyBackend) -> None:
        Store.open(backend, BACKED_UP, ManualClock()).release()

    def crash_again(backend: FaultyBackend, *_: object) -> None:
        if backend.stat(PURGE_PLAN) is not None:
            for_each_crash(finish, verify, disk=backend.disk, seeds=[1], policies=["lose_all"], step=29)

    assert for_each_crash(purge, crash_again, disk=disk, seeds=[2], policies=["killed"], step=31)


@pytest.mark.long
@pytest.mark.timeout(LONG)
def test_a_crash_at_every_call_of_a_purge_is_made_up_for(disk: FaultyDisk) -> None:
    assert for_each_crash(purge, verify, disk=disk, policies=["killed", "lose_all", "keep_all", "sampled"])


@pytest.mark.long
@pytest.mark.timeout(LONG)
def test_every_fault_during_a_purge_is_made_up_for(disk: FaultyDisk) -> None:
    assert for_each_fault(purge, verify, disk=disk)


def test_a_plan_that_cannot_be_read_keeps_nobody_out(disk: FaultyDisk) -> None:
    backend = FaultyBackend(disk.copy())
    backend.make_folder(LOGS)
    put(backend, PURGE_PLAN, b"no plan")
    store = Store.open(backend, BACKED_UP, ManualClock())
    assert PURGE_PLAN in store.state.last_error
    assert contents(store) == {**OTHERS, ID: VERSIONS[2].content}
    with pytest.raises(SynthiansMemoryError):
        store.purge([ID], "memory", backups=False, progress=None)
    store.close()


@pytest.mark.parametrize("opened_again", [True, False])
def test_what_was_saved_anew_is_not_purged_by_what_goes_on(disk: FaultyDisk, opened_again: bool) -> None:
    life = disk.copy()
    backend = FaultyBackend(life)
    store = Store.open(backend, BACKED_UP, ManualClock())
    # The text index is removed behind the delete.
    life.plan(Fault(12, 13, forever=True, verbs=frozenset(["unlink"])))
    with pytest.raises(SynthiansMemoryError):
        store.purge([ID], "memory", backups=False, progress=None)
    life.clear_plan()
    assert store.load(("memory", ID)) is None
    anew = VERSIONS[0].replace(content="said anew")
    batch = Batch([save(anew)])
    store.commit([batch])
    assert batch.error is None
    if opened_again:
        store.release()
        store = Store.open(FaultyBackend(life), BACKED_UP, ManualClock())
    else:
        store.purge(["m4"], "memory", backups=False, progress=None)
    found = store.load(("memory", ID))
    assert isinstance(found, MemoryEntry)
    assert found.content == "said anew"
    assert store.state.backend.stat(PURGE_PLAN) is None
    data = b"".join(data for path, data in all_files(store.state.backend).items() if not path.startswith(LOGS))
    assert not any(entry.content.encode() in data for entry in VERSIONS)
    assert not [finding for finding in store.check("full") if finding.severity != "note"]
    store.close()


def test_what_cannot_be_removed_leaves_the_plan(disk: FaultyDisk) -> None:
    life = disk.copy()
    backend = FaultyBackend(life)
    store = Store.open(backend, BACKED_UP, ManualClock())
    life.plan(Fault(4, 13, forever=True, verbs=frozenset(["unlink"])))
    with pytest.raises(SynthiansMemoryError):
        store.purge([ID], "memory", backups=False, progress=None)
    assert not receipts(backend)
    assert backend.stat(PURGE_PLAN) is not None
    life.clear_plan()
    assert store.purge(["m4"], "memory", backups=False, progress=None).ids == ("m4",)
    assert len(receipts(backend)) == 2
    assert traces(backend) == []
