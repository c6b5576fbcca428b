"""How a store stands: sizes, journal, space and inodes left, age of its newest backup.

It judges nothing but what is too little, or too old, and reads no content.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from synthians_memory.errors import NotRegularFileError
from synthians_memory.layout import (
    ASSEMBLIES,
    BACKUPS,
    INDEX,
    INDEX_LOG,
    JOURNAL,
    LOGS,
    MEMORIES,
    QUARANTINE,
    SNAPSHOTS,
    TEXT,
    VECTORS,
    segment_number,
)
from synthians_memory.maintenance.manifest import Manifest
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.room import disk_room

__all__ = ["VitalSigns", "age_finding", "measured", "space_findings"]

_MEASURED: Final = (MEMORIES, ASSEMBLIES, JOURNAL, VECTORS, TEXT, QUARANTINE, BACKUPS, LOGS)
_MICROS_A_SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class VitalSigns:
    """How a store stands.

    Attributes:
        sizes: folder, or what the files beside them are called, -> bytes.
        journal_segments: how many segments the journal has.
        free_bytes: space left on the disk for this user.
        free_inodes: likewise; None where nobody tells, or where they are made as needed.
        snapshots: how many there are.
        backup_age_seconds: since the moment of the newest whole snapshot; None where there is none.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    journal_segments: int = 0
    free_bytes: int = 0
    free_inodes: int | None = None
    snapshots: int = 0
    backup_age_seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def measured(backend: Backend, manifests: tuple[Manifest, ...], now_micros: int) -> VitalSigns:
    """Measure the store in `backend`, whose snapshots are `manifests`. Raises DiskError."""
    sizes = {folder: _bytes_below(backend, folder) for folder in _MEASURED}
    sizes["index"] = sum(_size(backend, path) for path in (INDEX, INDEX_LOG))
    whole = [manifest.taken_micros for manifest in manifests if not manifest.missing]
    return VitalSigns(
        sizes=sizes,
        journal_segments=sum(segment_number(name) is not None for name, _ in backend.scan(JOURNAL)),
        free_bytes=backend.free_bytes(),
        free_inodes=_free_inodes(backend),
        snapshots=len(manifests),
        backup_age_seconds=max(0.0, (now_micros - max(whole)) / _MICROS_A_SECOND) if whole else None,
    )


def _free_inodes(backend: Backend) -> int | None:
    return disk_room(backend.location).free_files if isinstance(backend, LocalBackend) else None


def _size(backend: Backend, path: str) -> int:
    stat = backend.stat(path)
    return stat.size if stat is not None and stat.kind == "file" else 0


def _bytes_below(backend: Backend, folder: str) -> int:
    stat = backend.stat(folder)
    if stat is None or stat.kind != "folder":
        return 0
    total = 0
    try:
        for name, entry in backend.scan(folder):
            total += _bytes_below(backend, f"{folder}/{name}") if entry.kind == "folder" else entry.size
    except NotRegularFileError:
        # Replaced meanwhile by something that is no folder.
        return total
    return total


def space_findings(signs: VitalSigns, least_bytes: int, least_inodes: int) -> list[Finding]:
    """What is too little on the disk."""
    found = []
    if signs.free_bytes < least_bytes:
        found.append(Finding("space_low", f"{signs.free_bytes:,} bytes are left, fewer than {least_bytes:,}"))
    if signs.free_inodes is not None and signs.free_inodes < least_inodes:
        found.append(Finding("inodes_low", f"{signs.free_inodes:,} inodes are left, fewer than {least_inodes:,}"))
    return found


def age_finding(signs: VitalSigns, most_seconds: float) -> list[Finding]:
    """Whether the newest whole snapshot is too old, or there is none."""
    age = signs.backup_age_seconds
    if age is not None and age <= most_seconds:
        return []
    what = "there is no whole snapshot" if age is None else f"the newest whole snapshot is {age / 3600:.1f} hours old"
    return [Finding("backup_overdue", what, SNAPSHOTS)]
