"""SQLite's own integrity check of the databases of a store's parts, which only reads them.

It mends none, and knows no table of them.

A database is known by its name: another descriptor of the file, when it is closed, would drop the locks that SQLite holds on it in
this process. Where nothing waits in a log beside it, it is opened as a file that does not change, so that SQLite makes no
files of its own; where that was not so after all, it is looked at again.
"""

from __future__ import annotations

import os
import sqlite3
from typing import Final
from urllib.parse import quote

from synthians_memory.storage.backend import Backend, EntryStat
from synthians_memory.storage.local import LocalBackend

__all__ = ["database_defect", "is_database_name", "side_files"]

_ENDINGS: Final = (".db", ".sqlite", ".sqlite3")
_BESIDE: Final = ("-wal", "-journal", "-shm")
_SECONDS: Final = 30.0
_MOST_DEFECTS: Final = 10
_MOST_LOOKS: Final = 3


def is_database_name(path: str) -> bool:
    """Whether a part's file of that name is a database."""
    return path.endswith(_ENDINGS)


def side_files(path: str) -> tuple[str, ...]:
    """The files that SQLite may have beside a database; they belong to these very bytes of it."""
    return tuple(f"{path}{ending}" for ending in _BESIDE)


def database_defect(backend: Backend, path: str) -> str:
    """What is wrong with a database, in words; "" for nothing, and for what is none.

    Nothing also where the file is in use in a way that keeps others out, or goes on changing: it is looked at the next time.
    """
    if not isinstance(backend, LocalBackend) or not is_database_name(path):
        return ""
    for _ in range(_MOST_LOOKS):
        before = _seen(backend, path)
        found = _look(os.path.join(backend.location, path), path, alone=before[1] is None and before[2] is None)
        if not found or _seen(backend, path) == before:
            return found
    return ""


def _seen(backend: Backend, path: str) -> tuple[EntryStat | None, EntryStat | None, EntryStat | None]:
    """The database, and what waits beside it."""
    log, journal = (_waiting(backend.stat(beside)) for beside in side_files(path)[:2])
    return backend.stat(path), log, journal


def _waiting(stat: EntryStat | None) -> EntryStat | None:
    return stat if stat is not None and stat.size else None


def _look(location: str, path: str, *, alone: bool) -> str:
    unchanging = "&immutable=1" if alone else ""
    try:
        database = sqlite3.connect(f"file:{quote(location)}?mode=ro{unchanging}", uri=True, timeout=_SECONDS)
        try:
            found = [str(row[0]) for row in database.execute(f"PRAGMA integrity_check({_MOST_DEFECTS})")]
        finally:
            database.close()
    except sqlite3.OperationalError:
        # Locked, or a log that only a writer may take up.
        return ""
    except sqlite3.Error as error:
        return f"{path} is damaged: {error}"
    return "" if found == ["ok"] else f"{path} is damaged: {'; '.join(found)}"
