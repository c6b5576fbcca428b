"""The tiers as a part of a store: what a check finds in their databases, and which files a snapshot holds.

It says nothing of memories (`memory_check` does); how a database is mended is said in `mending`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from synthians_memory.config import CheckLevel
from synthians_memory.engine.part import EarlierCopies, PartMending
from synthians_memory.engine.quarantine import Quarantine
from synthians_memory.errors import (
    DamagedError,
    NotRegularFileError,
    SynthiansMemoryError,
    UnsupportedFormatError,
)
from synthians_memory.layout import LONGTERM_DB, TIERS, WORKING_DB, database_side_files, is_set_aside
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.lock import lock_folder
from synthians_memory.tiers.connections import read_database
from synthians_memory.tiers.mending import TierMender
from synthians_memory.tiers.tables import SCHEMAS, Schema, Table
from synthians_memory.tiers.write_ahead_log import damaged_log
from synthians_memory.times import Clock

__all__ = ["TiersPart"]

_MOST_NAMED: Final = 100
_PRAGMAS: Final[dict[CheckLevel, str]] = {"quick": "quick_check", "full": "integrity_check"}
_PATIENCE: Final = 5.0
_WHOLE: Final = ("tier_damaged", "database_damaged")
_MENDED: Final = frozenset((*_WHOLE, "tier_row_damaged", "tier_words_damaged", "tier_log_damaged"))


class TiersPart:
    """The databases in the folder tiers/ of a store, as `engine.part.Part`. Thread-safe; works beside a writer."""

    @property
    def name(self) -> str:
        return TIERS

    def check(self, backend: Backend, level: CheckLevel) -> list[Finding]:
        folder = backend.stat(TIERS)
        if folder is None or not isinstance(backend, LocalBackend):
            return []
        if folder.kind != "folder":
            return [Finding("tier_damaged", f"{TIERS} is no folder", TIERS)]
        if backend.stat(WORKING_DB) is None and backend.stat(LONGTERM_DB) is not None:
            # Working memory is made first.
            found = [Finding("tier_damaged", f"{WORKING_DB} is gone, and {LONGTERM_DB} is there", WORKING_DB)]
        else:
            found = []
        for schema in SCHEMAS:
            found += [*_check(backend, schema, level), *_log_findings(backend, schema.path)]
        return found

    def source_files(self, backend: Backend) -> list[str]:
        """Working memory comes first: a row that is migrated meanwhile is then in both copies, and not in none."""
        folder = backend.stat(TIERS)
        if folder is None or folder.kind != "folder":
            return []
        stats = {path: backend.stat(path) for path in (WORKING_DB, LONGTERM_DB)}
        return [path for path, stat in stats.items() if stat is not None]

    def mark(self, backend: Backend) -> str:
        return ""

    def restored(self, backend: Backend, replaced: str) -> None:
        """Nothing: what was replaced is in quarantine, as a whole."""

    def mends(self, finding: Finding) -> bool:
        """Whether it is of a database of the tiers."""
        ours = finding.path == TIERS or any(finding.path.startswith(schema.path) for schema in SCHEMAS)
        return finding.code in _MENDED and ours

    def mend(
        self, backend: Backend, findings: Sequence[Finding], earlier: EarlierCopies, clock: Clock, *, give_up: bool
    ) -> PartMending:
        """As `engine.part.MendingPart`."""
        if not isinstance(backend, LocalBackend):
            return PartMending()
        if not _has_folder(backend, earlier, clock):
            return PartMending()
        held = lock_folder(backend, TIERS, wait=_PATIENCE)
        try:
            mender = TierMender(backend, earlier, clock, give_up=give_up)
            for schema in SCHEMAS:
                if any(_is_whole(finding, schema) for finding in findings):
                    mender.make_again(schema)
            left = self.check(backend, "full")
            for schema in SCHEMAS:
                _mend_in_place(mender, schema, [finding for finding in left if finding.path.startswith(schema.path)])
        finally:
            held.release()
        return mender.done


def _is_whole(finding: Finding, schema: Schema) -> bool:
    return finding.code in _WHOLE and finding.path in (schema.path, TIERS)


def _has_folder(backend: Backend, earlier: EarlierCopies, clock: Clock) -> bool:
    """Whether the folder is there, made where a backup has what belongs into it."""
    stat = backend.stat(TIERS)
    if stat is not None and stat.kind == "folder":
        return True
    if not any(next(earlier(schema.path), None) for schema in SCHEMAS):
        return False
    if stat is not None:
        Quarantine(backend, clock).move(TIERS, "something else stood in the place of the folder of the tiers")
    if backend.make_folder(TIERS):
        backend.sync_folder("")
    return True


def _mend_in_place(mender: TierMender, schema: Schema, left: Sequence[Finding]) -> None:
    codes = {finding.code for finding in left}
    if "tier_damaged" in codes:
        return
    if "tier_log_damaged" in codes:
        mender.take_log(schema)
    if "tier_row_damaged" in codes:
        mender.mend_rows(schema)
    if "tier_words_damaged" in codes:
        mender.mend_words(schema)


def _check(backend: Backend, schema: Schema, level: CheckLevel) -> list[Finding]:
    try:
        stat = backend.stat(schema.path)
        return read_database(backend, schema, partial(_findings, schema, level, stat.size if stat else 0)) or []
    except (DamagedError, NotRegularFileError, UnsupportedFormatError) as error:
        return [Finding("tier_damaged", error.message, schema.path)]


def _log_findings(backend: Backend, path: str) -> Iterator[Finding]:
    log = database_side_files(path)[0]
    damaged = damaged_log(backend, path)
    if damaged is not None:
        yield Finding("tier_log_damaged", str(damaged), log)
    for name in sorted(name for name, _ in backend.scan(TIERS) if is_set_aside(f"{TIERS}/{name}", log)):
        kept = f"{TIERS}/{name}"
        yield Finding("tier_log_damaged", f"{kept} was set aside: what was committed last in it is lost", kept)


def _findings(schema: Schema, level: CheckLevel, size: int, connection: sqlite3.Connection) -> list[Finding]:
    found = [Finding("tier_damaged", f"{schema.path}: {said}", schema.path) for said in _said(connection, level)]
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    if size % page:
        # SQLite reads what is missing of a page as zeros.
        found.append(Finding("tier_damaged", f"{schema.path} ends within a page, at byte {size}", schema.path))
    if level == "full" and not found:
        found += _word_findings(schema, connection)
    if level == "full":
        found += [
            Finding("tier_row_damaged", message, schema.path)
            for table in schema.tables
            for message in _damaged_rows(connection, schema, table)
        ]
    return found


def _word_findings(schema: Schema, connection: sqlite3.Connection) -> list[Finding]:
    try:
        count = sum(connection.execute(query).fetchone()[0] for query in schema.count_unindexed())
        said = f"the index of words lacks {count} rows, or has more than there are" if count else ""
    except sqlite3.Error as error:
        said = f"the index of words cannot be read: {error}"
    return [Finding("tier_words_damaged", f"{schema.path}: {said}", schema.path)] if said else []


def _said(connection: sqlite3.Connection, level: CheckLevel) -> Iterator[str]:
    """What SQLite says of its pages, and of rows that belong to none."""
    for (line,) in connection.execute(f"PRAGMA {_PRAGMAS[level]} ({_MOST_NAMED})"):
        if line != "ok":
            yield str(line)
    if level == "full":
        for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check").fetchmany(_MOST_NAMED):
            yield f"row {row} of {table} belongs to no row of {parent}"


def _damaged_rows(connection: sqlite3.Connection, schema: Schema, table: Table[Any]) -> Iterator[str]:
    sql = table.select("ORDER BY row")
    try:
        for row in connection.execute(sql):
            try:
                table.decode(row, schema.path)
            except SynthiansMemoryError as error:
                yield error.message
    except sqlite3.Error as error:
        yield f"{schema.path}: {table.name} cannot be read to its end: {error}"
