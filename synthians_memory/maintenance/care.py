"""Backups of a store on a local disk, from one end to the other: the directory found and locked, the work done, told.

It does none of the work itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from synthians_memory.engine.part import Part
from synthians_memory.errors import EntityNotFoundError, NotAStoreError, NotRegularFileError
from synthians_memory.layout import JOURNAL, SNAPSHOTS, SUPERBLOCK
from synthians_memory.maintenance.backup import Progress, take_snapshot
from synthians_memory.maintenance.manifest import Ring
from synthians_memory.maintenance.past import trim_archive
from synthians_memory.maintenance.retention import DAILY, apply_retention
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.maintenance.snapshots import SnapshotInfo, describe
from synthians_memory.maintenance.source import SnapshotSource
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend

__all__ = ["BackupReport", "backup_into", "backup_store", "own_directory", "snapshots_in", "snapshots_to"]

_MICROS_A_DAY: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup did.

    Attributes:
        snapshot: the snapshot that was taken; its `problems` say what could not be had.
        directory: where it is.
        written_files: how many files that took.
        written_bytes: how many bytes they have.
        removed: names of the snapshots that no ring wants any more.
        problems: what is wrong with other snapshots, a sentence each.
    """

    snapshot: SnapshotInfo
    directory: str
    written_files: int
    written_bytes: int
    removed: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "snapshot": self.snapshot.to_dict(),
            "directory": self.directory,
            "written_files": self.written_files,
            "written_bytes": self.written_bytes,
            "removed": list(self.removed),
            "problems": list(self.problems),
        }


def own_directory(store: Backend, *, create: bool = False) -> str:
    """The full path of the snapshots in a store's own directory.

    Args:
        store: on a local disk.
        create: make it where it is missing.

    Raises:
        NotRegularFileError: something that is no folder stands in its place.
        EntityNotFoundError: it is not there.
        NotAStoreError: the store is in no directory.
    """
    if not isinstance(store, LocalBackend):
        raise NotAStoreError(f"{store.location} is no directory", hint="Name a directory for the snapshots.")
    if create and store.stat(SUPERBLOCK) is None and store.stat(JOURNAL) is None:
        raise NotAStoreError(f"{store.location} holds no store", path=SUPERBLOCK, hint="Give the directory of a store.")
    folder = ""
    for name in SNAPSHOTS.split("/"):
        folder = f"{folder}/{name}".lstrip("/")
        if create and store.stat(folder) is None and store.make_folder(folder):
            store.sync_folder(folder.rpartition("/")[0])
        stat = store.stat(folder)
        if stat is None:
            raise _no_snapshots(store.location)
        if stat.kind != "folder":
            raise NotRegularFileError(
                f"{folder} is no folder", path=folder, hint="Move it away, or name another directory for the snapshots."
            )
    return os.path.join(store.location, SNAPSHOTS)


def _no_snapshots(place: str) -> EntityNotFoundError:
    return EntityNotFoundError(f"{place} holds no snapshots", hint="Take one with `backup`, or say where they are.")


@contextmanager
def snapshots_to(directory: str) -> Iterator[SnapshotFolder]:
    """A directory to add a snapshot to, made where it is missing, and held against everybody else.

    Raises:
        InvalidValueError: it holds something else.
        StoreLockedError: another program works on it.
        DiskError: it cannot be made or opened.
    """
    yield from _held(LocalBackend(directory, create=True), exclusive=True)


@contextmanager
def snapshots_in(directory: str) -> Iterator[SnapshotFolder]:
    """A directory to read snapshots from, held so that none is removed meanwhile.

    Raises:
        EntityNotFoundError: there is no such directory.
        InvalidValueError, StoreLockedError, DiskError: as `snapshots_to`.
    """
    if not os.path.isdir(directory):
        raise _no_snapshots(directory)
    yield from _held(LocalBackend(directory), exclusive=False)


def _held(backend: Backend, *, exclusive: bool) -> Iterator[SnapshotFolder]:
    try:
        folder = SnapshotFolder(backend)
        folder.require_own()
        with folder.held(exclusive=exclusive):
            yield folder
    finally:
        backend.close()


def backup_store(
    source: SnapshotSource,
    directory: str,
    *,
    ring: Ring = "manual",
    parts: Sequence[Part] = (),
    days: int = DAILY,
    full: bool = False,
    progress: Progress | None = None,
) -> BackupReport:
    """Take a snapshot into a directory, then let go of what no ring wants any more.

    Args:
        source: the store, with a back end of its own.
        directory: where to; made where it is missing.
        ring: as in `take_snapshot`.
        parts: as in `take_snapshot`.
        days: as in `apply_retention`.
        full: as in `take_snapshot`.
        progress: as in `take_snapshot`.

    Raises:
        InvalidValueError, StoreLockedError: as `snapshots_to`.
        UsageError, DamagedError, DiskError: as `take_snapshot`.
    """
    with snapshots_to(directory) as folder:
        return backup_into(source, folder, ring=ring, parts=parts, days=days, full=full, progress=progress)


def backup_into(
    source: SnapshotSource,
    folder: SnapshotFolder,
    *,
    ring: Ring = "manual",
    parts: Sequence[Part] = (),
    days: int = DAILY,
    full: bool = False,
    progress: Progress | None = None,
) -> BackupReport:
    """As `backup_store`, into a directory of snapshots that the caller holds exclusively."""
    taken = take_snapshot(source, folder, ring=ring, parts=parts, full=full, progress=progress)
    removed = apply_retention(folder, days=days)
    oldest = min((manifest.taken_micros for manifest in folder.listing().manifests), default=0)
    # Other directories may have snapshots as well, and nobody knows where.
    trim_archive(source.backend, min(oldest, source.clock.micros() - days * _MICROS_A_DAY))
    return BackupReport(
        describe(taken.manifest, taken.problems),
        folder.backend.location,
        taken.written_files,
        taken.written_bytes,
        tuple(removed.snapshots),
        tuple(removed.problems),
    )
