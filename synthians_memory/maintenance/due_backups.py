"""The backups that are due: one for each hour, one for each day, and the proof that they can be read.

It takes none by itself at any time: a health pass asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from synthians_memory.engine.part import Part
from synthians_memory.layout import SNAPSHOTS, stamp_of
from synthians_memory.maintenance.backup import Progress
from synthians_memory.maintenance.care import BackupReport, backup_into
from synthians_memory.maintenance.manifest import Manifest, Ring
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.maintenance.snapshots import verify_snapshots
from synthians_memory.maintenance.source import Base, SnapshotSource
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.times import Clock, from_micros

__all__ = ["due_ring", "take_due"]

# YYYYMMDD_HH and YYYYMMDD
_HOUR: Final = 11
_DAY: Final = 8


def due_ring(manifests: Sequence[Manifest], now_micros: int) -> Ring | None:
    """Which ring lacks a whole snapshot of the present day, or hour (UTC); None for none.

    Snapshots that were taken by hand belong to a ring of their own, and count for neither.
    """
    stamp = stamp_of(from_micros(now_micros))
    names = [manifest.name for manifest in manifests if manifest.ring != "manual" and not manifest.missing]
    if not any(name.startswith(stamp[:_DAY]) for name in names):
        return "daily"
    return None if any(name.startswith(stamp[:_HOUR]) for name in names) else "hourly"


def take_due(
    backend: Backend,
    base: Callable[[], Base],
    folder: SnapshotFolder,
    clock: Clock,
    *,
    parts: Sequence[Part] = (),
    days: int,
    progress: Progress | None = None,
) -> tuple[BackupReport | None, list[Finding]]:
    """Take the snapshot that is due, if one is. A daily one has every byte of all snapshots read and hashed as well.

    What the proof finds rotten is stored anew from the store, as far as it has it still.

    Args:
        backend: the store.
        base: as in SnapshotSource.
        folder: the snapshots, held exclusively by the caller.
        clock: source of time.
        parts: as in `backup_store`.
        days: as in `backup_store`.
        progress: as in `backup_store`.

    Returns:
        What was done, and a finding for each snapshot that is damaged still.

    Raises:
        DamagedError, UsageError, DiskError: as `take_snapshot`.
    """
    ring = due_ring(folder.listing().manifests, clock.micros())
    if ring is None:
        return None, []
    source = SnapshotSource(backend, base, clock)
    report = backup_into(source, folder, ring=ring, parts=parts, days=days, progress=progress)
    if ring != "daily":
        # What was new in it was read again when it was written.
        return report, []
    if _damaged(folder):
        report = backup_into(source, folder, ring=ring, parts=parts, days=days, full=True, progress=progress)
    return report, _damaged(folder)


def _damaged(folder: SnapshotFolder) -> list[Finding]:
    found = [info for info in verify_snapshots(folder) if info.problems]
    return [
        Finding("backup_damaged", f"the snapshot {info.name}: {info.problems[0]}", f"{SNAPSHOTS}/{info.name}")
        for info in found
    ]
