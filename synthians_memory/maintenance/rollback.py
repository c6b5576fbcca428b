"""Going back to the newest snapshot that can be proved, when a store cannot be opened any more.

It mends no single file (`mending`), and deletes nothing: what is replaced goes to the store's quarantine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from synthians_memory.codec import inspect
from synthians_memory.config import StoreConfig
from synthians_memory.engine.documents import read_file
from synthians_memory.engine.part import Part
from synthians_memory.engine.quarantine import Quarantine
from synthians_memory.engine.rebuild import entity_files
from synthians_memory.engine.superblock import Superblock, store_superblock
from synthians_memory.errors import (
    DamagedBackupError,
    DamagedError,
    EntityNotFoundError,
    NotAStoreError,
    StoreFormatError,
    UsageError,
)
from synthians_memory.layout import ENTITY_FOLDERS, QUARANTINE, RESTORE, RESTORE_MARK, SUPERBLOCK, entity_path
from synthians_memory.maintenance.manifest import Manifest
from synthians_memory.maintenance.restore import Wanted, restore_store
from synthians_memory.maintenance.restore_plan import finish_interrupted, is_cut_off
from synthians_memory.maintenance.restore_report import RestoreReport
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.maintenance.staging import discard_staged
from synthians_memory.models import random_id
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.lock import StoreLock
from synthians_memory.times import Clock, format_time, from_micros

__all__ = ["candidates", "finish_cut_off", "give_superblock", "roll_back"]

_LOOKED_AT: Final = 20


def candidates(folder: SnapshotFolder) -> list[Manifest]:
    """The snapshots in the order in which they are tried: whole ones first, of each the newest first."""
    newest_first = list(reversed(folder.listing().manifests))
    return sorted(newest_first, key=lambda manifest: bool(manifest.missing))


def roll_back(
    open_backend: Callable[[], Backend],
    folder: SnapshotFolder,
    clock: Clock,
    *,
    config: StoreConfig,
    parts: Sequence[Part],
    problems: list[str],
) -> RestoreReport | None:
    """Make the store again from the newest snapshot that is what was written, and from what journals have since.

    Args:
        open_backend: opens the store's medium, or makes its directory.
        folder: the snapshots, held by the caller.
        clock: source of time.
        config: for the opening afterwards.
        parts: are told when their files are in place.
        problems: grows by why a snapshot would not do.

    Returns:
        What was done; None where no snapshot would do, and nothing was changed.

    Raises:
        StoreLockedError, DiskError: as `restore_store`.
    """
    for manifest in candidates(folder):
        for wanted in (Wanted(manifest.name, from_micros(clock.micros())), Wanted(manifest.name)):
            try:
                return restore_store(open_backend, folder, wanted, clock, config=config, parts=parts)
            except (UsageError, EntityNotFoundError):
                # That moment is not to be had, or the clock went back: what the snapshot itself holds is.
                continue
            except NotAStoreError as error:
                problems.append(error.message)
                return None
            except DamagedBackupError as error:
                problems.append(f"the snapshot {manifest.name} would not do: {error.message}")
                break
    return None


def finish_cut_off(open_backend: Callable[[], Backend], clock: Clock, parts: Sequence[Part]) -> str:
    """Go on with a restore that was cut off, and remove what one left behind; a sentence, or "" where there is none.

    One whose plan is not to be read any more is left as it is: the store cannot be opened, and is rolled back.

    Raises:
        StoreLockedError: another process has the store open.
        DiskError: it can be gone on with again.
    """
    backend = open_backend()
    try:
        if backend.stat(RESTORE) is None:
            return ""
        lock = StoreLock.acquire(backend, clock_text=format_time(from_micros(clock.micros())))
        try:
            plan = finish_interrupted(backend, parts)
            if not is_cut_off(backend) and backend.stat(RESTORE_MARK) is not None:
                discard_staged(backend)
        finally:
            lock.release()
    finally:
        backend.close()
    return f"a restore of the snapshot {plan.snapshot} that was cut off was completed" if plan else ""


def give_superblock(open_backend: Callable[[], Backend], folder: SnapshotFolder, clock: Clock) -> str:
    """Give a store that has its entity files, and nothing that tells what it is, the facts that its newest snapshot has.

    Returns:
        A sentence; "" where there are no entity files, or no snapshot has facts that would do.

    Raises:
        StoreLockedError, DiskError: nothing that was there is lost.
    """
    backend = open_backend()
    try:
        if not any(next(entity_files(backend, kind), None) is not None for kind in ENTITY_FOLDERS):
            return ""
        lock = StoreLock.acquire(backend, clock_text=format_time(from_micros(clock.micros())))
        try:
            for manifest in candidates(folder):
                superblock = _superblock_of(manifest)
                if superblock is not None and _fits_files(backend, superblock):
                    _store(backend, superblock, clock)
                    return f"{SUPERBLOCK} was written anew with the facts of the snapshot {manifest.name}"
        finally:
            lock.release()
    finally:
        backend.close()
    return ""


def _superblock_of(manifest: Manifest) -> Superblock | None:
    try:
        found = Superblock.from_facts({**manifest.facts, "epoch": random_id()})
    except (StoreFormatError, DamagedError):
        return None
    return replace(found, previous=None)


def _fits_files(backend: Backend, superblock: Superblock) -> bool:
    """Whether the vectors in the first few files are of the length that these facts name."""
    dimension = superblock.embedding_dimension
    for kind in ENTITY_FOLDERS:
        for entity_id, _ in islice(entity_files(backend, kind), _LOOKED_AT):
            entity = inspect(kind, entity_id, read_file(backend, entity_path(kind, entity_id)) or b"").entity
            vector = entity.vector if entity is not None else None
            if vector is not None and dimension is not None and len(vector) != dimension:
                return False
    return True


def _store(backend: Backend, superblock: Superblock, clock: Clock) -> None:
    if backend.stat(SUPERBLOCK) is not None:
        if backend.make_folder(QUARANTINE):
            backend.sync_folder("")
        Quarantine(backend, clock).move(SUPERBLOCK, "it was damaged")
    store_superblock(backend, superblock)
