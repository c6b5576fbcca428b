"""The files of a store's parts, read for a snapshot; databases through SQLite's own backup.

It knows no part: `engine.part` says what each one brings.

Files are read in pieces; a database is copied in memory, as it is at one moment. SQLite opens by path, so its source is opened by path, read-only, after its entry was found to be a regular file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from synthians_memory.errors import DamagedFileError, NotRegularFileError
from synthians_memory.storage.backend import Backend, EntryStat
from synthians_memory.storage.local import LocalBackend

__all__ = ["is_database", "part_file_pieces"]

_MAGIC: Final = b"SQLite format 3\0"
_PIECE: Final = 1 << 20
_SECONDS: Final = 30.0


def is_database(backend: Backend, path: str) -> bool:
    """Whether the file at `path` is an SQLite database, which no plain copy does justice while it is in use."""
    return backend.read(path, 0, len(_MAGIC)) == _MAGIC


def part_file_pieces(backend: Backend, path: str, stat: EntryStat) -> Iterator[bytes]:
    """The bytes of a part's file: of a database those of a backup, of any other file up to its present length.

    Raises:
        NotRegularFileError: it is no regular file.
        DamagedFileError: SQLite cannot read it.
        DiskError: it cannot be read.
    """
    if stat.kind != "file":
        raise NotRegularFileError(f"{path} is no regular file", path=path)
    if isinstance(backend, LocalBackend) and is_database(backend, path):
        yield from _database_pieces(os.path.join(backend.location, path), path)
        return
    offset = 0
    while offset < stat.size and (piece := backend.read(path, offset, min(_PIECE, stat.size - offset))):
        offset += len(piece)
        yield piece


def _database_pieces(location: str, path: str) -> Iterator[bytes]:
    copy = sqlite3.connect(":memory:")
    try:
        source = sqlite3.connect(f"file:{quote(location)}?mode=ro", uri=True, timeout=_SECONDS)
        try:
            # All in one step: between two, a writer would make it begin anew.
            source.backup(copy)
        finally:
            source.close()
        data = copy.serialize()
    except sqlite3.Error as error:
        raise DamagedFileError(f"{path} is no database that can be read: {error}", path=path) from error
    finally:
        copy.close()
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]
