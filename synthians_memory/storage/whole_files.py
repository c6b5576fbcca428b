"""Files written whole: under a scratch name first, then put in place of what is expected there.

It is no back end: it uses the calls that each of them has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from synthians_memory.errors import DiskError
from synthians_memory.storage.backend import Backend, EntryStat, FileWrite, WritableFile

__all__ = ["discard", "write_each", "write_scratch"]


def write_scratch(backend: Backend, scratch: str, data: bytes) -> tuple[WritableFile, EntryStat]:
    """A new file of `data`, open, and its stat; one that an earlier life left under that name is replaced.

    Raises:
        DiskError: nothing of it is left, if the disk lets itself be cleaned.
    """
    file = _create(backend, scratch)
    try:
        file.write(data)
        return file, file.stat()
    except DiskError:
        file.close()
        discard(backend, scratch)
        raise


def _create(backend: Backend, scratch: str) -> WritableFile:
    try:
        return backend.create(scratch)
    except DiskError:
        if not backend.unlink(scratch):
            raise
        return backend.create(scratch)


def discard(backend: Backend, scratch: str) -> None:
    """Remove a scratch file, if that can be done; one that is left behind is harmless."""
    try:
        backend.unlink(scratch)
    except DiskError:
        return


def write_each(
    backend: Backend, writes: Sequence[FileWrite], begin: Callable[[str, bytes], EntryStat] | None = None
) -> list[EntryStat | DiskError | None]:
    """As `Backend.write_files`, one call after the other.

    Args:
        backend: where.
        writes: what.
        begin: writes and closes a scratch file, and gives its stat; None: with the calls of `backend`.
    """
    return [_outcome(backend, write, begin) for write in writes]


def _outcome(
    backend: Backend, write: FileWrite, begin: Callable[[str, bytes], EntryStat] | None
) -> EntryStat | DiskError | None:
    try:
        stat = begin(write.scratch, write.data) if begin else _closed_scratch(backend, write)
    except DiskError as error:
        return error
    try:
        if _put_in_place(backend, write):
            return stat
    except DiskError as error:
        discard(backend, write.scratch)
        return error
    discard(backend, write.scratch)
    return None


def _closed_scratch(backend: Backend, write: FileWrite) -> EntryStat:
    file, stat = write_scratch(backend, write.scratch, write.data)
    file.close()
    return stat


def _put_in_place(backend: Backend, write: FileWrite) -> bool:
    if write.seen is None:
        return backend.rename_new(write.scratch, write.target)
    present = backend.stat(write.target)
    if present != EntryStat("file", *write.seen):
        return False
    backend.replace(write.scratch, write.target)
    return True
