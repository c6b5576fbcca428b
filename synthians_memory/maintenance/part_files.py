"""The files of a store's parts, read for a snapshot; databases through SQLite's own backup.

It knows no part: `engine.part` says what each one brings.

Files are read in pieces; a database is copied in memory, as it is at one moment. SQLite opens by path, so its source is opened by path,
read-only, after its entry was found to be a regular file. It is known by its name: looking into the file would drop SQLite's locks.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from synthians_memory.errors import DamagedFileError, NotRegularFileError
from synthians_memory.layout import database_side_files, is_database
from synthians_memory.storage.backend import Backend, EntryStat
from synthians_memory.storage.local import LocalBackend

__all__ = ["part_file_pieces"]

_PIECE: Final = 1 << 20
_SECONDS: Final = 30.0


def part_file_pieces(backend: Backend, path: str, stat: EntryStat) -> Iterator[bytes]:
    """The bytes of a part's file: of a database those of a backup, of any other file up to its present length.

    Raises:
        NotRegularFileError: it is no regular file.
        DamagedFileError: SQLite cannot read it.
        DiskError: it cannot be read.
    """
    if stat.kind != "file":
        raise NotRegularFileError(f"{path} is no regular file", path=path)
    if isinstance(backend, LocalBackend) and is_database(path):
        yield from _database_pieces(backend, path)
        return
    offset = 0
    while offset < stat.size and (piece := backend.read(path, offset, min(_PIECE, stat.size - offset))):
        offset += len(piece)
        yield piece


def _database_pieces(backend: LocalBackend, path: str) -> Iterator[bytes]:
    copy = sqlite3.connect(":memory:")
    try:
        _copy(backend, path, copy)
        data = copy.serialize()
    except sqlite3.Error as error:
        raise DamagedFileError(f"{path} is no database that can be read: {error}", path=path) from error
    finally:
        copy.close()
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]


def _copy(backend: LocalBackend, path: str, copy: sqlite3.Connection) -> None:
    """Fill `copy`. Without a write-ahead log nobody is writing, and SQLite need not make files beside the database."""
    location = os.path.join(backend.location, path)
    alone = not _waiting(backend, path)
    before = backend.stat(path)
    source = sqlite3.connect(
        f"file:{quote(location)}?mode=ro{'&immutable=1' if alone else ''}", uri=True, timeout=_SECONDS
    )
    try:
        # All in one step: between two, a writer would make it begin anew.
        source.backup(copy)
    finally:
        source.close()
    if alone and (_waiting(backend, path) or backend.stat(path) != before):
        _copy(backend, path, copy)


def _waiting(backend: LocalBackend, path: str) -> bool:
    log = backend.stat(database_side_files(path)[0])
    return log is not None and log.size > 0
