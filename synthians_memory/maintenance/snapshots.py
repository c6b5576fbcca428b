"""The snapshots that a directory has: listed, verified, chosen by name or time; no store need be open.

It takes none and restores none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from synthians_memory.errors import DamagedBackupError, EntityNotFoundError, InvalidValueError
from synthians_memory.maintenance.manifest import Manifest, StoredFile
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.times import format_time, from_micros

__all__ = ["SnapshotInfo", "choose", "describe", "list_snapshots", "verify_snapshots"]


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """One snapshot.

    Attributes:
        name: its name, which begins with the day and time in UTC.
        ring: why it was taken; "" where its manifest is damaged.
        taken_at: the moment whose state it holds; None where its manifest is damaged.
        memories, assemblies, files: how many it holds.
        sequence: the last change it holds.
        missing: how many entities or files could not be had when it was taken.
        problems: what is damaged, a sentence each; only what was looked for.
    """

    name: str
    ring: str = ""
    taken_at: datetime | None = None
    memories: int = 0
    assemblies: int = 0
    files: int = 0
    sequence: int = 0
    missing: int = 0
    problems: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing is known to be wrong with it."""
        return not self.problems and not self.missing

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.name,
            "ring": self.ring,
            "taken_at": format_time(self.taken_at) if self.taken_at else None,
            "memories": self.memories,
            "assemblies": self.assemblies,
            "files": self.files,
            "sequence": self.sequence,
            "missing": self.missing,
            "problems": list(self.problems),
            "whole": self.whole,
        }


def describe(manifest: Manifest, problems: Sequence[str] = ()) -> SnapshotInfo:
    """What there is to say of one snapshot."""
    return SnapshotInfo(
        manifest.name,
        manifest.ring,
        from_micros(manifest.taken_micros),
        manifest.memories,
        manifest.assemblies,
        len(manifest.files),
        manifest.sequence,
        len(manifest.missing),
        tuple(problems),
    )


def list_snapshots(folder: SnapshotFolder) -> list[SnapshotInfo]:
    """All of them, oldest first; manifests are proved by their hash, and nothing else is read. Raises DiskError."""
    listing = folder.listing()
    found = [describe(manifest) for manifest in listing.manifests]
    found += [SnapshotInfo(name, problems=(reason,)) for name, reason in listing.damaged.items()]
    return sorted(found, key=lambda info: info.name)


def verify_snapshots(folder: SnapshotFolder, progress: Callable[[int], None] | None = None) -> list[SnapshotInfo]:
    """As `list_snapshots`, and every byte that any of them needs is read and hashed, once.

    Args:
        folder: the directory; held by the caller, so that nothing is removed meanwhile.
        progress: called with the number of shards and files read so far.

    Raises:
        DiskError: something cannot be read.
    """
    listing = folder.listing()
    proofs = _Proofs(folder, progress)
    found = [describe(manifest, proofs.problems_of(manifest)) for manifest in listing.manifests]
    found += [SnapshotInfo(name, problems=(reason,)) for name, reason in listing.damaged.items()]
    return sorted(found, key=lambda info: info.name)


class _Proofs:
    """What was read and hashed, with what was wrong with it."""

    def __init__(self, folder: SnapshotFolder, progress: Callable[[int], None] | None) -> None:
        self._folder = folder
        self._progress = progress
        self._proved: dict[str, tuple[str, ...]] = {}
        self._entities: dict[str, str] = {}

    def problems_of(self, manifest: Manifest) -> tuple[str, ...]:
        problems: list[str] = []
        for name, digest in manifest.shards.items():
            problems += self._once(digest, partial(self._shard, name, digest))
        for file in manifest.files:
            problems += self._once(file.sha256, partial(self._file, file))
        return tuple(problems)

    def _once(self, digest: str, prove: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        if digest not in self._proved:
            try:
                self._proved[digest] = prove()
            except DamagedBackupError as error:
                self._proved[digest] = (error.message,)
            if self._progress is not None:
                self._progress(len(self._proved))
        return self._proved[digest]

    def _shard(self, name: str, digest: str) -> tuple[str, ...]:
        return tuple(filter(None, map(self._entity, self._folder.shard(name, digest).values())))

    def _entity(self, digest: str) -> str:
        if digest not in self._entities:
            try:
                self._folder.entity(digest)
                self._entities[digest] = ""
            except DamagedBackupError as error:
                self._entities[digest] = error.message
        return self._entities[digest]

    def _file(self, file: StoredFile) -> tuple[str, ...]:
        for _ in self._folder.file_pieces(file):
            pass
        return ()


def choose(manifests: Sequence[Manifest], *, name: str | None = None, at_micros: int | None = None) -> Manifest:
    """The snapshot that is meant: the one of that name, the last one at or before that time, or the newest.

    Args:
        manifests: intact ones.
        name: its name, or the beginning of it that no other one has.
        at_micros: a moment, microseconds since 1970.

    Raises:
        EntityNotFoundError: there is none.
        InvalidValueError: several begin like this.
    """
    found = [manifest for manifest in manifests if name is None or manifest.name.startswith(name)]
    if at_micros is not None:
        found = [manifest for manifest in found if manifest.taken_micros <= at_micros]
    if not found:
        what = f"called {name!r}" if name else "at or before that time" if at_micros is not None else "at all"
        raise EntityNotFoundError(f"there is no intact snapshot {what}", hint="`backups` shows those that there are.")
    exact = [manifest for manifest in found if manifest.name == name]
    if name is not None and len(found) > 1 and not exact:
        raise InvalidValueError(f"{len(found)} snapshots begin with {name!r}", hint="Write more of the name.")
    return (exact or sorted(found, key=lambda manifest: (manifest.taken_micros, manifest.name)))[-1]
