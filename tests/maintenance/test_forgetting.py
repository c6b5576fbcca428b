"""An entity is taken out of backups on request, and everything else stays as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
from snapshot_cases import Case, entity_state, stored_state

from synthians_memory.errors import DamagedBackupError
from synthians_memory.layout import ARCHIVE, manifest_path
from synthians_memory.maintenance.forgetting import forget_in_archive, forget_in_snapshots
from synthians_memory.maintenance.restore import Wanted, restore_store
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.maintenance.snapshots import verify_snapshots
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.store_scenarios import SMALL_STORE, assembly, memory
from synthians_memory.testing.stored_files import all_files
from synthians_memory.testing.sweep import for_each_crash
from synthians_memory.times import from_micros

SECRET = ("memory", "secret")


def lived(folder: FaultyBackend | None = None) -> Case:
    case = Case(replace(SMALL_STORE, archive_journal=True), folder=folder)
    for edition in range(1, 5):
        case.driven.save(memory("secret", edition), *(memory(f"m{n}", edition) for n in range(4)), assembly("secret"))
        case.driven.save(memory("secret", 10 * edition))
        case.backup()
        case.driven.checkpoint()
        case.clock.advance(10)
    return case


def test_nothing_of_it_is_left_and_the_rest_is_whole() -> None:
    case = lived()
    before = {name: stored_state(case.folder, case.folder.manifest(name)) for name in case.folder.names()}
    assert forget_in_snapshots(case.folder, SECRET) == 4
    assert forget_in_archive(case.view(), SECRET) > 0
    for backend, where in ((case.to, ""), (case.medium, ARCHIVE)):
        assert not [path for path, data in all_files(backend, where).items() if b"secret, edition 10 " in data]
        assert not [path for path, data in all_files(backend, where).items() if b'"memory_id": "secret"' in data]
    assert all(info.whole for info in verify_snapshots(SnapshotFolder(case.to)))
    for name, state in before.items():
        del state[SECRET]
        assert stored_state(case.folder, case.folder.manifest(name)) == state
    assert forget_in_snapshots(case.folder, SECRET) == 0
    assert forget_in_archive(case.view(), SECRET) == 0


def test_any_moment_can_be_had_without_it() -> None:
    case = lived()
    first = case.folder.manifest(case.folder.names()[0])
    forget_in_snapshots(case.folder, SECRET)
    forget_in_archive(case.view(), SECRET)
    place = MemoryBackend()
    at = Wanted(at=from_micros(first.taken_micros + 15_000_000))
    report = restore_store(place.reopen, case.folder, at, case.clock, past_of=case.view(), elsewhere=True)
    assert report.problems == ()
    held = entity_state(place)
    assert sorted(key[1] for key in held) == ["m0", "m1", "m2", "m3", "secret"]
    assert ("assembly", "secret") in held
    assert b"edition 2" in held["memory", "m1"]


def test_a_damaged_manifest_is_said() -> None:
    case = lived()
    case.to.unlink(manifest_path(case.folder.names()[1]))
    file = case.to.create(manifest_path(case.folder.names()[0].replace("2023", "2022")))
    file.write(b"{}")
    file.close()
    with pytest.raises(DamagedBackupError, match="nothing stored was removed"):
        forget_in_snapshots(case.folder, SECRET)


def test_a_crash_of_it_is_made_up_for() -> None:
    disk = FaultyDisk()
    lived(FaultyBackend(disk))

    def forget(backend: FaultyBackend) -> None:
        forget_in_snapshots(SnapshotFolder(backend), SECRET)

    def verify(backend: FaultyBackend, *_: object) -> None:
        assert all(info.whole for info in verify_snapshots(SnapshotFolder(backend)))
        forget(backend)
        after = FaultyBackend(backend.disk.crash("lose_all"))
        infos = verify_snapshots(SnapshotFolder(after))
        assert [(info.whole, info.memories) for info in infos] == [(True, 4)] * 4
        assert not [path for path, data in all_files(after).items() if b'"memory_id": "secret"' in data]

    policies = ["killed", "keep_all", "sampled"]
    assert for_each_crash(forget, verify, disk=disk.crash("keep_all"), policies=policies, seeds=[1], step=7)
