"""Putting things into a directory of snapshots: under their hash, durable, and read again.

It decides nothing about what belongs into a snapshot, nor for how long.

Order: what is stored by its hash, durable and read again (`harden`) -> the manifest that names it (`commit`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from synthians_memory.codec import version_of
from synthians_memory.engine.documents import read_file, write_whole
from synthians_memory.errors import DamagedBackupError, DiskError
from synthians_memory.hashing import digest_of_pieces
from synthians_memory.layout import (
    MANIFESTS,
    SHARDS,
    STORED_ENTITIES,
    STORED_FILES,
    addressed_path,
    manifest_path,
    scratch_path,
)
from synthians_memory.maintenance.manifest import Manifest, StoredFile, encode_manifest
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.storage.backend import FileWrite
from synthians_memory.storage.whole_files import discard

__all__ = ["SnapshotWriter"]

_BATCH_BYTES: Final = 4 << 20
_BATCH_FILES: Final = 512
# Up to so many files are synced one by one; more of them by one call for the whole file system.
_FEW: Final = 8
_UNFINISHED: Final = "next"


class SnapshotWriter:
    """Adds to a directory of snapshots, which the caller has locked; used by one thread.

    Attributes:
        written_bytes, written_files: what was added that was not there before.
    """

    def __init__(self, folder: SnapshotFolder) -> None:
        self._backend = folder.backend
        self._folder = folder
        self._waiting: dict[str, bytes] = {}
        self._waiting_bytes = 0
        # Path -> whether this writer wrote it; what was there before is synced and read again as well.
        self._new: dict[str, bool] = {}
        self._folders: dict[str, None] = {}
        self.written_bytes = 0
        self.written_files = 0

    def prepare(self) -> None:
        """Make the folders. Raises DiskError."""
        for name in (MANIFESTS, SHARDS, STORED_ENTITIES, STORED_FILES):
            self._backend.make_folder(name)
        self._backend.sync_folder("")

    def put_entity(self, digest: str, data: bytes) -> None:
        """Add an entity's file under its content hash, which the caller has compared; raises DiskError."""
        self._put(addressed_path(STORED_ENTITIES, digest), data)

    def put_shard(self, digest: str, data: bytes) -> None:
        """Add a shard under its hash; raises DiskError."""
        self._put(addressed_path(SHARDS, digest), data)

    def _put(self, path: str, data: bytes) -> None:
        if path in self._new or path in self._waiting:
            return
        self._waiting[path] = data
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= _BATCH_BYTES or len(self._waiting) >= _BATCH_FILES:
            self._write_waiting()

    def _write_waiting(self) -> None:
        # Files of one folder follow each other.
        waiting = dict(sorted(self._waiting.items()))
        self._waiting, self._waiting_bytes = {}, 0
        writes = [FileWrite(self._scratch_beside(path), path, data, None) for path, data in waiting.items()]
        for write, outcome in zip(writes, self._backend.write_files(writes), strict=True):
            if isinstance(outcome, DiskError):
                raise outcome
            written = outcome is not None or self._replace_if_damaged(write)
            self._new[write.target] = written
            if written:
                self._count(len(write.data))

    def _count(self, size: int) -> None:
        self.written_bytes += size
        self.written_files += 1

    def _scratch_beside(self, path: str) -> str:
        folder = path.rpartition("/")[0]
        if folder not in self._folders:
            self._backend.make_folder(folder)
            self._folders[folder] = None
        return scratch_path(folder, _UNFINISHED)

    def _replace_if_damaged(self, write: FileWrite) -> bool:
        """What has the name already may be torn, left by a backup that was cut off, or rotten; whether it was."""
        if read_file(self._backend, write.target) == write.data:
            return False
        # A folder or symlink under the name raises here: a stranger's, which is not ours to remove.
        file = self._backend.create(self._free(write.scratch))
        try:
            file.write(write.data)
        finally:
            file.close()
        self._backend.replace(write.scratch, write.target)
        return True

    def _free(self, scratch: str) -> str:
        self._backend.unlink(scratch)
        return scratch

    def put_file(self, path: str, pieces: Iterable[bytes], mtime_ns: int) -> StoredFile:
        """Add any other file, in bounded memory.

        Args:
            path: its path in the store.
            pieces: its bytes, in order.
            mtime_ns: as in StoredFile.

        Raises:
            DiskError: it could not be written.
        """
        hasher, size = hashlib.sha256(), 0
        scratch = self._free(scratch_path(STORED_FILES, _UNFINISHED))
        file = self._backend.create(scratch)
        try:
            for piece in pieces:
                file.write(piece)
                hasher.update(piece)
                size += len(piece)
            file.sync()
        finally:
            file.close()
        stored = StoredFile(path, hasher.hexdigest(), size, mtime_ns)
        target = addressed_path(STORED_FILES, stored.sha256)
        self._scratch_beside(target)
        if target not in self._new:
            self._count(size)
        self._backend.replace(scratch, target)
        self._backend.sync_folder(STORED_FILES)
        self._new[target] = True
        return stored

    def harden(self) -> None:
        """Make all that was added durable, then read it again.

        Raises:
            DiskError: something may not be durable.
            DamagedBackupError: something is not read back as it was written.
        """
        self._write_waiting()
        try:
            self._sync()
        except DiskError:
            self._discard()
            raise
        for path in self._new:
            self._verify(path)

    def _discard(self) -> None:
        """Take away what a failed sync left in an unknown state: a later backup shall write it, not sync it again."""
        for path in (path for path, written in self._new.items() if written):
            discard(self._backend, path)

    def _sync(self) -> None:
        if len(self._new) > _FEW and self._backend.sync_filesystem():
            return
        for path in self._new:
            file = self._backend.open_existing(path)
            try:
                file.sync()
            finally:
                file.close()
        for folder in self._folders:
            self._backend.sync_folder(folder)
        for folder in dict.fromkeys(folder.split("/")[0] for folder in self._folders):
            self._backend.sync_folder(folder)

    def _verify(self, path: str) -> None:
        folder, _, name = path.split("/")
        digest = name.partition(".")[0]
        if folder == STORED_ENTITIES:
            found = version_of(read_file(self._backend, path) or b"")
            matches = found is not None and found.hex() == digest
        else:
            matches = digest_of_pieces(self._pieces(path)) == digest
        if not matches:
            raise DamagedBackupError(
                f"{path} was written, and is read back with other bytes",
                path=path,
                hint="Do not trust this disk; run `verify-disk` on it.",
            )

    def _pieces(self, path: str) -> Iterator[bytes]:
        offset = 0
        while piece := self._backend.read(path, offset, _BATCH_BYTES):
            offset += len(piece)
            yield piece

    def commit(self, manifest: Manifest) -> None:
        """Write the manifest, durably: from here on the snapshot is there. `harden` comes before.

        Raises:
            DiskError: it may be there or not.
            DamagedBackupError: it is not read back as it was written.
        """
        data = encode_manifest(manifest)
        write_whole(self._backend, manifest_path(manifest.name), [data])
        self._count(len(data))
        if self._folder.manifest(manifest.name) != manifest:
            raise DamagedBackupError(f"the manifest of {manifest.name} is read back with other bytes")
