"""The back end on a disk that can be made to fail.

It is not a mock: between the faults it does what any back end does, and the suite of all back ends holds for it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from synthians_memory.errors import DiskError, InvalidValueError, StoreClosedError, disk_error
from synthians_memory.storage.backend import EntryStat, FileWrite, HeldLock, ReadableFile, WritableFile
from synthians_memory.storage.paths import split
from synthians_memory.storage.whole_files import write_each
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.volume import refusal

__all__ = ["FaultyBackend"]

_T = TypeVar("_T")

# Calls that take the store itself, "", for a folder.
_TAKING_THE_STORE = frozenset(("free_bytes", "lock", "scan", "sync_filesystem", "sync_folder"))


class FaultyBackend:
    """A process with a store on a `FaultyDisk`; several may share one disk. Thread-safe.

    Args:
        disk: where the store is; its present life only.
    """

    def __init__(self, disk: FaultyDisk) -> None:
        self.disk = disk
        self._volume = disk.volume
        self._files: set[_FaultyFile] = set()
        self._locks: list[HeldLock] = []
        self._closed = False

    @property
    def location(self) -> str:
        return "the faulty disk"

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes | None:
        if offset < 0 or (length is not None and length < 0):
            raise InvalidValueError(f"cannot read {length} bytes of {path} from {offset}")
        return self._look("read", path, lambda: self._read(path, offset, length))

    def _read(self, path: str, offset: int, length: int | None) -> bytes | None:
        inode = self._volume.find_file(path)
        return None if inode is None else self._volume.read(inode, offset, length)

    def read_at_hand(self, path: str, size: int) -> bytes | None:
        """None: every read is one that may be planned to fail."""
        _check(path)
        return None

    def open_read(self, path: str) -> ReadableFile | None:
        inode = self._look("read", path, lambda: self._volume.find_file(path))
        return None if inode is None else _FaultyReader(partial(self._read_inode, inode, path), path)

    def _read_inode(self, inode: int, path: str, offset: int, length: int) -> bytes:
        try:
            return self._look("read", path, lambda: self._volume.read(inode, offset, length))
        except StoreClosedError as error:
            raise disk_error(refusal(errno.EBADF), "read", path) from error

    def stat(self, path: str) -> EntryStat | None:
        return self._look("stat", path, lambda: self._stat(path))

    def _stat(self, path: str) -> EntryStat | None:
        inode = self._volume.find(path)
        return None if inode is None else self._volume.stat(inode)

    def scan(self, folder: str) -> Iterator[tuple[str, EntryStat]]:
        return iter(self._look("scan", folder, lambda: self._scan(folder)))

    def _scan(self, folder: str) -> list[tuple[str, EntryStat]]:
        return [] if self._volume.find(folder) is None else self._volume.entries(self._volume.find_folder(folder))

    def create(self, path: str) -> WritableFile:
        return self._perform("create", path, lambda _: self._handle(self._volume.create(path), path))

    def open_existing(self, path: str) -> WritableFile:
        return self._perform("open_existing", path, lambda _: self._open_existing(path))

    def _open_existing(self, path: str) -> WritableFile:
        inode = self._volume.find_file(path)
        if inode is None:
            raise refusal(errno.ENOENT)
        return self._handle(inode, path)

    def _handle(self, inode: int, path: str) -> WritableFile:
        return _FaultyFile(self.disk, inode, path, self._files)

    def replace(self, source: str, target: str) -> None:
        _check(source)
        self._perform("replace", target, lambda _: self._volume.replace(source, target))

    def rename_new(self, source: str, target: str) -> bool:
        _check(source)
        return self._perform("replace", target, lambda _: self._rename_new(source, target))

    def _rename_new(self, source: str, target: str) -> bool:
        if self._volume.find(target) is not None:
            return False
        self._volume.replace(source, target)
        return True

    def write_files(self, writes: Sequence[FileWrite]) -> list[EntryStat | DiskError | None]:
        return write_each(self, writes)

    def unlink(self, path: str) -> bool:
        return self._perform("unlink", path, lambda _: self._volume.unlink(path))

    def make_folder(self, path: str) -> bool:
        return self._perform("make_folder", path, lambda _: self._volume.make_folder(path))

    def remove_folder(self, path: str) -> bool:
        return self._perform("remove_folder", path, lambda _: self._volume.remove_folder(path))

    def sync_folder(self, path: str) -> None:
        self._perform("sync_folder", path, lambda share: self._sync_folder(path, share), lambda: self._lose(path))

    def _sync_folder(self, path: str, share: float) -> None:
        if self._volume.sync(self._volume.find_folder(path), share):
            self.disk.retried_syncs.append(path)

    def _lose(self, path: str) -> None:
        inode = self._volume.find(path)
        if inode is not None:
            self._volume.lose(inode)

    def sync_filesystem(self) -> bool:
        return self._perform("sync_filesystem", "", self._sync_filesystem, self._lose_filesystem)

    def _sync_filesystem(self, share: float) -> bool:
        inodes = self._closed_inodes()
        for inode in inodes[: int(len(inodes) * share)]:
            self._volume.sync(inode)
        return self.disk.syncs_filesystem

    def _lose_filesystem(self) -> None:
        for inode in self._closed_inodes():
            self._volume.lose(inode)

    def _closed_inodes(self) -> list[int]:
        # A file that is open for writing is not promised to be covered.
        if not self.disk.syncs_filesystem:
            return []
        return [inode for inode in sorted(self._volume.pending) if not self._volume.opened[inode]]

    def free_bytes(self) -> int:
        return self._look("free_bytes", "", self.disk.free_bytes)

    def lock(self, folder: str, *, exclusive: bool) -> HeldLock | None:
        taken = self._look("lock", folder, lambda: self._lock(folder, exclusive=exclusive))
        if taken is not None:
            self._locks.append(taken)
        return taken

    def _lock(self, folder: str, *, exclusive: bool) -> HeldLock | None:
        return self.disk.take_lock(self._volume.find_folder(folder), exclusive=exclusive)

    def close(self) -> None:
        self._closed = True
        for file in list(self._files):
            file.close()
        for lock in self._locks:
            lock.release()
        self._locks = []

    def _perform(
        self, verb: str, path: str, effect: Callable[[float], _T], lose: Callable[[], None] | None = None
    ) -> _T:
        self._admit(verb, path)
        return self.disk.perform(verb, path or self.location, effect, lose)

    def _look(self, verb: str, path: str, effect: Callable[[], _T]) -> _T:
        self._admit(verb, path)
        return self.disk.look(verb, path or self.location, effect)

    def _admit(self, verb: str, path: str) -> None:
        if self._closed and not self.disk.power_is_off:
            raise StoreClosedError(f"the store on {self.location} is closed")
        if path or verb not in _TAKING_THE_STORE:
            _check(path)


class _FaultyReader:
    """A handle for reading, whatever becomes of the name; `read` gives bytes of the file."""

    def __init__(self, read: Callable[[int, int], bytes], path: str) -> None:
        self._read: Callable[[int, int], bytes] | None = read
        self._path = path

    def read_at(self, offset: int, length: int) -> bytes:
        if self._read is None:
            raise disk_error(refusal(errno.EBADF), "read", self._path)
        return self._read(offset, length)

    def read_each(self, offsets: Sequence[int], length: int) -> list[bytes]:
        return [self.read_at(offset, length) for offset in offsets]

    def read_each_at_hand(self, offsets: Sequence[int], length: int) -> list[bytes] | None:
        """None: every read is one that may be planned to fail."""
        return None

    def close(self) -> None:
        self._read = None


class _FaultyFile:
    """A handle of one life of the disk; belongs to `siblings` until it is closed."""

    def __init__(self, disk: FaultyDisk, inode: int, path: str, siblings: set[_FaultyFile]) -> None:
        self._disk = disk
        self._inode = inode
        self._path = path
        self._open = True
        self._end = disk.opened(inode)
        self._siblings = siblings
        siblings.add(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        content = bytes(data)
        self._disk.perform("write", self._path, lambda share: self._append(_beginning(content, share)))

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        content = bytes(data)
        self._disk.perform("write_at", self._path, lambda share: self._put(offset, _beginning(content, share)))

    def sync(self) -> None:
        self._disk.perform("sync", self._path, self._sync, lose=lambda: self._disk.volume.lose(self._inode))

    def stat(self) -> EntryStat:
        return self._disk.look("stat", self._path, self._stat)

    def close(self) -> None:
        if self._open:
            self._open = False
            self._siblings.discard(self)
            self._disk.closed(self._inode)

    def _append(self, part: bytes) -> None:
        start = self._end
        self._end += self._room(start, part)
        self._put(start, part)

    def _put(self, offset: int, part: bytes) -> None:
        room = self._room(offset, part)
        self._disk.volume.write(self._inode, offset, part[:room])
        if room < len(part):
            raise refusal(errno.ENOSPC)

    def _room(self, offset: int, part: bytes) -> int:
        """How many bytes of `part` there is room for."""
        self._require_open()
        if offset < 0:
            raise refusal(errno.EINVAL)
        if self._disk.capacity_bytes is None:
            return len(part)
        end = self._disk.volume.stat(self._inode).size + self._disk.free_bytes()
        return min(max(end - offset, 0), len(part))

    def _sync(self, share: float) -> None:
        self._require_open()
        if self._disk.volume.sync(self._inode, share):
            self._disk.retried_syncs.append(self._path)

    def _stat(self) -> EntryStat:
        self._require_open()
        return self._disk.volume.stat(self._inode)

    def _require_open(self) -> None:
        if not self._open:
            raise refusal(errno.EBADF)


def _beginning(content: bytes, share: float) -> bytes:
    return content if share == 1.0 else content[: int(len(content) * share)]


def _check(path: str) -> None:
    folder, _ = split(path)
    if folder:
        _check(folder)
