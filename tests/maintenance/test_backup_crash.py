"""Backup, retention and restore under power cuts and failing disks: whole snapshots, and never half a store."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from snapshot_cases import Case, State, entity_state, stored_state

from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.errors import NotAStoreError, UnsupportedFormatError
from synthians_memory.layout import RESTORE, RESTORE_MARK, RESTORE_PLAN
from synthians_memory.maintenance.backup import take_snapshot
from synthians_memory.maintenance.manifest import StoredFile
from synthians_memory.maintenance.restore import Wanted, restore_store
from synthians_memory.maintenance.restore_plan import is_cut_off
from synthians_memory.maintenance.retention import apply_retention
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.maintenance.snapshot_writer import SnapshotWriter
from synthians_memory.maintenance.snapshots import verify_snapshots
from synthians_memory.storage.backend import Backend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import Policy
from synthians_memory.testing.store_history import observe
from synthians_memory.testing.store_scenarios import SMALL_STORE, assembly, memory
from synthians_memory.testing.stored_files import StoredFiles, all_files
from synthians_memory.testing.sweep import for_each_crash, for_each_fault

LONG = 3600
POLICIES: tuple[Policy, ...] = ("killed", "lose_all", "keep_all", "lose_content", "lose_names", "sampled")
each_syncing = pytest.mark.parametrize("syncs_filesystem", [True, False], ids=["all at once", "one by one"])


class Backups:
    """Seven snapshots on a disk, and an eighth that is taken while it fails; the first then goes."""

    def __init__(self, *, syncs_filesystem: bool = True, entities: int = 14) -> None:
        self.disk = FaultyDisk(syncs_filesystem=syncs_filesystem)
        self.case = Case(folder=FaultyBackend(self.disk))
        self.states: dict[str, State] = {}
        for edition in range(7):
            self._go_on(edition + 1, entities)
            self.states[self.case.backup().manifest.name] = self.case.state()
        self._go_on(8, entities)
        self.disk = self.disk.crash("keep_all")

    def _go_on(self, edition: int, entities: int) -> None:
        self.case.clock.advance(60)
        changed = [memory(f"m{n}", edition) for n in range(0, entities, 1 if edition in (1, 8) else 5)]
        self.case.driven.save(*changed, assembly("a1", "m1", edition=edition))
        self.case.driven.checkpoint()

    def run(self, backend: FaultyBackend) -> None:
        folder = SnapshotFolder(backend)
        with folder.held(exclusive=True):
            take_snapshot(self.case.source(), folder)
            apply_retention(folder)

    def verify(self, backend: FaultyBackend, *_: object) -> None:
        self._require_whole(SnapshotFolder(backend))
        # Whatever was left behind: the next backup is whole, and keeps those that were there.
        self.run(backend)
        self._require_whole(SnapshotFolder(backend), gone=2)
        again = SnapshotFolder(FaultyBackend(backend.disk.crash("lose_all")))
        self._require_whole(again, gone=2)
        assert stored_state(again, again.listing().manifests[-1]) == self.case.state()
        assert not backend.disk.retried_syncs

    def _require_whole(self, folder: SnapshotFolder, gone: int = 1) -> None:
        found = verify_snapshots(folder)
        assert all(info.whole for info in found), found
        names = [info.name for info in found]
        assert set(list(self.states)[gone:]) <= set(names)
        assert len(names) >= 7
        for name in names:
            assert stored_state(folder, folder.manifest(name)) == self.states.get(name, self.case.state())


@each_syncing
@pytest.mark.parametrize("policy", POLICIES)
def test_a_crash_of_a_backup_leaves_whole_snapshots(syncs_filesystem: bool, policy: Policy) -> None:
    backups = Backups(syncs_filesystem=syncs_filesystem)
    assert for_each_crash(backups.run, backups.verify, disk=backups.disk, policies=[policy], seeds=[3], step=17)


def test_a_snapshot_goes_for_good_before_what_it_needs() -> None:
    backups = Backups()
    life = backups.disk.copy()
    folder = SnapshotFolder(FaultyBackend(life))
    take_snapshot(backups.case.source(), folder)

    def let_go(backend: FaultyBackend) -> None:
        apply_retention(SnapshotFolder(backend))

    def verify(backend: FaultyBackend, *_: object) -> None:
        found = verify_snapshots(SnapshotFolder(backend))
        assert all(info.whole for info in found), found
        assert len(found) in (7, 8)

    assert for_each_crash(let_go, verify, disk=life.crash("keep_all"), policies=["sampled"], seeds=range(8), step=3)


@each_syncing
def test_a_fault_during_a_backup_leaves_whole_snapshots(syncs_filesystem: bool) -> None:
    backups = Backups(syncs_filesystem=syncs_filesystem)
    assert for_each_fault(backups.run, backups.verify, disk=backups.disk, step=97)


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_syncing
def test_a_crash_at_every_call_of_a_backup_leaves_whole_snapshots(syncs_filesystem: bool) -> None:
    backups = Backups(syncs_filesystem=syncs_filesystem)
    assert for_each_crash(backups.run, backups.verify, disk=backups.disk, policies=POLICIES, seeds=[0, 1])


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_syncing
def test_every_fault_during_a_backup_leaves_whole_snapshots(syncs_filesystem: bool) -> None:
    backups = Backups(syncs_filesystem=syncs_filesystem)
    assert for_each_fault(backups.run, backups.verify, disk=backups.disk, step=5)


# Restore


class Restores:
    """A store on a disk that fails while it is made again from a snapshot in memory."""

    def __init__(self, *, lost: bool = False, syncs_filesystem: bool = True) -> None:
        self.disk = FaultyDisk(syncs_filesystem=syncs_filesystem)
        self.case = Case()
        self.old: State = {}
        self.lost = lost
        self.case.driven.save(*(memory(f"m{n}") for n in range(12)), assembly("a1", "m1"))
        taken = self.case.backup()
        self.new = self.case.state()
        self._add_file(taken.manifest.name)
        if not lost:
            self._write_store()
        self.disk = self.disk.crash("keep_all")

    def _add_file(self, name: str) -> None:
        """Give the snapshot a part's file as well."""
        writer = SnapshotWriter(self.case.folder)
        stored: StoredFile = writer.put_file("state/notes", [b"as it was\n"], 0)
        writer.harden()
        manifest = self.case.folder.manifest(name)
        writer.commit(replace(manifest, files=(stored,), parts=("ledger", "state")))

    def _write_store(self) -> None:
        """The store as it is now, on the disk that will fail."""
        self.case.driven.save(*(memory(f"m{n}", 2) for n in range(0, 12, 2)), memory("new"))
        self.case.driven.delete(("memory", "m3"))
        self.case.driven.checkpoint()
        self.case.driven.save(memory("tail"))
        self.old = self.case.state()
        backend = FaultyBackend(self.disk)
        for path, data in all_files(self.case.view()).items():
            make_folders(backend, path)
            put(backend, path, data)
        for path in ("state/notes", "ledger/runs"):
            make_folders(backend, path)
            put(backend, path, b"as it is now\n")

    def run(self, backend: FaultyBackend) -> None:
        restore_store(
            lambda: FaultyBackend(backend.disk),
            self.case.folder,
            Wanted(),
            ManualClock(),
            elsewhere=self.lost,
            config=SMALL_STORE,
        )

    def verify(self, backend: FaultyBackend, *_: object) -> None:
        disk = backend.disk
        self._require_old_or_new(FaultyBackend(disk.copy()))
        self._require_nothing_thrown_away(backend)
        try:
            self.run(backend)
        except NotAStoreError:
            # It is whole already, but perhaps for its views.
            assert self.lost
            Store.open(FaultyBackend(disk), SMALL_STORE, ManualClock()).close()
        again = FaultyBackend(disk.copy().crash("lose_all"))
        assert entity_state(again) == self.new
        StoredFiles.read(again)
        assert all_files(again, "state") == {"state/notes": b"as it was\n"}
        assert all_files(again, "ledger") == {}
        # Into a new place that is whole nobody restores again, and two small files may stay behind.
        assert set(all_files(again, RESTORE)) <= ({RESTORE_MARK, RESTORE_PLAN} if self.lost else set())
        store = Store.open(again, SMALL_STORE, ManualClock())
        assert not [finding for finding in store.check("full") if finding.severity != "note"]
        assert not [finding for finding in store.opening_report.findings if finding.severity != "note"]
        store.close()
        self._require_nothing_thrown_away(FaultyBackend(disk.copy().crash("lose_all")))

    def _require_old_or_new(self, backend: FaultyBackend) -> None:
        """Nobody ever opens half a store."""
        with suppress(UnsupportedFormatError, NotAStoreError):
            store = Store.open(backend, SMALL_STORE, ManualClock())
            held = {key: entity.__dict__["content_hash"] for key, entity in observe(store).items()}
            store.close()
            assert held in (_hashes(self.old), _hashes(self.new))

    def _require_nothing_thrown_away(self, backend: Backend) -> None:
        kept = b"".join(all_files(backend).values())
        assert all(data in kept for data in self.old.values())
        if not self.lost:
            assert kept.count(b"as it is now\n") >= 2


def _hashes(state: State) -> dict[Key, str]:
    return {key: data.rsplit(b'"', 2)[1].decode() for key, data in state.items()}


def make_folders(backend: Backend, path: str) -> None:
    folder = path.rpartition("/")[0]
    if folder and backend.stat(folder) is None:
        make_folders(backend, folder)
        backend.make_folder(folder)


def put(backend: Backend, path: str, data: bytes) -> None:
    backend.unlink(path)
    file = backend.create(path)
    file.write(data)
    file.close()


each_place = pytest.mark.parametrize("lost", [False, True], ids=["over the store", "into a new place"])


@each_place
def test_a_restore_that_is_not_interrupted(lost: bool) -> None:
    restores = Restores(lost=lost)
    life = restores.disk.copy()
    restores.run(FaultyBackend(life))
    restores.verify(FaultyBackend(life.crash("lose_all")))


@each_place
@pytest.mark.parametrize("policy", POLICIES)
def test_a_crash_of_a_restore_leaves_no_half_store(lost: bool, policy: Policy) -> None:
    restores = Restores(lost=lost)
    assert for_each_crash(restores.run, restores.verify, disk=restores.disk, policies=[policy], seeds=[3], step=11)


@each_syncing
def test_a_fault_during_a_restore_leaves_no_half_store(syncs_filesystem: bool) -> None:
    restores = Restores(syncs_filesystem=syncs_filesystem)
    assert for_each_fault(restores.run, restores.verify, disk=restores.disk, policies=["lose_all"], step=67)


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_place
@each_syncing
def test_a_crash_at_every_call_of_a_restore_leaves_no_half_store(lost: bool, syncs_filesystem: bool) -> None:
    restores = Restores(lost=lost, syncs_filesystem=syncs_filesystem)
    assert for_each_crash(restores.run, restores.verify, disk=restores.disk, policies=POLICIES, seeds=[0, 1])


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_place
@each_syncing
def test_every_fault_during_a_restore_leaves_no_half_store(lost: bool, syncs_filesystem: bool) -> None:
    restores = Restores(lost=lost, syncs_filesystem=syncs_filesystem)
    assert for_each_fault(restores.run, restores.verify, disk=restores.disk, policies=["lose_all"], step=5)


@pytest.mark.parametrize("policy", ["killed", "lose_all", "sampled"])
def test_a_crash_of_the_restore_that_goes_on_is_gone_on_with(policy: Policy) -> None:
    restores, cut_off = Restores(), 0

    def cut_again(backend: FaultyBackend, *_: object) -> None:
        nonlocal cut_off
        if is_cut_off(backend):
            cut_off += 1
            if cut_off % 5 == 1:
                for_each_crash(restores.run, restores.verify, disk=backend.disk, policies=[policy], seeds=[1], step=13)

    for_each_crash(restores.run, cut_again, disk=restores.disk, policies=["killed"], seeds=[1], step=3)
    assert cut_off > 5
