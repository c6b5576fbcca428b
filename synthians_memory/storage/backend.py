"""The protocol every medium offers to the store: few calls, each one step on the disk.

It is not a file system: it knows no memory, no order and no policy.

Paths are relative to the store, with "/" between a folder and a name, and never leave it. Every
failure is raised as a `DiskError`; what is merely absent is None, False or empty, never an error.
Reads may come from any thread; all other calls come from one thread at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

from synthians_memory.errors import DiskError

__all__ = ["Backend", "EntryStat", "FileWrite", "HeldLock", "ReadableFile", "WritableFile"]


class EntryStat(NamedTuple):
    """What a directory entry is, without following it.

    Attributes:
        kind: "file" for a regular file, "folder", or "other" (symlink, FIFO, device).
        size: bytes.
        mtime_ns: modification time, nanoseconds since the epoch.
    """

    kind: Literal["file", "folder", "other"]
    size: int
    mtime_ns: int


class FileWrite(NamedTuple):
    """A whole file to be written.

    Attributes:
        scratch: name to write it under first.
        target: name to give it then, in the same folder.
        data: its content.
        seen: size and mtime_ns of the file that it replaces; None where nothing may have the name.
    """

    scratch: str
    target: str
    data: bytes
    seen: tuple[int, int] | None


class WritableFile(Protocol):
    """A file open for writing. Nothing written is durable before `sync` returns."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of `data` behind what was written; a short write is continued or raised."""

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data` at byte `offset`, without moving the end that `write` appends to."""

    def sync(self) -> None:
        """Make content and size durable (not the name: see `Backend.sync_folder`).

        After it raised, the file's content is unknown and syncing again proves nothing.
        """

    def stat(self) -> EntryStat:
        """Size and time as the medium sees them now."""

    def close(self) -> None:
        """Release the descriptor; idempotent; syncs nothing; does not raise for a lost write."""


class ReadableFile(Protocol):
    """A file open for reading: the same file whatever becomes of its name. Thread-safe but for `close`."""

    def read_at(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`, fewer only where the file ends; raises DiskError, also when it is closed."""

    def read_each(self, offsets: Sequence[int], length: int) -> list[bytes]:
        """What `read_at` gives at each of `offsets`."""

    def read_each_at_hand(self, offsets: Sequence[int], length: int) -> list[bytes] | None:
        """The same where all of it can be had at once, without waiting for a disk; None in every other case."""

    def close(self) -> None:
        """Release the descriptor; idempotent."""


class HeldLock(Protocol):
    """A lock that is held until `release`, or until its process ends."""

    def release(self) -> None:
        """Give the lock up; idempotent."""


class Backend(Protocol):
    """One medium that holds one store."""

    @property
    def location(self) -> str:
        """Where the store is, for messages."""

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes | None:
        """Bytes of a regular file from `offset`, at most `length`; None where no such file is.

        Never follows a symlink and never waits for a FIFO: NotRegularFileError.
        """

    def read_at_hand(self, path: str, size: int) -> bytes | None:
        """The content of a regular file of `size` bytes where that can be had at once, without waiting for a disk.

        None in every other case, also where the file is missing, has another size or cannot be read: `read` tells.
        """

    def open_read(self, path: str) -> ReadableFile | None:
        """Open a regular file for reading, as `read` would; None where no such file is."""

    def stat(self, path: str) -> EntryStat | None:
        """The entry at `path`, not followed; None where nothing is."""

    def scan(self, folder: str) -> Iterator[tuple[str, EntryStat]]:
        """Name and stat of each entry of `folder` ("" is the store itself), in no order.

        Nothing for a folder that is not there. An entry that vanishes meanwhile may be left out.
        """

    def create(self, path: str) -> WritableFile:
        """Make a new empty file, mode 0600. DiskError (EEXIST) where anything has that name."""

    def open_existing(self, path: str) -> WritableFile:
        """Open a regular file for writing; `write` appends behind its present end."""

    def replace(self, source: str, target: str) -> None:
        """Rename within the store; `target` is replaced in one step. Both are files or folders."""

    def rename_new(self, source: str, target: str) -> bool:
        """Rename a file within its folder; False, with nothing done, where anything has the name `target`."""

    def write_files(self, writes: Sequence[FileWrite]) -> list[EntryStat | DiskError | None]:
        """Write whole files, in order, each put in place by one rename; none is left open.

        Returns:
            For each its stat; the error that prevented it, with the target as it was (or, for a failing
            rename, changed whole); or None, with nothing done, where something else has its name than `seen`.
        """

    def unlink(self, path: str) -> bool:
        """Remove a name that is no folder; False where nothing was there."""

    def make_folder(self, path: str) -> bool:
        """Make one folder, mode 0700, below an existing one; False where it was there already."""

    def remove_folder(self, path: str) -> bool:
        """Remove an empty folder; False where nothing was there."""

    def sync_folder(self, path: str) -> None:
        """Make the names in `path` durable: creates, renames and unlinks since the last sync."""

    def sync_filesystem(self) -> bool:
        """Make the content of every file of the store durable that was written and closed, and all names.

        False, having done nothing, where the platform cannot do it or would not report errors.
        """

    def free_bytes(self) -> int:
        """Space left for this user, in bytes."""

    def lock(self, folder: str, *, exclusive: bool) -> HeldLock | None:
        """Lock `folder` against other holders, shared or exclusive; None at once where it is taken.

        Two locks conflict also within one process. A holder that dies releases it.
        """

    def close(self) -> None:
        """Release every descriptor, locks included; idempotent."""
