"""SQLite as it fails and dies: statements that raise, and copies of the files as a killed process leaves them at each statement."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from synthians_memory.layout import LONGTERM_DB, TIERS, WORKING_DB, database_side_files
from synthians_memory.tiers import connections

Moment = Literal["before", "after"]

# What a killed process leaves: the memory shared with readers goes with the machine, or is made anew.
KEPT = (WORKING_DB, database_side_files(WORKING_DB)[0], LONGTERM_DB, database_side_files(LONGTERM_DB)[0])


def failure(code: int, text: str) -> sqlite3.OperationalError:
    """An error as SQLite raises it."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


class Statements:
    """Counts the statements of all connections, and fails at one; thread-safe.

    Attributes:
        count: how many there were.
        at: the number of the one that fails, from 1; 0: none.
        moment: whether it fails before it was carried out, or behind.
    """

    def __init__(self, at: int = 0, moment: Moment = "before", code: int = sqlite3.SQLITE_IOERR) -> None:
        self._guard = threading.Lock()
        self._code = code
        self.count = 0
        self.at = at
        self.moment = moment
        self.on_statement: Callable[[], None] = lambda: None

    def carried_out(self, carry_out: Callable[[], Any]) -> Any:
        with self._guard:
            self.on_statement()
            self.count += 1
            due = self.count == self.at
        if due and self.moment == "before":
            raise failure(self._code, "on purpose")
        done = carry_out()
        if due:
            # As SQLite leaves a statement that has failed.
            done.close()
            raise failure(self._code, "on purpose")
        return done


class _Connection(sqlite3.Connection):
    statements = Statements()

    def execute(self, *arguments: Any) -> sqlite3.Cursor:  # type: ignore[override]
        done: sqlite3.Cursor = self.statements.carried_out(lambda: super(_Connection, self).execute(*arguments))
        return done

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:  # type: ignore[override]
        done: sqlite3.Cursor = self.statements.carried_out(lambda: super(_Connection, self).executemany(*arguments))
        return done


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, statements: Statements) -> Iterator[Statements]:
    """Inside, every statement of a connection that is opened goes through `statements`."""
    connect = sqlite3.connect
    kind = type("Counted", (_Connection,), {"statements": statements})
    with monkeypatch.context() as patched:
        patched.setattr(connections.sqlite3, "connect", lambda *a, **k: connect(*a, factory=kind, **k))
        yield statements


class Images:
    """Copies of the databases of a store, one for each state that a kill could leave.

    Attributes:
        places: of the copies.
    """

    def __init__(self, store: Path, into: Path) -> None:
        self._store = store
        self._into = into
        self._seen: set[str] = set()
        self.places: list[Path] = []

    def take(self) -> None:
        """Copy what is on disk now, unless a copy of the same bytes was taken."""
        found = {path: (self._store / path).read_bytes() for path in KEPT if (self._store / path).exists()}
        digest = hashlib.sha256(repr(sorted((p, hashlib.sha256(d).digest()) for p, d in found.items())).encode())
        if digest.hexdigest() in self._seen:
            return
        self._seen.add(digest.hexdigest())
        place = self._into / f"image-{len(self.places):03}"
        (place / TIERS).mkdir(parents=True)
        for path, data in found.items():
            (place / path).write_bytes(data)
        self.places.append(place)
