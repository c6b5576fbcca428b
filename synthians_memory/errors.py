"""The one error tree of the library.

It is not a log: whatever raises one of these has changed nothing it does not name.

SynthiansMemoryError
├── InvalidValueError (ValueError)       a value that cannot be stored
│   ├── InvalidIdError                   an id that cannot name an entity
│   ├── DimensionError                   a vector of another length than the store's
│   └── BatchTooLargeError               a batch over max_batch_bytes
├── InvalidTypeError (TypeError)         a value of a type that cannot be stored
├── UsageError (RuntimeError)            the call cannot be made now, or from here
│   ├── StoreClosedError                 before initialize() or after close()
│   ├── WrongLoopError                   from another event loop than the opening one
│   ├── ForkedStoreError                 in a child forked from the opening process
│   ├── MissingExtraError                an optional library is not installed
│   ├── GitFailedError                   git is not there, or does not answer
│   └── ReadOnlyError                    a write to a store opened, or turned, read-only
├── StoreLockedError                     another process holds the store
├── NotFiledError                        an issue about a failure could not be filed
├── NotStoredError                       a memory to remember that could not be stored, and where it is now
├── OverloadedError                      too much is acknowledged and not yet in files
├── StoreFormatError                     this directory cannot be opened as a store
│   ├── NotAStoreError                   no superblock, and not empty
│   ├── UnsupportedFormatError           written by a newer version
│   │   └── OutdatedFormatError          of an older format: `migrate` brings it up to date
│   ├── StoreMovedError                  moved to another place
│   └── EmbedderMismatchError            another embedder, dimension or metric
├── EntityNotFoundError (KeyError)       no such memory or assembly
├── ConflictError                        the stored version is not the expected one
├── SearchTimeoutError (TimeoutError)    no answer within the time allowed
├── DamagedError                         bytes that are not what was written
│   ├── DamagedFileError                 an entity file whose hash is wrong
│   ├── DamagedViewError                 an index file that fails its own checksum
│   ├── DamagedBackupError               a backup that is not what was written
│   └── DamagedRowError                  a row of a tier that does not match its own hash
├── ChangedOutsideError                  a file that is not the acknowledged version
├── ServiceError                         a service of a store did not answer the call
│   ├── ServiceUnavailableError (ConnectionError)  it cannot be reached, went away, or is about to end
│   ├── ServiceBusyError                 it has as many calls as it takes
│   ├── ServiceTimeoutError (TimeoutError)  the call's time is over
│   └── NotAdmittedError                 it takes no call with this token, or with none
└── DiskError (OSError)                  the operating system refused
    ├── DiskFullError                    no space, inodes or quota left
    ├── PermissionDeniedError            permission, or a read-only file system
    ├── NotRegularFileError              a symlink, FIFO or folder where a file belongs
    └── JournalFailedError               a journal write or sync failed: read-only from here on
"""

from __future__ import annotations

import errno
from datetime import datetime
from typing import Any

__all__ = [
    "BatchTooLargeError",
    "ChangedOutsideError",
    "ConflictError",
    "DamagedBackupError",
    "DamagedError",
    "DamagedFileError",
    "DamagedRowError",
    "DamagedViewError",
    "DimensionError",
    "DiskError",
    "DiskFullError",
    "EmbedderMismatchError",
    "EntityNotFoundError",
    "ForkedStoreError",
    "GitFailedError",
    "InvalidIdError",
    "InvalidTypeError",
    "InvalidValueError",
    "JournalFailedError",
    "MissingExtraError",
    "NotAStoreError",
    "NotAdmittedError",
    "NotFiledError",
    "NotRegularFileError",
    "NotStoredError",
    "OutdatedFormatError",
    "OverloadedError",
    "PermissionDeniedError",
    "ReadOnlyError",
    "SearchTimeoutError",
    "ServiceBusyError",
    "ServiceError",
    "ServiceTimeoutError",
    "ServiceUnavailableError",
    "StoreClosedError",
    "StoreFormatError",
    "StoreLockedError",
    "StoreMovedError",
    "SynthiansMemoryError",
    "UnsupportedFormatError",
    "UsageError",
    "WrongLoopError",
    "disk_error",
]


class SynthiansMemoryError(Exception):
    """Root of every error a caller can meet.

    Args:
        message: what happened, naming the file or id.
        path: the file concerned, relative to the store where it lies in one; or None.
        hint: what to do about it.
    """

    hint_default = ""

    def __init__(self, message: str, *, path: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.hint = hint or self.hint_default

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are rebuilt from their positional arguments alone, which keyword-only ones are not among.
        return _restored, (type(self), self._state())

    def _state(self) -> dict[str, Any]:
        return {"args": self.args, **vars(self)}


def _restored(kind: type[SynthiansMemoryError], state: dict[str, Any]) -> SynthiansMemoryError:
    error = kind.__new__(kind)
    for name, value in state.items():
        setattr(error, name, value)
    return error


class InvalidValueError(SynthiansMemoryError, ValueError):
    """A value that cannot be stored; nothing was written."""


class InvalidIdError(InvalidValueError):
    """An id that cannot name an entity; nothing was written."""

    hint_default = "Use 1 to 200 bytes of UTF-8 without control characters."


class DimensionError(InvalidValueError):
    """A vector of another length than the store's; nothing was written."""


class BatchTooLargeError(InvalidValueError):
    """A batch larger than max_batch_bytes; nothing was written."""

    hint_default = "Split the batch, or raise max_batch_bytes."


class InvalidTypeError(SynthiansMemoryError, TypeError):
    """A value of a type that cannot be stored; nothing was written."""


class UsageError(SynthiansMemoryError, RuntimeError):
    """The call cannot be made now, or not from here; nothing was done."""


class StoreClosedError(UsageError):
    """The store is not open."""

    hint_default = "Open it with `async with MemoryPersistence(...)` or `await store.initialize()`."


class WrongLoopError(UsageError):
    """The store belongs to another event loop."""

    hint_default = "Open one MemoryPersistence per event loop, or call it from the loop that opened it."


class ForkedStoreError(UsageError):
    """The process was forked after the store was opened."""

    hint_default = "Open the store again in the child, after the parent has closed it."


class MissingExtraError(UsageError):
    """A library that this feature needs, and the core does not, is not installed or not whole."""

    hint_default = 'Install what is optional: pip install "synthians-memory[all]".'


class GitFailedError(UsageError):
    """Git is not there, or does not answer what was asked; nothing was changed."""

    hint_default = "Install git, and work in a directory that git keeps."


class ReadOnlyError(UsageError):
    """A write to a store that is read-only."""


class StoreLockedError(SynthiansMemoryError):
    """Another writer holds the store.

    Attributes:
        holder: who holds it, as written in store.lock ("pid 12 on host since ..."), or "".
    """

    hint_default = "Close the other program, or open the store with read_only=True."

    def __init__(self, message: str, *, path: str | None = None, hint: str = "", holder: str = "") -> None:
        super().__init__(message, path=path, hint=hint)
        self.holder = holder


class NotFiledError(SynthiansMemoryError):
    """An issue could not be filed; the document of the failure is in `issues/` all the same."""

    hint_default = "Look at the repository, the token and the network; or file the document by hand."


class NotStoredError(SynthiansMemoryError):
    """A memory could not be stored; it is not lost. `__cause__` says why it could not.

    Attributes:
        entry: the memory.
        parked: whether it waits in logs/fallback.jsonl, from where opening the store or `replay` stores it. Where it
            does not, `entry` is all that is left of it.
    """

    def __init__(
        self, message: str, *, path: str | None = None, hint: str = "", entry: object = None, parked: bool = False
    ) -> None:
        super().__init__(message, path=path, hint=hint)
        self.entry = entry
        self.parked = parked


class OverloadedError(SynthiansMemoryError):
    """More is acknowledged and not yet in files than overlay_bytes allows; nothing was written."""

    hint_default = "Find out with stats() why entity files cannot be written, then save again."


class StoreFormatError(SynthiansMemoryError):
    """The directory cannot be opened as a store; nothing in it was changed."""


class NotAStoreError(StoreFormatError):
    """The directory is not empty and holds no store."""


class UnsupportedFormatError(StoreFormatError):
    """The store needs a feature or format version that this library does not know."""

    hint_default = "Install a newer synthians_memory."


class OutdatedFormatError(UnsupportedFormatError):
    """The store is of an older format version, or its migration was interrupted."""

    hint_default = "Run `migrate`: it brings the store up to date, and goes on where it was interrupted."


class StoreMovedError(StoreFormatError):
    """The store was moved; what is here is what it left behind."""

    hint_default = "Open it where it was moved to."


class EmbedderMismatchError(StoreFormatError):
    """The store was made with another embedder, dimension or metric."""


class EntityNotFoundError(SynthiansMemoryError, KeyError):
    """No such memory or assembly."""

    __str__ = SynthiansMemoryError.__str__


class ConflictError(SynthiansMemoryError):
    """The stored version is not the one the caller expected; nothing was written.

    Attributes:
        entity_id: the entity in question.
        stored: its stored update time, or None where it does not exist.
    """

    hint_default = "Load it again, apply the change to what is stored now, and save that."

    def __init__(self, message: str, *, entity_id: str, stored: datetime | None) -> None:
        super().__init__(message)
        self.entity_id = entity_id
        self.stored = stored


class SearchTimeoutError(SynthiansMemoryError, TimeoutError):
    """A search gave no answer within the time allowed; nothing was changed, and the work was stopped."""

    hint_default = "Ask again: an index that was being brought up to date goes on from there. Or allow more time."

    __str__ = SynthiansMemoryError.__str__


class DamagedError(SynthiansMemoryError):
    """Bytes on disk are not what was written; they are never returned as data."""


class DamagedFileError(DamagedError):
    """An entity file that does not match its own hash, or is no entity at all."""

    hint_default = "Run `check`, then `repair`; or `adopt` the file if its content is right."


class DamagedViewError(DamagedError):
    """An index file that fails its own checksum."""

    hint_default = "Run `repair`: it is rebuilt from the entity files."


class DamagedBackupError(DamagedError):
    """A manifest, or something that a manifest names, is missing or not what was written; nothing was changed."""

    hint_default = "Run `backups --verify` to see which snapshots are whole, and restore one of those."


class DamagedRowError(DamagedError):
    """A row of one of the databases in tiers/ that does not match its own hash; `path` is the database's."""

    hint_default = "Store it again if you have it, or restore a snapshot; `check` lists every such row."


class ChangedOutsideError(SynthiansMemoryError):
    """An entity file that is intact but not the acknowledged version."""

    hint_default = "Run `repair` to adopt the file as it stands."


class ServiceError(SynthiansMemoryError):
    """A service of a store did not answer a call as one; what it did of the call is unknown where nothing says so."""

    hint_default = "Look into the log of the service."


class ServiceUnavailableError(ServiceError, ConnectionError):
    """The service cannot be reached, went away during the call, or takes no more calls before it ends.

    A write may have been stored all the same, whole; where the service itself has refused it, the message says so.
    """

    hint_default = (
        "See that the service runs. Load what you wrote before you write it again, or save it under the same id."
    )

    __str__ = SynthiansMemoryError.__str__


class ServiceBusyError(ServiceError):
    """The service has as many calls as it takes at once; nothing was done."""

    hint_default = "Call again later, or raise --max-calls of the service."


class ServiceTimeoutError(ServiceError, TimeoutError):
    """The time for a call is over; a write may be stored all the same, whole."""

    hint_default = "Allow more time; load what you wrote before you write it again."

    __str__ = SynthiansMemoryError.__str__


class NotAdmittedError(ServiceError):
    """The service takes no call with this token, or with none; nothing was done."""

    hint_default = "Give the token that stands in the service's token file."


class DiskError(SynthiansMemoryError, OSError):
    """The operating system refused; `errno` says how, `__cause__` is its own error."""

    hint_default = "Look at the disk and its permissions, then try again."

    def __init__(self, message: str, *, path: str | None = None, hint: str = "", errno: int = 0) -> None:
        super().__init__(message, path=path, hint=hint)
        self.errno = errno

    __str__ = SynthiansMemoryError.__str__

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "errno": self.errno}


class DiskFullError(DiskError):
    """No space, inodes or quota left."""

    hint_default = "Free space on the disk, or delete memories: deletes are still admitted."


class PermissionDeniedError(DiskError):
    """Permission denied, or a read-only file system."""

    hint_default = "Make the store directory and its files writable for this user, or open with read_only=True."


class NotRegularFileError(DiskError):
    """A symlink, FIFO, device or folder stands where a regular file belongs."""

    hint_default = "Move it out of the store; it was neither followed nor changed."


class JournalFailedError(DiskError):
    """A journal write or sync failed: nothing is acknowledged any more until the store is reopened."""

    hint_default = "Mend the disk, close the store and open it again; what was acknowledged is kept."


_KIND_OF_ERRNO: dict[int, type[DiskError]] = {
    errno.ENOSPC: DiskFullError,
    errno.EDQUOT: DiskFullError,
    errno.EACCES: PermissionDeniedError,
    errno.EPERM: PermissionDeniedError,
    errno.EROFS: PermissionDeniedError,
    errno.ELOOP: NotRegularFileError,
    errno.ENXIO: NotRegularFileError,
    errno.EISDIR: NotRegularFileError,
}


def disk_error(error: OSError, action: str, path: str) -> DiskError:
    """The library's error for a foreign OSError; the caller raises it `from` the original.

    Args:
        error: what the operating system raised.
        action: the verb of what failed, for the message ("write", "sync", ...).
        path: the file concerned, relative to the store.
    """
    kind = _KIND_OF_ERRNO.get(error.errno or 0, DiskError)
    hint = ""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        hint = "Raise the limit on open files (ulimit -n)."
    return kind(f"cannot {action} {path}: {error.strerror or error}", path=path, hint=hint, errno=error.errno or 0)
