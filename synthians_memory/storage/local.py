"""The back end on a local directory: the one module inside the store that opens for writing, renames and syncs.

It is not a cache and keeps no order: every call is the few system calls its name says.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from synthians_memory.errors import DiskError, InvalidValueError, StoreClosedError, disk_error
from synthians_memory.storage.backend import EntryStat, FileWrite, HeldLock, ReadableFile, WritableFile
from synthians_memory.storage.descriptors import is_directory, read_regular, require_regular, write_rest
from synthians_memory.storage.filesystem import free_bytes, syncfs_reports_errors
from synthians_memory.storage.flock import FolderLock, lock_directory
from synthians_memory.storage.folder import Folder, entry_stat, missing, open_flags, open_folder, open_store
from synthians_memory.storage.paths import split
from synthians_memory.storage.reader import LocalReader
from synthians_memory.storage.syscalls import load_read_at_hand, load_rename_new, load_syncfs
from synthians_memory.storage.whole_files import discard, write_each

if sys.platform == "win32":
    from synthians_memory.layout import scratch_path
    from synthians_memory.storage.flock import lock_windows_file
elif sys.platform == "darwin":
    import fcntl

__all__ = ["LocalBackend", "sync_content", "sync_directory", "sync_names"]

# Descriptors kept of folders that are not directly in the store: quarantine may have one for each day.
_MOST_NESTED = 32
_FILE_MODE = 0o600
_FOLDER_MODE = 0o700
# O_NONBLOCK: a FIFO is opened, and refused, without waiting for its other end.
_READ_FLAGS = open_flags("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK")
_APPEND_FLAGS = open_flags("O_WRONLY", "O_NOFOLLOW", "O_NONBLOCK")
_CREATE_FLAGS = open_flags("O_WRONLY", "O_CREAT", "O_EXCL", "O_NOFOLLOW")


class LocalBackend:
    """A store in a directory of a local file system; thread-safe as `Backend` says.

    All work is relative to descriptors: that of the store is opened at the start, that of a folder at its first
    use, and kept; of folders below folders the latest few are. A store that is moved as a whole goes on working. A
    folder that is moved, removed or replaced while its descriptor is held is never written to again: DiskError
    (ESTALE). No symlink is followed below the store; Windows has neither directory descriptors nor O_NOFOLLOW, so
    that this does not hold there.

    Args:
        root: the store's directory; may be a symlink, which is resolved once, here.
        create: make it, mode 0700, and the directories above it, where missing, and make their names durable.

    Raises:
        DiskError: there is no such directory, or it cannot be opened or made.
    """

    def __init__(self, root: str | os.PathLike[str], *, create: bool = False) -> None:
        self._location = os.path.realpath(root)
        if create:
            _make_root(self._location)
        self._opening = threading.RLock()
        self._closed = False
        store = open_store(self._location)
        self._folders = {"": store}
        self._files: set[_LocalFile] = set()
        self._readers: weakref.WeakSet[LocalReader] = weakref.WeakSet()
        # Its folder was found in place when it was created, so a rename that follows asks for that no more.
        self._created = ""
        self._locks: list[FolderLock] = []
        self._rename_new = load_rename_new() if store.fd is not None else None
        self._read_at_hand = load_read_at_hand() if store.fd is not None else None
        # The kernel tells on this descriptor what failed since it was opened, so it is opened before any write.
        self._syncfs = load_syncfs() if store.fd is not None and syncfs_reports_errors(store.fd) else None

    @property
    def location(self) -> str:
        return self._location

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes | None:
        if offset < 0 or (length is not None and length < 0):
            raise InvalidValueError(f"cannot read {length} bytes of {path} from byte {offset}")
        descriptor = self._opened_to_read(path)
        if descriptor is None:
            return None
        try:
            return read_regular(descriptor, offset, length)
        except OSError as error:
            raise disk_error(error, "read", path) from error
        finally:
            os.close(descriptor)

    def open_read(self, path: str) -> ReadableFile | None:
        descriptor = self._opened_to_read(path)
        return None if descriptor is None else LocalReader(descriptor, path, self._readers)

    def _opened_to_read(self, path: str) -> int | None:
        folder, name = self._find(path)
        if folder is None:
            return None
        try:
            return os.open(folder.prefix + name, _READ_FLAGS, dir_fd=folder.fd)
        except FileNotFoundError:
            folder.require_present()
            return None
        except OSError as error:
            raise disk_error(error, "read", path) from error

    def read_at_hand(self, path: str, size: int) -> bytes | None:
        parent, name = split(path)
        folder = self._folders.get(parent)
        if self._read_at_hand is None or folder is None or folder.fd is None:
            return None
        return self._read_at_hand(folder.fd, name, size)

    def stat(self, path: str) -> EntryStat | None:
        folder, name = self._find(path)
        if folder is None:
            return None
        try:
            return entry_stat(os.stat(folder.prefix + name, dir_fd=folder.fd, follow_symlinks=False))
        except FileNotFoundError:
            folder.require_present()
            return None
        except OSError as error:
            raise disk_error(error, "stat", path) from error

    def scan(self, folder: str) -> Iterator[tuple[str, EntryStat]]:
        held = self._folder(folder)
        return iter(()) if held is None else held.scan()

    def create(self, path: str) -> WritableFile:
        folder, name = self._place(path, "create")
        try:
            descriptor = os.open(folder.prefix + name, _CREATE_FLAGS, _FILE_MODE, dir_fd=folder.fd)
        except OSError as error:
            raise disk_error(error, "create", path) from error
        self._created = path
        return _LocalFile(descriptor, path, self._files)

    def open_existing(self, path: str) -> WritableFile:
        folder, name = self._place(path, "open")
        try:
            descriptor = os.open(folder.prefix + name, _APPEND_FLAGS, dir_fd=folder.fd)
        except OSError as error:
            raise disk_error(error, "open", path) from error
        try:
            require_regular(os.fstat(descriptor))
            os.lseek(descriptor, 0, os.SEEK_END)
        except OSError as error:
            os.close(descriptor)
            raise disk_error(error, "open", path) from error
        return _LocalFile(descriptor, path, self._files)

    def replace(self, source: str, target: str) -> None:
        old, old_name = self._source(source)
        new, new_name = self._find(target)
        if new is not old:
            new, new_name = self._place(target, "replace")
        try:
            _rename(old.prefix + old_name, new.prefix + new_name, src_dir_fd=old.fd, dst_dir_fd=new.fd)
        except OSError as error:
            raise disk_error(error, f"rename {source} to", target) from error
        if source in self._folders or target in self._folders:
            self._forget(source)
            self._forget(target)

    def rename_new(self, source: str, target: str) -> bool:
        folder, old_name = self._source(source)
        _, name = split(target)
        try:
            if self._rename_new is not None and folder.fd is not None:
                return self._rename_new(folder.fd, old_name, folder.fd, name)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise disk_error(error, f"rename {source} to", target) from error
            self._rename_new = None
        # One writer: nobody but a stranger can make the name between the two calls.
        if self.stat(target) is not None:
            return False
        self.replace(source, target)
        return True

    def _source(self, path: str) -> tuple[Folder, str]:
        """Folder and name of what is to be renamed; the folder is in place."""
        created, self._created = self._created, ""
        folder, name = self._find(path) if path == created else self._place(path, "rename")
        if folder is None:
            raise missing("rename", path)
        return folder, name

    def write_files(self, writes: Sequence[FileWrite]) -> list[EntryStat | DiskError | None]:
        return write_each(self, writes, self._write_scratch)

    def _write_scratch(self, path: str, data: bytes) -> EntryStat:
        """As `write_scratch`, closed, in as few steps as possible."""
        folder, name = self._place(path, "create")
        try:
            descriptor = os.open(folder.prefix + name, _CREATE_FLAGS, _FILE_MODE, dir_fd=folder.fd)
        except FileExistsError:
            self.unlink(path)
            return self._write_scratch(path, data)
        except OSError as error:
            raise disk_error(error, "create", path) from error
        self._created = path
        try:
            written = os.write(descriptor, data)
            if written != len(data):
                write_rest(data, written, lambda rest, done: os.write(descriptor, rest))
            return entry_stat(os.fstat(descriptor))
        except OSError as error:
            discard(self, path)
            raise disk_error(error, "write", path) from error
        finally:
            os.close(descriptor)

    def unlink(self, path: str) -> bool:
        return self._remove(path, os.unlink)

    def make_folder(self, path: str) -> bool:
        folder, name = self._place(path, "make")
        try:
            os.mkdir(folder.prefix + name, _FOLDER_MODE, dir_fd=folder.fd)
        except OSError as error:
            there = self.stat(path) if error.errno == errno.EEXIST else None
            if there is not None and there.kind == "folder":
                return False
            raise disk_error(error, "make", path) from error
        return True

    def remove_folder(self, path: str) -> bool:
        removed = self._remove(path, os.rmdir)
        self._forget(path)
        return removed

    def sync_folder(self, path: str) -> None:
        folder = self._held(path, "sync")
        try:
            if folder.fd is not None:
                sync_names(folder.fd)
        except OSError as error:
            raise disk_error(error, "sync", folder.path) from error

    def sync_filesystem(self) -> bool:
        store = self._held("", "sync")
        held = list(self._folders.values())
        # A folder with another device number may be a mount of its own, which one syncfs does not reach.
        if self._syncfs is None or any(folder.device != store.device for folder in held):
            return False
        for folder in held:
            folder.require_in_place()
        try:
            self._syncfs(store.descriptor)
            # Before Linux 5.17 syncfs drops the error of a failed journal commit or device flush; fsync does not.
            os.fsync(store.descriptor)
        except OSError as error:
            raise disk_error(error, "sync the file system of", self._location) from error
        return True

    def free_bytes(self) -> int:
        store = self._held("", "measure")
        try:
            return free_bytes(store.fd) if store.fd is not None else shutil.disk_usage(self._location).free
        except OSError as error:
            raise disk_error(error, "measure", self._location) from error

    def lock(self, folder: str, *, exclusive: bool) -> HeldLock | None:
        held = self._held(folder, "lock")
        try:
            taken: FolderLock | None
            if sys.platform == "win32":
                taken = lock_windows_file(held.prefix + scratch_path("", "lock"))
            else:
                taken = lock_directory(held.reopen(), exclusive=exclusive)
        except OSError as error:
            raise disk_error(error, "lock", held.path) from error
        self._locks = [lock for lock in self._locks if lock.held]
        if taken is not None:
            self._locks.append(taken)
        return taken

    def close(self) -> None:
        with self._opening:
            self._closed = True
            self._folders = {}
        for file in (*self._files, *self._readers):
            file.close()  # type: ignore[attr-defined]
        for lock in self._locks:
            lock.release()
        self._locks = []

    def _remove(self, path: str, remove: Callable[..., None]) -> bool:
        folder, name = self._find(path)
        if folder is None:
            return False
        folder.require_in_place()
        try:
            remove(folder.prefix + name, dir_fd=folder.fd)
        except FileNotFoundError:
            folder.require_present()
            return False
        except OSError as error:
            raise disk_error(error, "remove", path) from error
        return True

    def _find(self, path: str) -> tuple[Folder | None, str]:
        """The folder of `path`, None where it is missing, and the name in it."""
        folder, name = split(path)
        return self._folders.get(folder) or self._folder(folder), name

    def _place(self, path: str, action: str) -> tuple[Folder, str]:
        """As `_find`, for a call that changes something: the folder is there, and where its path says."""
        folder, name = self._find(path)
        if folder is None:
            raise missing(action, path)
        folder.require_in_place()
        return folder, name

    def _held(self, path: str, action: str) -> Folder:
        """The folder `path`; it is there, and where its path says."""
        folder = self._folder(path)
        if folder is None:
            raise missing(action, path)
        folder.require_in_place()
        return folder

    def _folder(self, path: str) -> Folder | None:
        """The folder `path`, opened component by component at its first use; None where it is missing."""
        folder = self._folders.get(path)
        if folder is not None:
            return folder
        with self._opening:
            if self._closed:
                raise StoreClosedError(f"the store {self._location} is closed")
            parent, name = self._find(path)
            folder = parent and open_folder(parent, name, path)
            if folder is not None:
                self._folders[path] = folder
                self._let_go_of_nested()
            return folder

    def _let_go_of_nested(self) -> None:
        """Folders below folders may be without number; those opened first are opened again when they are asked for."""
        nested = [path for path in self._folders if "/" in path]
        if len(nested) > _MOST_NESTED:
            gone = set(nested[:-_MOST_NESTED])
            self._folders = {path: folder for path, folder in self._folders.items() if path not in gone}

    def _forget(self, path: str) -> None:
        """Let go of the folder `path` and of those below it: the path leads elsewhere from now on."""
        with self._opening:
            self._folders = {
                held: folder for held, folder in self._folders.items() if not f"{held}/".startswith(f"{path}/")
            }


class _LocalFile:
    """A descriptor open for writing; among `siblings` until it is closed."""

    __slots__ = ("_descriptor", "_path", "_siblings")

    def __init__(self, descriptor: int, path: str, siblings: set[_LocalFile]) -> None:
        self._descriptor = descriptor
        self._path = path
        self._siblings = siblings
        siblings.add(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            written = os.write(self._descriptor, data)
            if written != len(data) or isinstance(data, memoryview):
                write_rest(data, written, lambda rest, done: os.write(self._descriptor, rest))
        except OSError as error:
            raise disk_error(error, "write", self._path) from error

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        try:
            written = _pwrite(self._descriptor, data, offset)
            if written != len(data) or isinstance(data, memoryview):
                write_rest(data, written, lambda rest, done: _pwrite(self._descriptor, rest, offset + done))
        except OSError as error:
            raise disk_error(error, "write", self._path) from error

    def sync(self) -> None:
        try:
            if self._descriptor < 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            sync_content(self._descriptor)
        except OSError as error:
            raise disk_error(error, "sync", self._path) from error

    def stat(self) -> EntryStat:
        try:
            return entry_stat(os.fstat(self._descriptor))
        except OSError as error:
            raise disk_error(error, "stat", self._path) from error

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._siblings.discard(self)
            # The descriptor is gone either way, and of lost writes it is `sync` that tells.
            with suppress(OSError):
                os.close(descriptor)


def sync_content(descriptor: int) -> None:
    """Make a file's content and size durable. OSError as the system raises it."""
    if sys.platform == "linux":
        os.fdatasync(descriptor)
    elif sys.platform == "darwin":
        _full_fsync(descriptor)
    else:
        os.fsync(descriptor)


def sync_names(descriptor: int) -> None:
    """Make the names in an open directory durable. OSError as the system raises it."""
    if sys.platform == "darwin":
        _full_fsync(descriptor)
    else:
        os.fsync(descriptor)


def sync_directory(path: str) -> None:
    """Make the names in the directory `path`, which is in no store, durable; nothing where that cannot be done.

    Raises:
        OSError: as the system raises it.
    """
    if sys.platform != "win32":
        descriptor = os.open(path, open_flags("O_RDONLY", "O_DIRECTORY"))
        try:
            sync_names(descriptor)
        finally:
            os.close(descriptor)


def _make_root(location: str) -> None:
    """Make `location` and the directories above it where missing, from the top, each name durable before the next."""
    missing, present = [], location
    try:
        while not is_directory(present):
            missing.append(present)
            present = os.path.dirname(present)
        for directory in reversed(missing):
            with suppress(FileExistsError):  # another process was faster
                os.mkdir(directory, _FOLDER_MODE)
            sync_directory(os.path.dirname(directory))
        if not missing:
            # Whoever made it may have died before this. A parent that cannot be read was not ours to make it in.
            with suppress(PermissionError):
                sync_directory(os.path.dirname(location))
    except OSError as error:
        raise disk_error(error, "make", location) from error


def _full_fsync(descriptor: int) -> None:
    """Sync through the drive's own cache, which fsync on macOS does not. Untested: the suite runs on Linux only."""
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
            os.fsync(descriptor)  # a file system without that call


def _rename_with_patience(
    source: str, target: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> None:
    """os.replace, tried again while a virus scanner holds a file on Windows. Untested: the suite runs on Linux only."""
    for pause in (0.01, 0.02, 0.05, 0.1, 0.2):
        try:
            os.replace(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        except PermissionError:
            time.sleep(pause)
        else:
            return
    os.replace(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)


def _pwrite_by_seek(descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> int:
    """os.pwrite, which Windows has not. Untested: the suite runs on Linux only."""
    end = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, offset, os.SEEK_SET)
    try:
        return os.write(descriptor, data)
    finally:
        os.lseek(descriptor, end, os.SEEK_SET)


_rename = _rename_with_patience if sys.platform == "win32" else os.replace
_pwrite: Callable[[int, bytes | bytearray | memoryview, int], int] = getattr(os, "pwrite", _pwrite_by_seek)
