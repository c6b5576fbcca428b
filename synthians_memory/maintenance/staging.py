"""What a store is to be made of, gathered in a folder of its own beside what it is now: written, durable, read again.

Nothing here touches what the store is now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from synthians_memory.codec import inspect, version_of
from synthians_memory.engine.documents import read_file
from synthians_memory.errors import DamagedBackupError, DiskError, NotAStoreError
from synthians_memory.hashing import digest_of_pieces
from synthians_memory.layout import (
    BACKUPS,
    ENTITY_FOLDERS,
    JOURNAL,
    RESTORE,
    RESTORE_MARK,
    key_of_path,
    scratch_path,
    segment_path,
)
from synthians_memory.maintenance.manifest import StoredFile
from synthians_memory.storage.backend import Backend, FileWrite
from synthians_memory.storage.segment import SegmentHeader

__all__ = ["Staging", "discard_staged", "remove_tree", "staged"]

_BATCH_BYTES: Final = 4 << 20
_BATCH_FILES: Final = 512
_PIECE: Final = 1 << 20


def staged(path: str) -> str:
    """Where what shall be at `path` of the store waits for it."""
    return f"{RESTORE}/{path}"


class Staging:
    """The folder in which a store is prepared; used by one thread."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._waiting: list[tuple[str, bytes]] = []
        self._waiting_bytes = 0
        self._entities: dict[str, str] = {}
        self._files: dict[str, StoredFile] = {}
        self._folders: dict[str, None] = {}

    def begin(self) -> None:
        """Make it, empty.

        Raises:
            NotAStoreError: a folder of somebody else has its name.
            DiskError: it cannot be made.
        """
        discard_staged(self._backend)
        self._make(RESTORE)
        self._write(RESTORE_MARK, [])
        # Before anything else is in it: what has no mark is not ours.
        self._backend.sync_folder(RESTORE)
        for folder in (*ENTITY_FOLDERS.values(), JOURNAL):
            self._make(staged(folder))

    def _make(self, folder: str) -> None:
        if folder not in self._folders:
            parent = folder.rpartition("/")[0]
            if parent:
                self._make(parent)
            self._backend.make_folder(folder)
            self._folders[folder] = None

    def put_entity(self, path: str, digest: str, data: bytes) -> None:
        """Add an entity's file.

        Raises:
            DamagedBackupError: it is none that belongs there.
            DiskError: it could not be written.
        """
        key = key_of_path(path)
        found = inspect(*key, data) if key else None
        if found is None or found.state != "sealed" or found.hash.hex() != digest:
            raise DamagedBackupError(f"what is stored as {path} is no file of that entity", path=path)
        self._entities[path] = digest
        self._waiting.append((staged(path), data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= _BATCH_BYTES or len(self._waiting) >= _BATCH_FILES:
            self._write_waiting()

    def _write_waiting(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        writes = [FileWrite(scratch_path(path.rpartition("/")[0], "next"), path, data, None) for path, data in waiting]
        for write, outcome in zip(writes, self._backend.write_files(writes), strict=True):
            if isinstance(outcome, DiskError):
                raise outcome
            if outcome is None:
                raise DamagedBackupError(f"{write.target} is there twice", path=write.target)

    def put_file(self, file: StoredFile, pieces: Iterable[bytes]) -> None:
        """Add any other file; raises DiskError."""
        path = staged(file.path)
        self._make(path.rpartition("/")[0])
        self._write(path, pieces)
        self._files[file.path] = file

    def _write(self, path: str, pieces: Iterable[bytes]) -> None:
        file = self._backend.create(path)
        try:
            for piece in pieces:
                file.write(piece)
        finally:
            file.close()

    def put_header(self, header: SegmentHeader) -> None:
        """Add a journal of which only that header is there; raises DiskError."""
        self._write(staged(segment_path(header.number)), [header.encode()])

    def harden(self, names: Iterable[str]) -> None:
        """Make everything durable, and read it again.

        Args:
            names: of what else was written, relative to the store.

        Raises:
            DiskError: something may not be durable.
            DamagedBackupError: something is not read back as it was written.
        """
        self._write_waiting()
        if not self._backend.sync_filesystem():
            for path in (*self._entities, *self._files, *names):
                file = self._backend.open_existing(staged(path))
                try:
                    file.sync()
                finally:
                    file.close()
        for folder in reversed(self._folders):
            self._backend.sync_folder(folder)
        self._backend.sync_folder("")
        self._verify()

    def _verify(self) -> None:
        for path, digest in self._entities.items():
            found = version_of(read_file(self._backend, staged(path)) or b"")
            if found is None or found.hex() != digest:
                raise _unlike(path)
        for path, file in self._files.items():
            if digest_of_pieces(self._pieces(staged(path))) != file.sha256:
                raise _unlike(path)

    def _pieces(self, path: str) -> Iterator[bytes]:
        offset = 0
        while piece := self._backend.read(path, offset, _PIECE):
            offset += len(piece)
            yield piece


def discard_staged(backend: Backend) -> None:
    """Remove what was staged; nothing where nothing was. It consists of copies.

    Raises:
        NotAStoreError: a folder of somebody else has its name; it is left alone.
        DiskError: something could not be removed.
    """
    names = [name for name, _ in backend.scan(RESTORE)] if backend.stat(RESTORE) is not None else None
    if names is None:
        return
    if names and backend.stat(RESTORE_MARK) is None:
        raise NotAStoreError(
            f"{RESTORE} is there, and no restore has made it", path=RESTORE, hint="Move it away, and try again."
        )
    mark = RESTORE_MARK.rpartition("/")[2]
    for name in (name for name in names if name != mark):
        remove_tree(backend, f"{RESTORE}/{name}")
    # The mark goes last, since it says whose all of this is.
    backend.sync_folder(RESTORE)
    backend.unlink(RESTORE_MARK)
    backend.remove_folder(RESTORE)
    backend.sync_folder(BACKUPS)


def _unlike(path: str) -> DamagedBackupError:
    return DamagedBackupError(
        f"{path} was written, and is read back with other bytes",
        path=path,
        hint="Do not trust this disk; run `verify-disk` on it.",
    )


def remove_tree(backend: Backend, folder: str) -> None:
    """Remove a folder of copies with all that is in it; nothing where it is not. Raises DiskError."""
    stat = backend.stat(folder)
    if stat is None:
        return
    if stat.kind != "folder":
        backend.unlink(folder)
        return
    for name, entry in list(backend.scan(folder)):
        if entry.kind == "folder":
            remove_tree(backend, f"{folder}/{name}")
        else:
            backend.unlink(f"{folder}/{name}")
    backend.remove_folder(folder)
