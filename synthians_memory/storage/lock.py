"""Who may write to a store and who reads beside it: the locks above a back end, and the holder's name.

It locks nothing itself: the back end does, and `store.lock` is only a note to people.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

from synthians_memory.errors import DiskError, StoreLockedError
from synthians_memory.layout import JOURNAL, LOCK_FILE, scratch_path
from synthians_memory.storage.backend import Backend, HeldLock

__all__ = ["LockHolder", "ReaderLock", "StoreLock", "lock_folder", "read_holder", "try_exclusive_journal"]

WAIT_SECONDS = 0.3
_PAUSE_SECONDS = 0.02
_MAX_NOTE_BYTES = 4096
# Only the holder of the exclusive lock ever makes it, so that one name is enough.
_NOTE_SCRATCH = scratch_path("", LOCK_FILE)

_Sleep = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class LockHolder:
    """What store.lock says: who holds the store.

    Attributes:
        host: name of the machine.
        pid: process id there.
        started: when it took the lock, RFC 3339.
    """

    host: str
    pid: int
    started: str

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host} since {self.started}"


class StoreLock:
    """The writer's lock on a whole store; made by `acquire`.

    It belongs to the process that took it: a forked child neither holds it nor can release it.

    Attributes:
        note_error: why store.lock could not be written, or None. The store is locked all the same.
    """

    def __init__(self, backend: Backend, held: HeldLock, note_error: DiskError | None) -> None:
        self.note_error = note_error
        self._backend = backend
        self._held = held
        self._pid = os.getpid()
        self._released = False

    @classmethod
    def acquire(
        cls, backend: Backend, *, clock_text: str, wait: float = WAIT_SECONDS, sleep: _Sleep = time.sleep
    ) -> StoreLock:
        """Become the store's only writer and write store.lock.

        Args:
            backend: the store.
            clock_text: the time now, RFC 3339, for store.lock.
            wait: how long to try again while another holds it, seconds.
            sleep: called between two tries.

        Raises:
            StoreLockedError: another process, or another opening in this one, holds it.
            DiskError: the back end cannot lock.
        """
        held = _lock_with_patience(backend, "", exclusive=True, wait=wait, sleep=sleep)
        if held is None:
            raise _locked(backend)
        try:
            return cls(backend, held, _write_note(backend, LockHolder(socket.gethostname(), os.getpid(), clock_text)))
        except BaseException:
            held.release()
            raise

    def release(self) -> None:
        """Remove store.lock and give the store up; idempotent.

        Raises:
            DiskError: store.lock could not be removed. The store is given up all the same.
        """
        if self._released or self._pid != os.getpid():
            return
        self._released = True
        try:
            if self.note_error is None:
                self._backend.unlink(LOCK_FILE)
        finally:
            self._held.release()


class ReaderLock:
    """A reader's hold on the journal: while it lasts the writer drops no segment; made by `acquire`."""

    def __init__(self, held: HeldLock) -> None:
        self._held = held

    @classmethod
    def acquire(cls, backend: Backend, *, wait: float = WAIT_SECONDS, sleep: _Sleep = time.sleep) -> ReaderLock:
        """Share the journal with other readers; waits for a writer that is just dropping segments.

        Args:
            backend: the store; its journal folder is there.
            wait: how long to try again, seconds.
            sleep: called between two tries.

        Raises:
            StoreLockedError: the writer keeps it for longer.
            DiskError: there is no journal folder, or the back end cannot lock.
        """
        held = _lock_with_patience(backend, JOURNAL, exclusive=False, wait=wait, sleep=sleep)
        if held is None:
            raise StoreLockedError(
                f"the writer of {backend.location} is busy dropping journal segments",
                path=JOURNAL,
                hint="Try again.",
                holder=_name(read_holder(backend)),
            )
        return cls(held)

    def release(self) -> None:
        """Let the writer drop segments again; idempotent."""
        self._held.release()


def try_exclusive_journal(backend: Backend) -> HeldLock | None:
    """Shut readers out of the journal while segments are dropped; None at once where one is reading.

    Raises:
        DiskError: there is no journal folder, or the back end cannot lock.
    """
    return backend.lock(JOURNAL, exclusive=True)


def lock_folder(backend: Backend, folder: str, *, wait: float, sleep: _Sleep = time.sleep) -> HeldLock:
    """Keep every other holder out of one folder, which is not the store's own writer's lock.

    Args:
        backend: the medium.
        folder: it is there; "" is all of the medium.
        wait: how long to try again while another holds it, seconds.
        sleep: called between two tries.

    Raises:
        StoreLockedError: another holds it for longer.
        DiskError: there is no such folder, or the back end cannot lock.
    """
    held = _lock_with_patience(backend, folder, exclusive=True, wait=wait, sleep=sleep)
    if held is None:
        raise StoreLockedError(
            f"another program has been writing to {folder or backend.location} for {wait:g} seconds",
            path=folder or None,
            hint="Try again when it is done.",
        )
    return held


def read_holder(backend: Backend) -> LockHolder | None:
    """Who store.lock says holds the store; None where it is missing, unreadable or no such note.

    It may name a process that has died: only the lock itself tells whether the store is held.
    """
    with suppress(DiskError, ValueError, RecursionError, KeyError, TypeError):
        note = json.loads(backend.read(LOCK_FILE, 0, _MAX_NOTE_BYTES) or b"")
        host, pid, started = note["host"], note["pid"], note["started"]
        if isinstance(host, str) and type(pid) is int and isinstance(started, str):
            return LockHolder(_printable(host), pid, _printable(started))
    return None


def _lock_with_patience(
    backend: Backend, folder: str, *, exclusive: bool, wait: float, sleep: _Sleep
) -> HeldLock | None:
    """`Backend.lock`, tried again for about `wait` seconds of `sleep`."""
    for _ in range(max(0, round(wait / _PAUSE_SECONDS))):
        held = backend.lock(folder, exclusive=exclusive)
        if held is not None:
            return held
        sleep(_PAUSE_SECONDS)
    return backend.lock(folder, exclusive=exclusive)


def _write_note(backend: Backend, holder: LockHolder) -> DiskError | None:
    """Put `holder` into store.lock in one step; the error where that is not possible.

    A full disk must not keep a store from being opened: deleting is what makes space on it.
    """
    try:
        backend.unlink(_NOTE_SCRATCH)
        file = backend.create(_NOTE_SCRATCH)
        try:
            file.write(json.dumps(asdict(holder)).encode() + b"\n")
        finally:
            file.close()
        backend.replace(_NOTE_SCRATCH, LOCK_FILE)
    except DiskError as error:
        return error
    return None


def _locked(backend: Backend) -> StoreLockedError:
    holder = _name(read_holder(backend))
    return StoreLockedError(
        f"{backend.location} is held by {holder or 'another program'}", path=LOCK_FILE, holder=holder
    )


def _name(holder: LockHolder | None) -> str:
    return str(holder) if holder is not None else ""


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:200])
