"""Directories of a store held open, so that what is done in one is done in that very directory.

It opens nothing for writing and changes nothing.
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from synthians_memory.errors import DiskError, disk_error
from synthians_memory.storage.backend import EntryStat

__all__ = ["Folder", "entry_stat", "missing", "open_flags", "open_folder", "open_store"]


def open_flags(*names: str) -> int:
    """The flags of those names, with those that belong to every open; one the platform has not is nothing."""
    names = (*names, "O_CLOEXEC", "O_BINARY", "O_NOINHERIT")
    return functools.reduce(lambda flags, name: flags | int(getattr(os, name, 0)), names, 0)


_AT_ONCE = 256
_STORE_FLAGS = open_flags("O_RDONLY", "O_DIRECTORY")
_FOLDER_FLAGS = open_flags("O_RDONLY", "O_DIRECTORY", "O_NOFOLLOW")


class Folder:
    """A directory and its descriptor, which is closed with its last user.

    A read on another thread therefore never meets a number that already stands for something else.

    Attributes:
        fd: what names are relative to; None where the platform has no directory descriptors (Windows).
        prefix: what stands before a name: nothing, or there the directory's full path.
        device: number of the file system.
        path: relative to the store, for messages; of the store itself, its location.
    """

    __slots__ = ("_inode", "_name", "_parent", "device", "fd", "path", "prefix")

    def __init__(self, fd: int | None, prefix: str, path: str, parent: Folder | None) -> None:
        self.fd = fd
        self.prefix = prefix
        self.path = path
        self._parent = parent
        self._name = path.rpartition("/")[2]
        status = os.stat(prefix) if fd is None else os.fstat(fd)
        self.device = status.st_dev
        self._inode = status.st_ino

    def __del__(self, _close: Callable[[int], None] = os.close) -> None:
        if self.fd is not None:
            _close(self.fd)

    @property
    def descriptor(self) -> int:
        """`fd`, for a call that needs one. OSError (ENOTSUP) where the platform has none."""
        if self.fd is None:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        return self.fd

    def require_in_place(self) -> None:
        """Raise DiskError (ESTALE) unless the folder's path still leads to this very directory."""
        parent = self._parent
        if parent is None:
            return
        try:
            there = os.stat(parent.prefix + self._name, dir_fd=parent.fd, follow_symlinks=False)
        except FileNotFoundError as error:
            raise _stale(self.path) from error
        except OSError as error:
            raise disk_error(error, "find", self.path) from error
        if there.st_ino != self._inode or there.st_dev != self.device:
            raise _stale(self.path)
        parent.require_in_place()

    def require_present(self) -> None:
        """As `require_in_place`, and the store itself is not removed: only then does a missing name mean absence."""
        self.require_in_place()
        try:
            gone = self._parent is None and self.fd is not None and os.fstat(self.fd).st_nlink == 0
        except OSError as error:
            raise disk_error(error, "find", self.path) from error
        if gone:
            raise _stale(self.path)

    def reopen(self) -> int:
        """A new descriptor of this directory that shares nothing with `fd`. OSError as the system raises it."""
        return os.open(".", _FOLDER_FLAGS, dir_fd=self.descriptor)

    def scan(self) -> Iterator[tuple[str, EntryStat]]:
        """As `Backend.scan`; several may run at once."""
        try:
            self.require_present()
            # The position in a directory belongs to the open file description, and stat needs it until the end.
            descriptor = None if self.fd is None else self.reopen()
            try:
                with os.scandir(self.prefix if descriptor is None else descriptor) as entries:
                    yield from _stat_each(entries)
            finally:
                if descriptor is not None:
                    os.close(descriptor)
        except DiskError:
            raise
        except OSError as error:
            raise disk_error(error, "list", self.path) from error


def open_store(location: str) -> Folder:
    """The store's own directory, from which all others are reached.

    Args:
        location: its full path; a symlink is followed.

    Raises:
        DiskError: there is none, or it cannot be opened.
    """
    prefix, fd = "", None
    try:
        if sys.platform == "win32":
            prefix = location + os.sep
        else:
            fd = os.open(location, _STORE_FLAGS)
        return Folder(fd, prefix, location, None)
    except OSError as error:
        raise disk_error(error, "open", location) from error


def open_folder(parent: Folder, name: str, path: str) -> Folder | None:
    """The folder `name` in `parent`, not followed where it is a symlink; None where nothing has that name.

    Args:
        parent: held open.
        name: one component.
        path: relative to the store, for messages.

    Raises:
        DiskError: something that is no folder has that name, or it cannot be opened.
    """
    prefix, fd = "", None
    try:
        if parent.fd is None:
            prefix = f"{parent.prefix}{name}{os.sep}"
        else:
            fd = os.open(name, _FOLDER_FLAGS, dir_fd=parent.fd)
        return Folder(fd, prefix, path, parent)
    except FileNotFoundError:
        parent.require_present()
        return None
    except OSError as error:
        raise disk_error(error, "open", path) from error


def entry_stat(status: os.stat_result) -> EntryStat:
    """What the store needs of a status that was taken without following symlinks."""
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return EntryStat("file", status.st_size, status.st_mtime_ns)
    return EntryStat("folder" if stat.S_ISDIR(mode) else "other", status.st_size, status.st_mtime_ns)


def _stat_each(entries: Iterator[os.DirEntry[str]]) -> Iterator[tuple[str, EntryStat]]:
    # Some hundred at once: in turns with what is done to each, both would take longer.
    while part := list(itertools.islice(entries, _AT_ONCE)):
        try:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in part]
        except FileNotFoundError:
            found = list(_still_there(part))
        yield from [(name, entry_stat(status)) for name, status in found]


def _still_there(entries: list[os.DirEntry[str]]) -> Iterator[tuple[str, os.stat_result]]:
    """Those that are not gone since they were listed."""
    for entry in entries:
        with suppress(FileNotFoundError):
            yield entry.name, entry.stat(follow_symlinks=False)


def _stale(path: str) -> DiskError:
    return DiskError(
        f"{path} was moved, removed or replaced while the store was open",
        path=path,
        hint="Close the store, put it back, and open the store again.",
        errno=errno.ESTALE,
    )


def missing(action: str, path: str) -> DiskError:
    """The error of a call on a path whose folder is not there."""
    return disk_error(FileNotFoundError(errno.ENOENT, "its folder is missing"), action, path)
