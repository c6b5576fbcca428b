"""Stores in memory with their snapshots beside them, for the tests of backups."""

from __future__ import annotations

from collections.abc import Sequence

from synthians_memory.config import StoreConfig
from synthians_memory.engine.part import Part
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.layout import ENTITY_FOLDERS, key_of_path
from synthians_memory.maintenance.backup import Taken, take_snapshot
from synthians_memory.maintenance.manifest import Manifest, Ring
from synthians_memory.maintenance.restore import Wanted, restore_store
from synthians_memory.maintenance.restore_report import RestoreReport
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.maintenance.source import SnapshotSource, base_beside, base_of_open_store
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_history import DrivenStore, StoreHistory
from synthians_memory.testing.store_scenarios import SMALL_STORE
from synthians_memory.testing.stored_files import all_files

State = dict[Key, bytes]


class Case:
    """A store in memory, open, and a directory of snapshots."""

    def __init__(self, config: StoreConfig = SMALL_STORE, *, folder: Backend | None = None) -> None:
        self.config = config
        self.clock = ManualClock()
        self.medium = MemoryBackend()
        self.to = MemoryBackend() if folder is None else folder
        self.folder = SnapshotFolder(self.to)
        self.driven = DrivenStore.open(self.medium.reopen(), config, self.clock, StoreHistory())

    @property
    def store(self) -> Store:
        return self.driven.store

    def view(self) -> MemoryBackend:
        return self.medium.reopen()

    def source(self, *, beside: bool = False) -> SnapshotSource:
        view = self.view()
        if beside:
            return SnapshotSource(view, lambda: base_beside(view, self.clock), self.clock)
        return SnapshotSource(view, lambda: base_of_open_store(self.store), self.clock)

    def backup(
        self, *, ring: Ring = "manual", beside: bool = False, full: bool = False, parts: Sequence[Part] = ()
    ) -> Taken:
        with self.folder.held(exclusive=True):
            return take_snapshot(self.source(beside=beside), self.folder, ring=ring, parts=parts, full=full)

    def state(self) -> State:
        """What the store has acknowledged."""
        return {key: version.data for key, version in self.driven.history.last.items()}

    def restore(self, wanted: Wanted | None = None) -> RestoreReport:
        """Close the store, make it again, and open it."""
        if self.driven.is_open:
            self.driven.close()
        return restore_store(self.view, self.folder, wanted or Wanted(), self.clock, config=self.config)


def stored_state(folder: SnapshotFolder, manifest: Manifest) -> State:
    """What a snapshot holds."""
    found: State = {}
    for path, digest in folder.entities(manifest):
        key = key_of_path(path)
        assert key is not None
        found[key] = folder.entity(digest)
    return found


def entity_state(backend: Backend) -> State:
    """The entity files of a closed store."""
    found: State = {}
    for folder in ENTITY_FOLDERS.values():
        for path, data in all_files(backend, folder).items():
            key = key_of_path(path)
            assert key is not None, path
            found[key] = data
    return found
