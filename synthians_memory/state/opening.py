"""Finding the files of a state on a local disk: in a directory of their own, or in a store.

It opens no store: its lock is not needed, and an agent may hold it meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from synthians_memory.errors import DiskError, NotAStoreError
from synthians_memory.layout import STATE, SUPERBLOCK
from synthians_memory.state.directory import StateDirectory
from synthians_memory.state.rehydration import Context, rehydrated
from synthians_memory.storage.local import LocalBackend

__all__ = ["open_state", "rehydrate"]


@contextmanager
def open_state(location: str | os.PathLike[str], *, in_store: bool = False) -> Iterator[StateDirectory]:
    """The state at `location`, to be read and written.

    Args:
        location: a directory, made where it is missing, with those above it.
        in_store: it is that of a store, which is not made, and the files are in its folder state/.

    Raises:
        NotAStoreError: `in_store`, and it holds no store.
        DiskError: it cannot be opened or made.
    """
    backend = LocalBackend(location, create=not in_store)
    try:
        if in_store and backend.stat(SUPERBLOCK) is None:
            raise NotAStoreError(
                f"{location} holds no store",
                path=os.fspath(location),
                hint="Open it once with MemoryPersistence, or give a directory for the state alone.",
            )
        yield StateDirectory(backend, STATE if in_store else "")
    finally:
        backend.close()


def rehydrate(location: str | os.PathLike[str], *, in_store: bool = False) -> Context:
    """What the state at `location` says, with warnings for whatever is wrong or missing. Changes and makes nothing.

    Args:
        location: a directory; where it is missing, all files are.
        in_store: it is that of a store, and the files are in its folder state/.
    """
    try:
        backend = LocalBackend(location)
    except DiskError as error:
        return _without_directory(error)
    try:
        return StateDirectory(backend, STATE if in_store else "").rehydrate()
    finally:
        backend.close()


def _without_directory(error: DiskError) -> Context:
    def read(_: str) -> bytes | None:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise error

    return rehydrated(read)
