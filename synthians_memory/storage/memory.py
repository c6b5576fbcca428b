"""The back end in memory: the same contract as the local one, on a medium that ends with the process.

It is not a fault model: nothing is ever lost, and syncing does nothing.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from synthians_memory.errors import DiskError, InvalidValueError, StoreClosedError, disk_error
from synthians_memory.storage.backend import EntryStat, FileWrite, HeldLock, ReadableFile, WritableFile
from synthians_memory.storage.paths import split
from synthians_memory.storage.whole_files import write_each
from synthians_memory.times import Clock, SystemClock

__all__ = ["Medium", "MemoryBackend"]

# There is no limit but the machine's memory.
_FREE_BYTES = 1 << 62


@dataclass(eq=False, slots=True)
class _File:
    """Content that lives as long as a name or an open file refers to it."""

    mtime_ns: int
    content: bytearray = field(default_factory=bytearray)


@dataclass(eq=False, slots=True)
class _Folder:
    """Names and what they stand for, and the locks on it."""

    mtime_ns: int
    entries: dict[str, _File | _Folder] = field(default_factory=dict)
    locks: list[_MemoryLock] = field(default_factory=list)


_Node = TypeVar("_Node", _File, _Folder)


class Medium:
    """What outlives a `MemoryBackend`: the content of one store, and the locks on it; thread-safe.

    Args:
        name: for messages.
        clock: for modification times.
    """

    def __init__(self, name: str = "memory", *, clock: Clock | None = None) -> None:
        self.name = name
        self.guard = threading.RLock()
        self._clock = clock or SystemClock()
        self.root = _Folder(self.now_ns())

    def now_ns(self) -> int:
        """The clock, nanoseconds since the epoch."""
        return self._clock.micros() * 1000


class MemoryBackend:
    """A view of a store in memory; thread-safe.

    Args:
        medium: the content, shared by all views of it; None makes an empty one.
    """

    def __init__(self, medium: Medium | None = None) -> None:
        self._medium = medium if medium is not None else Medium()
        self.location = self._medium.name
        self.is_closed = False
        self._files: set[_MemoryFile] = set()
        self._locks: set[_MemoryLock] = set()

    def reopen(self) -> MemoryBackend:
        """A new view of the same content, as another process would open it; this one may be closed or not."""
        return MemoryBackend(self._medium)

    @property
    def medium(self) -> Medium:
        """The content, for further views."""
        return self._medium

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes | None:
        if offset < 0 or (length is not None and length < 0):
            raise InvalidValueError(f"cannot read {length} bytes of {path} from byte {offset}")
        with self._medium.guard:
            node = self._lookup(path)
            if node is None:
                return None
            end = None if length is None else offset + length
            return bytes(memoryview(_expect(node, _File, "read", path).content)[offset:end])

    def read_at_hand(self, path: str, size: int) -> bytes | None:
        with self._medium.guard:
            node = None if self.is_closed else self._lookup(path)
            return bytes(node.content) if isinstance(node, _File) and len(node.content) == size else None

    def open_read(self, path: str) -> ReadableFile | None:
        with self._medium.guard:
            node = self._lookup(path)
            return None if node is None else _MemoryReader(self, self._medium, _expect(node, _File, "read", path), path)

    def stat(self, path: str) -> EntryStat | None:
        with self._medium.guard:
            node = self._lookup(path)
            return None if node is None else _entry_stat(node)

    def scan(self, folder: str) -> Iterator[tuple[str, EntryStat]]:
        with self._medium.guard:
            found = self._folder(folder)
            return iter([(name, _entry_stat(node)) for name, node in found.entries.items()] if found else [])

    def create(self, path: str) -> WritableFile:
        with self._medium.guard:
            parent, name = self._parent("create", path)
            if name in parent.entries:
                raise _refuse(errno.EEXIST, "create", path)
            made = _File(self._medium.now_ns())
            self._put(parent, name, made)
            return _MemoryFile(self._medium, made, path, self._files)

    def open_existing(self, path: str) -> WritableFile:
        with self._medium.guard:
            node = self._lookup(path)
            if node is None:
                raise _refuse(errno.ENOENT, "open", path)
            return _MemoryFile(self._medium, _expect(node, _File, "open", path), path, self._files)

    def replace(self, source: str, target: str) -> None:
        with self._medium.guard:
            old, old_name = self._parent(action := f"rename {source} to", source)
            new, new_name = self._parent(action, target)
            moved = old.entries.get(old_name)
            if moved is None:
                raise _refuse(errno.ENOENT, action, target)
            replaced = new.entries.get(new_name)
            if moved is replaced:
                return
            if f"{target}/".startswith(f"{source}/"):
                raise _refuse(errno.EINVAL, action, target)
            if replaced is not None:
                _require_replaceable(moved, replaced, action, target)
            del old.entries[old_name]
            self._put(new, new_name, moved)

    def rename_new(self, source: str, target: str) -> bool:
        with self._medium.guard:
            if self._lookup(target) is not None:
                return False
            self.replace(source, target)
            return True

    def write_files(self, writes: Sequence[FileWrite]) -> list[EntryStat | DiskError | None]:
        return write_each(self, writes)

    def unlink(self, path: str) -> bool:
        with self._medium.guard:
            node = self._lookup(path)
            if node is not None:
                _expect(node, _File, "remove", path)
                self._drop(path)
            return node is not None

    def make_folder(self, path: str) -> bool:
        with self._medium.guard:
            parent, name = self._parent("make", path)
            there = parent.entries.get(name)
            if isinstance(there, _File):
                raise _refuse(errno.EEXIST, "make", path)
            if there is None:
                self._put(parent, name, _Folder(self._medium.now_ns()))
            return there is None

    def remove_folder(self, path: str) -> bool:
        with self._medium.guard:
            node = self._lookup(path)
            if node is not None:
                if _expect(node, _Folder, "remove", path).entries:
                    raise _refuse(errno.ENOTEMPTY, "remove", path)
                self._drop(path)
            return node is not None

    def sync_folder(self, path: str) -> None:
        with self._medium.guard:
            if self._folder(path) is None:
                raise _refuse(errno.ENOENT, "sync", path)

    def sync_filesystem(self) -> bool:
        with self._medium.guard:
            self._require_open()
        return True

    def free_bytes(self) -> int:
        with self._medium.guard:
            self._require_open()
        return _FREE_BYTES

    def lock(self, folder: str, *, exclusive: bool) -> HeldLock | None:
        with self._medium.guard:
            found = self._folder(folder)
            if found is None:
                raise _refuse(errno.ENOENT, "lock", folder)
            if any(exclusive or lock.exclusive for lock in found.locks):
                return None
            return _MemoryLock(self._medium, found, self._locks, exclusive=exclusive)

    def close(self) -> None:
        with self._medium.guard:
            self.is_closed = True
            for file in list(self._files):
                file.close()
            for lock in list(self._locks):
                lock.release()

    def _require_open(self) -> None:
        if self.is_closed:
            raise StoreClosedError(f"the store {self.location} is closed")

    def _folder(self, path: str) -> _Folder | None:
        """The folder at `path`; None where it is missing."""
        self._require_open()
        if not path:
            return self._medium.root
        node = self._lookup(path)
        return None if node is None else _expect(node, _Folder, "open", path)

    def _lookup(self, path: str) -> _File | _Folder | None:
        """What `path` stands for; None where that, or a folder above it, is missing."""
        parent, name = split(path)
        folder = self._folder(parent)
        return None if folder is None else folder.entries.get(name)

    def _parent(self, action: str, path: str) -> tuple[_Folder, str]:
        """The folder of `path`, which must be there, and the name in it."""
        parent, name = split(path)
        folder = self._folder(parent)
        if folder is None:
            raise _refuse(errno.ENOENT, action, path)
        return folder, name

    def _put(self, folder: _Folder, name: str, node: _File | _Folder) -> None:
        folder.entries[name] = node
        folder.mtime_ns = self._medium.now_ns()

    def _drop(self, path: str) -> None:
        folder, name = self._parent("remove", path)
        del folder.entries[name]
        folder.mtime_ns = self._medium.now_ns()


class _MemoryFile:
    """An open file; goes on to exist when its name is gone; among `siblings` until it is closed."""

    def __init__(self, medium: Medium, node: _File, path: str, siblings: set[_MemoryFile]) -> None:
        self._medium = medium
        self._node = node
        self._path = path
        self._siblings = siblings
        self._end = len(node.content)
        siblings.add(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        with self._medium.guard:
            self._splice("write", self._end, data)
            self._end += memoryview(data).nbytes

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        with self._medium.guard:
            self._splice("write", offset, data)

    def sync(self) -> None:
        with self._medium.guard:
            self._require_open("sync")

    def stat(self) -> EntryStat:
        with self._medium.guard:
            self._require_open("stat")
            return _entry_stat(self._node)

    def close(self) -> None:
        with self._medium.guard:
            self._siblings.discard(self)

    def _require_open(self, action: str) -> None:
        if self not in self._siblings:
            raise _refuse(errno.EBADF, action, self._path)

    def _splice(self, action: str, offset: int, data: bytes | bytearray | memoryview) -> None:
        self._require_open(action)
        content = self._node.content
        if offset > len(content):
            content.extend(bytes(offset - len(content)))
        piece = memoryview(data).cast("B")
        content[offset : offset + len(piece)] = piece
        self._node.mtime_ns = self._medium.now_ns()


class _MemoryReader:
    """A file open for reading; goes on to exist when its name is gone, until it is closed or its back end is."""

    def __init__(self, backend: MemoryBackend, medium: Medium, node: _File, path: str) -> None:
        self._backend: MemoryBackend | None = backend
        self._medium = medium
        self._node = node
        self._path = path

    def read_at(self, offset: int, length: int) -> bytes:
        with self._medium.guard:
            if self._backend is None or self._backend.is_closed:
                raise _refuse(errno.EBADF, "read", self._path)
            return bytes(memoryview(self._node.content)[offset : offset + length])

    def read_each(self, offsets: Sequence[int], length: int) -> list[bytes]:
        return [self.read_at(offset, length) for offset in offsets]

    def read_each_at_hand(self, offsets: Sequence[int], length: int) -> list[bytes] | None:
        try:
            found = self.read_each(offsets, length)
        except DiskError:
            return None
        return found if all(len(data) == length for data in found) else None

    def close(self) -> None:
        self._backend = None


class _MemoryLock:
    """A lock on a folder, in the folder's list and its back end's while it is held."""

    def __init__(self, medium: Medium, folder: _Folder, siblings: set[_MemoryLock], *, exclusive: bool) -> None:
        self.exclusive = exclusive
        self._medium = medium
        self._folder = folder
        self._siblings = siblings
        folder.locks.append(self)
        siblings.add(self)

    def release(self) -> None:
        with self._medium.guard:
            if self in self._siblings:
                self._siblings.discard(self)
                self._folder.locks.remove(self)


def _entry_stat(node: _File | _Folder) -> EntryStat:
    if isinstance(node, _File):
        return EntryStat("file", len(node.content), node.mtime_ns)
    return EntryStat("folder", 0, node.mtime_ns)


def _expect(node: _File | _Folder, kind: type[_Node], action: str, path: str) -> _Node:
    """`node`, if it is of that kind; the error of a file system otherwise."""
    if not isinstance(node, kind):
        raise _refuse(errno.EISDIR if kind is _File else errno.ENOTDIR, action, path)
    return node


def _require_replaceable(moved: _File | _Folder, replaced: _File | _Folder, action: str, target: str) -> None:
    """The rules of rename(2): a file over a file, a folder over an empty folder."""
    if isinstance(moved, _File):
        _expect(replaced, _File, action, target)
    elif _expect(replaced, _Folder, action, target).entries:
        raise _refuse(errno.ENOTEMPTY, action, target)


def _refuse(number: int, action: str, path: str) -> DiskError:
    return disk_error(OSError(number, os.strerror(number)), action, path)
