"""Advisory locks of the operating system on a directory, given up by whoever dies and by forked children.

It is not the store's lock: it knows no holder's name and never waits.
"""

from __future__ import annotations

import os
import sys
import weakref
from typing import Protocol

if sys.platform == "win32":
    from filelock import FileLock, Timeout
else:
    import fcntl

__all__ = ["DirectoryLock", "FolderLock", "lock_directory"]


class FolderLock(Protocol):
    """A lock on one folder."""

    @property
    def held(self) -> bool:
        """Whether this process still holds it."""

    def release(self) -> None:
        """Give it up; idempotent."""


class DirectoryLock:
    """A flock on an open file description of its own; owns the descriptor.

    Released by `release`, with the object, and at the end of the process. A child forked from the process
    closes its copy at once: the lock stays the parent's, and is free when the parent gives it up or dies.
    """

    __slots__ = ("__weakref__", "_descriptor")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _owned.add(self)

    def __del__(self) -> None:
        self.release()

    @property
    def held(self) -> bool:
        return self._descriptor >= 0

    def take(self, *, exclusive: bool) -> bool:
        """Lock without waiting; False where another holder is in the way. OSError as flock raises it."""
        try:
            fcntl.flock(self._descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            # Closing alone would leave it locked while a copy lives in a child that was forked outside Python.
            try:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            except OSError:
                # Then closing has to do; a store that is being given up has nobody to tell.
                return
            finally:
                os.close(descriptor)

    def abandon(self) -> None:
        """Close the descriptor without unlocking what it shares with the parent process."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def lock_directory(descriptor: int, *, exclusive: bool) -> DirectoryLock | None:
    """Lock the directory behind `descriptor` without waiting; None where another holder is in the way.

    Args:
        descriptor: of an open file description that nothing else uses; owned by this call from here on.
        exclusive: against every other lock, or only against exclusive ones.

    Raises:
        OSError: the file system knows no locks, or has none left.
    """
    lock = DirectoryLock(descriptor)
    try:
        taken = lock.take(exclusive=exclusive)
    except OSError:
        lock.release()
        raise
    if not taken:
        lock.release()
        return None
    return lock


# Every lock that is not released, for the child of a fork.
_owned: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


def _abandon_in_child() -> None:
    for lock in list(_owned):
        lock.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_in_child)


if sys.platform == "win32":

    class WindowsLock:
        """A lock file, locked by the system (never by its mere existence). Untested: the suite runs on POSIX only."""

        def __init__(self, lock: FileLock) -> None:
            self._lock = lock

        @property
        def held(self) -> bool:
            return self._lock.is_locked

        def release(self) -> None:
            self._lock.release()

    def lock_windows_file(path: str) -> WindowsLock | None:
        """Lock the file `path`, made where missing; always exclusive. Untested: the suite runs on POSIX only."""
        lock = FileLock(path, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return None
        return WindowsLock(lock)
