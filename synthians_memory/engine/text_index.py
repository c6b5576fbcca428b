"""The database of the text index: full text (FTS5, Porter stemming) and the values that filters ask for, in SQLite.

It is not the view: `text_view` decides what goes in, when, and whether a database on disk is to be believed.

    entity     one row for each entity: id, content hash, times, score, conversation. Its number is the row of all else
    attribute  path, value, row: metadata and tags, as keys of bytes in their order (`filter_values`)
    words_...  one FTS5 table for memories, one for assemblies
    member     the memories of an assembly, in order
    meta       schema, store, epoch and the sequence covered, written in the transaction of the rows

The file is disposable, so nothing is done to keep it but this: a rollback journal, synced at NORMAL. That keeps a killed
process from leaving half a batch. Where a power cut does more, `text_view` finds out and builds it again. No WAL: a
reader would have to write the file of shared memory beside it. One connection serves all threads of a process, one
after the other; `text_view` holds the lock. A reader in another process copies the file, under SQLite's own lock, into
memory and goes on there.

Everything raised here is DamagedViewError (the database cannot be used: build it again), DiskError (its file cannot be
written) or SearchTimeoutError; no error of sqlite3 gets out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

from synthians_memory.engine.deadline import Deadline
from synthians_memory.engine.filter_sql import Condition
from synthians_memory.engine.records import Key
from synthians_memory.engine.text_document import Document
from synthians_memory.engine.view import NOWHERE, Position
from synthians_memory.errors import DamagedViewError, DiskError
from synthians_memory.layout import TEXT_FILE, Kind

__all__ = ["MOST_RANKED", "TOKENIZER", "Match", "TextIndex"]

# How texts become words.
TOKENIZER: Final = "porter unicode61 remove_diacritics 2"

# Another form of the tables, or of what stands in them.
_SCHEMA: Final = 1
_KIND_CODES: Final[dict[Kind, int]] = {"memory": 1, "assembly": 2}
_WORDS: Final[dict[Kind, str]] = {"memory": "words_memory", "assembly": "words_assembly"}
_TABLES: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    """CREATE TABLE entity (row INTEGER PRIMARY KEY, kind INTEGER NOT NULL, id TEXT NOT NULL, hash BLOB NOT NULL,
       created INTEGER, updated INTEGER, expires INTEGER, score REAL, conversation BLOB, UNIQUE (kind, id))""",
    "CREATE INDEX entity_created ON entity (created)",
    "CREATE INDEX entity_updated ON entity (updated)",
    "CREATE INDEX entity_expires ON entity (expires) WHERE expires IS NOT NULL",
    "CREATE INDEX conversation ON entity (conversation, created, row) WHERE conversation IS NOT NULL",
    "CREATE TABLE path (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    """CREATE TABLE attribute (path INTEGER NOT NULL, value BLOB NOT NULL, row INTEGER NOT NULL,
       PRIMARY KEY (path, value, row)) WITHOUT ROWID""",
    "CREATE INDEX attribute_row ON attribute (row)",
    """CREATE TABLE member (assembly INTEGER NOT NULL, place INTEGER NOT NULL, memory TEXT NOT NULL,
       PRIMARY KEY (assembly, place)) WITHOUT ROWID""",
    "CREATE INDEX member_memory ON member (memory)",
    *(
        f"""CREATE VIRTUAL TABLE {table} USING fts5 (text, tokenize = "{TOKENIZER}", prefix = '3')"""
        for table in _WORDS.values()
    ),
)
_ENTITY: Final = "INSERT INTO entity VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_NEXT_TO: Final = """
SELECT hit.row, n.id FROM temp.hit CROSS JOIN entity e ON e.row = hit.row CROSS JOIN entity n ON n.row IN (
    (SELECT row FROM entity WHERE conversation = e.conversation AND (created, row) < (e.created, e.row) {live}
     ORDER BY created DESC, row DESC LIMIT 1),
    (SELECT row FROM entity WHERE conversation = e.conversation AND (created, row) > (e.created, e.row) {live}
     ORDER BY created, row LIMIT 1))
WHERE e.conversation IS NOT NULL
UNION
SELECT hit.row, other.memory FROM temp.hit CROSS JOIN entity e ON e.row = hit.row CROSS JOIN member mine ON mine.memory = e.id
CROSS JOIN member other ON other.assembly = mine.assembly AND other.place IN (mine.place - 1, mine.place + 1)
WHERE other.memory <> e.id
"""
_NEXT_TO_ALLOWED: Final = f"""
SELECT pair.row, pair.id FROM ({_NEXT_TO}) AS pair
WHERE (SELECT entity.row FROM entity WHERE entity.kind = 1 AND entity.id = pair.id) IN (SELECT row FROM temp.allowed)
"""
_IDS_A_QUERY: Final = 500
# Steps of SQLite's machine between two looks at the deadline: well below a millisecond.
_STEPS: Final = 10_000
_CACHE_KIB: Final = 32 * 1024
_DISK_CODES: Final = frozenset(
    [
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
    ]
)

# What bm25() is asked of for one question at most; it takes one to three microseconds each.
MOST_RANKED: Final = 8000
# How often frequent words occur is remembered; beyond so many of them, of the first alone.
_FREQUENT: Final = 500
_MOST_FREQUENT: Final = 10_000

# Row, id and BM25 score (higher is better) of an entity that has some of the words.
Match = tuple[int, str, float]


class TextIndex:
    """One database; used by one thread at a time. `stored` is whether it is the file."""

    def __init__(self, connection: sqlite3.Connection, *, stored: bool) -> None:
        self._connection = connection
        self.stored = stored
        self._deadline: Deadline | None = None
        self._paths: dict[str, int] = {}
        self._frequent: dict[tuple[Kind, str, int], int] = {}
        self._next_row = 1
        connection.set_progress_handler(self._is_late, _STEPS)
        with self._guarded():
            for pragma in ("temp_store = MEMORY", f"cache_size = -{_CACHE_KIB}", "trusted_schema = OFF"):
                connection.execute(f"PRAGMA {pragma}")
            connection.execute("CREATE TEMP TABLE IF NOT EXISTS operand (slot INTEGER, value)")
            for table in ("hit", "allowed"):
                connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {table} (row INTEGER PRIMARY KEY)")

    @classmethod
    def in_memory(cls) -> Self:
        """A database that ends with the process; empty."""
        return cls(_connect(":memory:"), stored=False)

    @classmethod
    def in_file(cls, path: str) -> Self:
        """The database in an existing file, to be written by this process alone."""
        connection = _connect(path)
        index = cls(connection, stored=True)
        with index._guarded():
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            connection.execute("PRAGMA synchronous = NORMAL")
        return index

    @classmethod
    def copy_of(cls, path: str) -> Self:
        """A copy in memory of the database in a file that another process may be writing; the file is not touched."""
        copy = cls.in_memory()
        source = _connect(f"file:{_quoted(path)}?mode=ro", uri=True)
        try:
            copy.fill_from(source)
        finally:
            source.close()
        return copy

    def fill_from(self, source: sqlite3.Connection) -> None:
        """Hold what `source` holds, and nothing else."""
        with self._guarded():
            source.backup(self._connection)

    def close(self) -> None:
        """Release the connection; idempotent."""
        with self._guarded():
            self._connection.close()

    def _is_late(self) -> bool:
        return self._deadline is not None and self._deadline.reached

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError, OverflowError, TypeError, IndexError) as error:
            raise self._own_error(error) from error

    def _own_error(self, error: Exception) -> Exception:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT and self._deadline is not None:
            return self._deadline.error()
        if code in _DISK_CODES:
            return DiskError(f"cannot use {TEXT_FILE}: {error}", path=TEXT_FILE)
        return DamagedViewError(f"{TEXT_FILE} cannot be used: {error}", path=TEXT_FILE)

    @contextmanager
    def within(self, deadline: Deadline) -> Iterator[Self]:
        """Inside, whatever takes longer than `deadline` is interrupted: SearchTimeoutError."""
        self._deadline = deadline
        try:
            yield self
        finally:
            self._deadline = None

    # What it is

    def identity(self) -> tuple[object, ...]:
        """What it was built from and how; empty for an empty database."""
        with self._guarded():
            if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
                return ()
            found = dict(self._rows("SELECT name, value FROM meta"))
            (highest,) = self._connection.execute("SELECT coalesce(max(row), 0) FROM entity").fetchone()
            self._next_row = int(highest) + 1
            return found.get("schema"), found.get("store_id"), found.get("epoch"), found.get("conversation_key")

    def build(self, store_id: str, epoch: str, conversation_key: str) -> tuple[object, ...]:
        """Make the tables in an empty database; returns the identity that it has from now on."""
        facts = {"schema": _SCHEMA, "store_id": store_id, "epoch": epoch, "conversation_key": conversation_key}
        with self._guarded(), self._transaction():
            for statement in _TABLES:
                self._connection.execute(statement)
            self._connection.executemany("INSERT INTO meta VALUES (?, ?)", [*facts.items(), ("sequence", 0)])
        return tuple(facts.values())

    @staticmethod
    def expected_identity(store_id: str, epoch: str, conversation_key: str) -> tuple[object, ...]:
        """The identity of one that can be gone on with."""
        return _SCHEMA, store_id, epoch, conversation_key

    def position(self) -> Position:
        """How far it reaches, as its last transaction says."""
        with self._guarded():
            found = dict(self._rows("SELECT name, value FROM meta WHERE name IN ('epoch', 'sequence')"))
            return Position(str(found["epoch"]), int(found["sequence"])) if len(found) == 2 else NOWHERE

    def hashes(self, kind: Kind) -> dict[str, bytes]:
        """Id -> content hash of every entity of `kind` that it holds."""
        with self._guarded():
            return dict(self._rows("SELECT id, hash FROM entity WHERE kind = ?", (_KIND_CODES[kind],)))

    def defect(self, *, deep: bool = False) -> str:
        """What is wrong with the structure of its pages, in words; "" where nothing is.

        `deep`: compare also the words with their index, and raise DamagedViewError. Of a copy: it needs to write.
        """
        with self._guarded():
            found = self._rows("PRAGMA quick_check(1)")
            for table in _WORDS.values() if deep else ():
                self._connection.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
            return "" if found == [("ok",)] else str(found[0][0] if found else "no answer")

    def copy(self) -> TextIndex:
        """A copy in memory."""
        other = TextIndex.in_memory()
        other.fill_from(self._connection)
        return other

    # Writing

    def apply(self, documents: Sequence[Document], removed: Sequence[Key], sequence: int | None) -> None:
        """Take in one batch, in one transaction.

        Args:
            documents: new or changed; none of them twice.
            removed: what the store no longer holds; may not be there.
            sequence: every change up to it is in then; None: the batch is not the last one.
        """
        self._frequent = {} if len(documents) > _FREQUENT else self._frequent
        with self._guarded(), self._transaction():
            held = self._rows_of([*removed, *(document.key for document in documents)])
            self._forget(held)
            self._insert([(self._row_for(document, held), document) for document in documents])
            if sequence is not None:
                self._connection.execute("UPDATE meta SET value = ? WHERE name = 'sequence'", (sequence,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._paths = {}
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _rows_of(self, keys: Sequence[Key]) -> dict[Key, int]:
        """The rows of those of `keys` that are held."""
        found: dict[Key, int] = {}
        for kind, code in _KIND_CODES.items():
            ids = [key[1] for key in keys if key[0] == kind]
            for start in range(0, len(ids), _IDS_A_QUERY):
                part = ids[start : start + _IDS_A_QUERY]
                sql = f"SELECT id, row FROM entity WHERE kind = ? AND id IN ({', '.join('?' * len(part))})"
                found.update(((kind, entity_id), int(row)) for entity_id, row in self._rows(sql, (code, *part)))
        return found

    def _forget(self, held: dict[Key, int]) -> None:
        for table, column in (("entity", "row"), ("attribute", "row"), ("member", "assembly")):
            rows = [(row,) for row in held.values()]
            self._connection.executemany(f"DELETE FROM {table} WHERE {column} = ?", rows)
        for kind, table in _WORDS.items():
            rows = [(row,) for key, row in held.items() if key[0] == kind]
            self._connection.executemany(f"DELETE FROM {table} WHERE rowid = ?", rows)

    def _row_for(self, document: Document, held: dict[Key, int]) -> int:
        row = held.get(document.key)
        if row is None:
            row, self._next_row = self._next_row, self._next_row + 1
        return row

    def _insert(self, numbered: list[tuple[int, Document]]) -> None:
        connection = self._connection
        connection.executemany(_ENTITY, [_entity_row(row, document) for row, document in numbered])
        for kind, table in _WORDS.items():
            texts = [(row, document.text) for row, document in numbered if document.key[0] == kind]
            connection.executemany(f"INSERT INTO {table} (rowid, text) VALUES (?, ?)", texts)
        values = [(self._path(name), key, row) for row, document in numbered for name, key in document.values()]
        # In the order of the table, so that its pages are visited one after the other.
        connection.executemany("INSERT INTO attribute VALUES (?, ?, ?)", sorted(values))
        members = [(row, place, i) for row, document in numbered for place, i in enumerate(document.members)]
        connection.executemany("INSERT INTO member VALUES (?, ?, ?)", members)

    def _path(self, name: str) -> int:
        number = self._paths.get(name)
        if number is None:
            found = self._rows("SELECT number FROM path WHERE name = ?", (name,))
            if not found:
                found = [(self._connection.execute("INSERT INTO path (name) VALUES (?)", (name,)).lastrowid,)]
            number = self._paths[name] = int(found[0][0])
        return number

    # Reading

    def select(self, kind: Kind, condition: Condition) -> list[str]:
        """The ids of the entities of `kind` that satisfy `condition`."""
        with self._guarded():
            self._fill_operands(condition)
            sql = f"SELECT id FROM entity WHERE +kind = ? AND {condition.sql}"
            return [i for (i,) in self._rows(sql, (_KIND_CODES[kind], *condition.values))]

    def count(self, kind: Kind, term: str, most: int) -> int:
        """About how many entities of `kind` have `term`; `most` where they are as many or more.

        The count of a frequent one may be that of an earlier question.
        """
        table = _WORDS[kind]
        known = self._frequent.get((kind, term, most))
        if known is None:
            sql = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {table} MATCH ? LIMIT ?)"
            with self._guarded():
                known = int(self._rows(sql, (term, most))[0][0])
            if known >= _FREQUENT and len(self._frequent) < _MOST_FREQUENT:
                self._frequent[kind, term, most] = known
        return known

    def narrow(self, kind: Kind, condition: Condition, *, live_at: int | None = None) -> int:
        """Make the entities of `kind` that satisfy `condition` those that `words`, `next_to` and `allowed_ids` speak of.

        `live_at`: only those that have not expired at this time, in microseconds. Returns how many they are.
        """
        with self._guarded():
            self._fill_operands(condition)
            self._connection.execute("DELETE FROM temp.allowed")
            chosen = f"+kind = ? AND {condition.sql} {_live(live_at)}"
            sql = f"INSERT INTO temp.allowed SELECT row FROM entity WHERE {chosen}"
            return self._connection.execute(sql, (_KIND_CODES[kind], *condition.values)).rowcount

    def allowed_ids(self) -> list[str]:
        """The ids of what `narrow` found."""
        with self._guarded():
            return [i for (i,) in self._rows("SELECT id FROM temp.allowed CROSS JOIN entity USING (row)")]

    def words(
        self,
        kind: Kind,
        expression: str,
        most: int,
        *,
        narrowed: bool = False,
        live_at: int | None = None,
        ranked: int = MOST_RANKED,
    ) -> list[Match]:
        """The `most` entities of `kind` that match an expression of FTS5 best, best first; `narrowed`: of the allowed ones.

        Where more than `ranked` match, the latest indexed are ranked. `live_at`: as in `narrow`.
        """
        table, limits = _WORDS[kind], "AND +rowid IN (SELECT row FROM temp.allowed)" if narrowed else ""
        if live_at is not None:
            limits += f" AND EXISTS (SELECT 1 FROM entity WHERE entity.row = {table}.rowid {_live(live_at)})"
        matched = f"SELECT rowid, bm25({table}) AS rank FROM {table} WHERE {table} MATCH ? {limits}"
        best = f"SELECT rowid, rank FROM ({matched} ORDER BY rowid DESC LIMIT {ranked:d}) ORDER BY rank LIMIT ?"
        sql = (
            f"SELECT entity.row, entity.id, -rank FROM ({best}) AS found CROSS JOIN entity ON entity.row = found.rowid"
        )
        with self._guarded():
            return sorted(self._rows(sql, (expression, most)), key=_by_score)

    def next_to(
        self, rows: Sequence[int], *, narrowed: bool = False, live_at: int | None = None
    ) -> list[tuple[int, str]]:
        """Pairs of one of `rows` and the id of a memory next to it, in an assembly or in its conversation by time.

        `narrowed`: only where that is an allowed one. `live_at`: the others do not stand in a conversation.
        """
        with self._guarded():
            if not self._rows(
                "SELECT 1 WHERE EXISTS (SELECT 1 FROM member)"
                " OR EXISTS (SELECT 1 FROM entity WHERE conversation IS NOT NULL)"
            ):
                return []
            self._connection.execute("DELETE FROM temp.hit")
            self._connection.executemany("INSERT OR IGNORE INTO temp.hit VALUES (?)", [(row,) for row in rows])
            return self._rows((_NEXT_TO_ALLOWED if narrowed else _NEXT_TO).format(live=_live(live_at)))

    def _fill_operands(self, condition: Condition) -> None:
        if condition.sets:
            self._connection.execute("DELETE FROM temp.operand")
            for slot, values in enumerate(condition.sets):
                self._connection.executemany("INSERT INTO temp.operand VALUES (?, ?)", [(slot, v) for v in values])

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()


def _live(at: int | None) -> str:
    """The condition that a row of `entity` has not expired at this time."""
    return "" if at is None else f"AND (entity.expires IS NULL OR entity.expires > {at:d})"


def _connect(path: str, *, uri: bool = False) -> sqlite3.Connection:
    try:
        return sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False, uri=uri)
    except sqlite3.Error as error:
        raise DiskError(f"cannot open {TEXT_FILE}: {error}", path=TEXT_FILE) from error


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _by_score(match: Match) -> tuple[float, str]:
    return -match[2], match[1]


def _entity_row(row: int, document: Document) -> tuple[Any, ...]:
    kind, entity_id = document.key
    return (
        row,
        _KIND_CODES[kind],
        entity_id,
        document.hash,
        document.created,
        document.updated,
        document.expires,
        document.score,
        document.conversation,
    )
