"""A directory of snapshots: what is in it, read back and never believed without its hash.

It writes nothing (`snapshot_writer` does), and does not know what a snapshot is taken of.

    snapshots/<name>.json           the manifest of a snapshot; it is there when all that it names is durable
    shards/<ab>/<sha256>.json       which entities a snapshot holds, by parts
    entities/<ab>/<content hash>.json   an entity's file, as it is
    files/<ab>/<sha256>             any other file, as it is
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from synthians_memory.codec import version_of
from synthians_memory.engine.documents import read_file
from synthians_memory.errors import DamagedBackupError, EntityNotFoundError, InvalidValueError, StoreLockedError
from synthians_memory.layout import (
    MANIFESTS,
    SHARDS,
    STORED_ENTITIES,
    STORED_FILES,
    addressed_path,
    is_scratch,
    manifest_name,
    manifest_path,
)
from synthians_memory.maintenance.manifest import Manifest, StoredFile, decode_manifest, decode_shard, shard_of
from synthians_memory.storage.backend import Backend, EntryStat, HeldLock

__all__ = ["Listing", "SnapshotFolder"]

_PIECE: Final = 1 << 20
# Larger than any shard and any manifest that the library writes.
_LARGEST_DOCUMENT: Final = 1 << 28
# Larger than any entity: a batch, which holds it whole, is smaller by default.
_LARGEST_ENTITY: Final = 1 << 30
_OWN: Final = frozenset((MANIFESTS, SHARDS, STORED_ENTITIES, STORED_FILES))


@dataclass(frozen=True, slots=True)
class Listing:
    """What a directory of snapshots says that it holds.

    Attributes:
        manifests: those that are intact, oldest first.
        damaged: name -> why, of those that are not.
    """

    manifests: tuple[Manifest, ...]
    damaged: dict[str, str]


class SnapshotFolder:
    """The snapshots in the directory of one back end. Thread-safe as the back end's reads."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        # What was read before, while its file is the same: a backup asks for all manifests several times.
        self._read: dict[str, tuple[EntryStat, Manifest]] = {}

    @contextmanager
    def held(self, *, exclusive: bool) -> Iterator[None]:
        """Keep others from changing it meanwhile, or from looking at it as well.

        Raises:
            StoreLockedError: somebody else is at it.
        """
        lock: HeldLock | None = self.backend.lock("", exclusive=exclusive)
        if lock is None:
            raise StoreLockedError(
                f"another program works on the snapshots in {self.backend.location}",
                hint="Wait until that backup, restore or verification has ended.",
            )
        try:
            yield
        finally:
            lock.release()

    def require_own(self) -> None:
        """Refuse a directory that holds something else.

        Raises:
            InvalidValueError: it does.
        """
        for name, _ in self.backend.scan(""):
            if name not in _OWN and not is_scratch(name):
                raise InvalidValueError(
                    f"{self.backend.location} is no directory of snapshots: {name[:80]!r} is there",
                    hint="Give a directory of its own to them, empty or not there yet.",
                )

    def names(self) -> list[str]:
        """The names of all snapshots, damaged ones too, oldest first."""
        found = (manifest_name(file) for file, _ in self.backend.scan(MANIFESTS))
        return sorted(name for name in found if name is not None)

    def listing(self) -> Listing:
        """What the manifests say; each is proved by its own hash."""
        manifests, damaged = [], {}
        for name in self.names():
            try:
                manifests.append(self.manifest(name))
            except DamagedBackupError as error:
                damaged[name] = error.message
        return Listing(tuple(manifests), damaged)

    def manifest(self, name: str) -> Manifest:
        """One of them.

        Raises:
            DamagedBackupError: it is not what was written.
            EntityNotFoundError: there is none of that name.
        """
        path = manifest_path(name)
        stat = self.backend.stat(path)
        if stat is None:
            raise EntityNotFoundError(
                f"{self.backend.location} has no snapshot {name}", path=path, hint="`backups` shows their names."
            )
        before = self._read.get(name)
        if before is None or before[0] != stat:
            before = self._read[name] = stat, decode_manifest(name, self._document(path))
        return before[1]

    def _document(self, path: str) -> bytes:
        return self._bounded(path, _LARGEST_DOCUMENT)

    def _bounded(self, path: str, most: int) -> bytes:
        stat = self.backend.stat(path)
        if stat is None or stat.kind != "file" or stat.size > most:
            raise DamagedBackupError(f"{path} is missing, no regular file, or too large", path=path)
        data = read_file(self.backend, path)
        if data is None:
            raise DamagedBackupError(f"{path} is missing, or no regular file", path=path)
        return data

    def shard(self, name: str, digest: str) -> dict[str, str]:
        """Path -> content hash of the entities in a shard; raises DamagedBackupError."""
        return decode_shard(name, digest, self._document(addressed_path(SHARDS, digest)))

    def entities(self, manifest: Manifest) -> Iterator[tuple[str, str]]:
        """Path and content hash of each entity that a snapshot holds, shard by shard; raises DamagedBackupError."""
        for name, digest in manifest.shards.items():
            yield from self.shard(name, digest).items()

    def find(self, manifest: Manifest, path: str) -> str | None:
        """Content hash of the entity at `path` in a snapshot; None where it holds none. Raises DamagedBackupError."""
        name = shard_of(path, manifest.digits)
        digest = manifest.shards.get(name)
        return None if digest is None else self.shard(name, digest).get(path)

    def entity(self, digest: str) -> bytes:
        """The file of an entity, by its content hash.

        Raises:
            DamagedBackupError: it is missing, or not what was written.
        """
        path = addressed_path(STORED_ENTITIES, digest)
        data = self._bounded(path, _LARGEST_ENTITY)
        found = version_of(data)
        if found is None or found.hex() != digest:
            raise DamagedBackupError(f"{path} does not match its hash", path=path)
        return data

    def file_pieces(self, file: StoredFile) -> Iterator[bytes]:
        """The bytes of any other file in pieces; what they are is known only when the last one has come.

        Raises:
            DamagedBackupError: it is missing, of another size, or not what was written.
        """
        path = addressed_path(STORED_FILES, file.sha256)
        stat = self.backend.stat(path)
        if stat is None or stat.kind != "file" or stat.size != file.size:
            raise DamagedBackupError(f"{path}, which is {file.path}, is missing or of another size", path=path)
        hasher, offset = hashlib.sha256(), 0
        while piece := self.backend.read(path, offset, _PIECE):
            hasher.update(piece)
            offset += len(piece)
            yield piece
        if offset != file.size or hasher.hexdigest() != file.sha256:
            raise DamagedBackupError(f"{path}, which is {file.path}, does not match its hash", path=path)
