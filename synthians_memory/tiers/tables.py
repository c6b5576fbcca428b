"""The tables of the two databases as values: columns, keys, indexes, and the SQL and the row hash made of them.

It opens no database. `row_hash` of a row is the SHA-256 of the canonical JSON `{"columns":{...},"table":name}`: keys in
order, no spaces, values as SQLite holds them. It covers every column but `row`, `row_hash` and those that end in
`_folded`, which are made of others. `row` only gives rows their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

import orjson

from synthians_memory.engine.text_index import TOKENIZER
from synthians_memory.errors import DamagedRowError
from synthians_memory.layout import LONGTERM_DB, WORKING_DB
from synthians_memory.tiers.records import (
    AgentState,
    ConfigChange,
    Decision,
    Event,
    Goal,
    Incident,
    Knowledge,
    MetricHour,
    Pattern,
    Procedure,
    Record,
    Task,
    ToolCall,
)
from synthians_memory.tiers.values import FINAL_STATUSES, TEXT, TIME, ColumnType, SqlValue

__all__ = [
    "AGENT_STATES",
    "ARCHIVED",
    "CONFIG_HISTORY",
    "DECISIONS",
    "EVENTS",
    "FINAL_SQL",
    "GOALS",
    "INCIDENTS",
    "KNOWLEDGE",
    "LONGTERM",
    "METRICS_HOURLY",
    "PATTERNS",
    "PROCEDURES",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "TASKS",
    "TOOL_CALLS",
    "WORKING",
    "Schema",
    "Table",
    "row_hash",
]

R = TypeVar("R", bound=Record)

# In PRAGMA user_version of both databases.
SCHEMA_VERSION: Final = 1
_WORDS: Final = f"CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = '{TOKENIZER}')"
# SQLite cannot drop an index of words whose own tables are damaged; without its entry they are tables like others.
_FORGET_WORDS: Final = (
    "PRAGMA writable_schema = ON",
    "DELETE FROM sqlite_master WHERE name = 'words'",
    "PRAGMA writable_schema = RESET",
    *(f"DROP TABLE IF EXISTS words_{name}" for name in ("data", "idx", "content", "docsize", "config")),
)
# Columns that every stored row has, whatever its record left open.
_STAMPED: Final = ("timestamp", "created_at", "updated_at")
# FINAL_STATUSES, for use behind IN.
FINAL_SQL: Final = ", ".join(f"'{status}'" for status in FINAL_STATUSES)


def row_hash(table: str, columns: Mapping[str, SqlValue]) -> bytes:
    """The hash that a row of `table` with these values carries."""
    document = {"table": table, "columns": columns}
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).digest()


@dataclass(frozen=True, eq=False)
class Table(Generic[R]):
    """One table whose rows are records of one kind.

    Attributes:
        name: of the table.
        record: what its rows are.
        key: name of the column that identifies a row.
        references: column -> the table whose key it holds.
        indexes: the columns of each index.
        partial: index name -> what it is on, as SQL.
        searched: columns whose words are indexed.
        folded: columns of which a case-folded copy is kept.
        extra: columns that the records do not have.
    """

    name: str
    record: type[R]
    key: str = "id"
    references: Mapping[str, str] = field(default_factory=dict)
    indexes: Sequence[Sequence[str]] = ()
    partial: Mapping[str, str] = field(default_factory=dict)
    searched: Sequence[str] = ()
    folded: Sequence[str] = ()
    extra: Mapping[str, ColumnType] = field(default_factory=dict)

    @cached_property
    def columns(self) -> dict[str, ColumnType]:
        """Name -> type of each column that the row hash covers."""
        return {**self.record.COLUMNS, **self.extra}

    @cached_property
    def _stored(self) -> list[str]:
        return [*self.columns, "row_hash", *(f"{name}_folded" for name in self.folded)]

    # SQL

    def create(self) -> list[str]:
        """The statements that make the table and its indexes."""
        lines = ["row INTEGER PRIMARY KEY", *(self._declared(name, column) for name, column in self.columns.items())]
        lines += ["row_hash BLOB NOT NULL", *(f"{name}_folded TEXT NOT NULL" for name in self.folded)]
        made = [f"CREATE TABLE {self.name} ({', '.join(lines)})"]
        plain = {f"{self.name}_{'_'.join(columns)}": f"({', '.join(columns)})" for columns in self.indexes}
        return made + [f"CREATE INDEX {name} ON {self.name} {on}" for name, on in {**plain, **self.partial}.items()]

    def _declared(self, name: str, column: ColumnType) -> str:
        needed = "" if column.optional and name not in (self.key, *_STAMPED) else " NOT NULL"
        unique = " UNIQUE" if name == self.key else ""
        target = self.references.get(name)
        return f"{name} {column.sql}{needed}{unique}" + (f" REFERENCES {target} (id)" if target else "")

    @cached_property
    def upsert(self) -> str:
        """Insert a row, or put its values into the one of the same key; takes `encode`."""
        changes = ", ".join(f"{name} = excluded.{name}" for name in self._stored if name != self.key)
        return f"{self._insert} ON CONFLICT ({self.key}) DO UPDATE SET {changes}"

    @cached_property
    def insert_new(self) -> str:
        """Insert a row where none of its key is; takes `encode`."""
        return f"{self._insert} ON CONFLICT ({self.key}) DO NOTHING"

    @property
    def _insert(self) -> str:
        return f"INSERT INTO {self.name} ({', '.join(self._stored)}) VALUES ({', '.join('?' * len(self._stored))})"

    def select(self, rest: str = "") -> str:
        """A query whose rows `decode` takes; `rest` begins with WHERE, ORDER BY or the like."""
        return f"SELECT {', '.join(self.columns)}, row_hash FROM {self.name} {rest}"

    @cached_property
    def numbered(self) -> str:
        """A query for all rows, each with its number before what `select` gives."""
        return f"SELECT row, {', '.join(self.columns)}, row_hash FROM {self.name}"

    @cached_property
    def replace_numbered(self) -> str:
        """Put the values of a row into the one of a number; takes `values_of` and the number."""
        return f"UPDATE {self.name} SET {', '.join(f'{name} = ?' for name in self._stored)} WHERE row = ?"

    @cached_property
    def by_key(self) -> str:
        """The row of one key, as `select`."""
        return self.select(f"WHERE {self.key} = ?")

    # Rows

    def encode(self, record: R, **extra: Any) -> list[SqlValue]:
        """The values of a row, in the order that `upsert` takes; `extra` for the columns that records do not have."""
        values = {
            name: column.to_sql(extra[name] if name in self.extra else getattr(record, name))
            for name, column in self.columns.items()
        }
        return [
            *values.values(),
            row_hash(self.name, values),
            *(getattr(record, name).casefold() for name in self.folded),
        ]

    def values_of(self, row: Sequence[Any]) -> list[SqlValue]:
        """The values of a verified row, as `select` gives it, in the order that `upsert` takes."""
        return [*row, *(str(row[list(self.columns).index(name)]).casefold() for name in self.folded)]

    def is_intact(self, row: Sequence[Any]) -> bool:
        """Whether a row, as `select` gives it, has the values that were written."""
        return bool(_hash_of(self, row) == row[-1])

    def verify(self, row: Sequence[Any], database: str) -> None:
        """Raises DamagedRowError where the values are not those that were written.

        Args:
            row: as `select` gives it.
            database: path of the database, for the message.
        """
        if not self.is_intact(row):
            name = str(row[list(self.columns).index(self.key)])[:80]
            raise DamagedRowError(f"{database}: the row {name!r} of {self.name} is damaged", path=database)

    def decode(self, row: Sequence[Any], database: str) -> R:
        """The record in a row; raises as `verify`."""
        self.verify(row, database)
        own = zip(self.record.COLUMNS.items(), row, strict=False)
        return self.record(**{name: column.from_sql(value) for (name, column), value in own})

    def extras(self, row: Sequence[Any]) -> dict[str, Any]:
        """What a verified row has in the columns that records do not have."""
        values = row[len(self.record.COLUMNS) : -1]
        return {name: column.from_sql(v) for (name, column), v in zip(self.extra.items(), values, strict=True)}


def _hash_of(table: Table[Any], row: Sequence[Any]) -> bytes | None:
    values = dict(zip(table.columns, row, strict=False))
    # A byte that is flipped in a text may leave what no JSON can carry.
    try:
        return row_hash(table.name, values)
    except TypeError:
        return None


GOALS: Final = Table(
    "goals",
    Goal,
    indexes=(("status",), ("completed_at",)),
    # The same condition, word for word, is what `get_active_goals` asks.
    partial={"goals_active": f"(priority, created_at, row) WHERE status NOT IN ({FINAL_SQL})"},
    searched=("description",),
)
TASKS: Final = Table(
    "tasks",
    Task,
    references={"goal_id": "goals"},
    indexes=(("goal_id",), ("status",)),
    searched=("description",),
)
TOOL_CALLS: Final = Table(
    "tool_calls", ToolCall, references={"task_id": "tasks"}, indexes=(("task_id",), ("tool_name",))
)
DECISIONS: Final = Table(
    "decisions",
    Decision,
    indexes=(("context",), ("timestamp",)),
    searched=("context", "chosen", "reasoning"),
)
PATTERNS: Final = Table(
    "patterns",
    Pattern,
    indexes=(("trigger",),),
    # With the folded trigger in it, so that looking through all of them reads no row.
    partial={"patterns_best": "(success_rate DESC, uses DESC, id, trigger_folded)"},
    searched=("trigger", "action"),
    folded=("trigger",),
)
AGENT_STATES: Final = Table("agent_states", AgentState, key="agent_name")
EVENTS: Final = Table("events", Event, indexes=(("timestamp",), ("category", "timestamp"), ("source", "timestamp")))
METRICS_HOURLY: Final = Table("metrics_hourly", MetricHour, indexes=(("name", "hour"), ("hour",)))

PROCEDURES: Final = Table("procedures", Procedure, indexes=(("name",), ("created_at",)))
INCIDENTS: Final = Table("incidents", Incident, indexes=(("timestamp",),))
CONFIG_HISTORY: Final = Table("config_history", ConfigChange, indexes=(("file_path", "timestamp"),))
KNOWLEDGE: Final = Table("knowledge", Knowledge, indexes=(("title",), ("created_at",)))


def _archive(table: Table[R], *indexes: Sequence[str]) -> Table[R]:
    """The table in which the rows of a working table are kept when they are old; parents may come later there."""
    extra = {"archived_at": TIME, "summary": TEXT.or_none}
    return Table(f"archived_{table.name}", table.record, key=table.key, indexes=indexes, extra=extra)


# Working table -> its archive.
ARCHIVED: Final[Mapping[str, Table[Any]]] = {
    "goals": _archive(GOALS, ("status",), ("completed_at",)),
    "tasks": _archive(TASKS, ("goal_id",)),
    "tool_calls": _archive(TOOL_CALLS, ("task_id",), ("tool_name",)),
    "decisions": _archive(DECISIONS, ("timestamp",)),
    "events": _archive(EVENTS, ("timestamp",), ("category", "timestamp"), ("source", "timestamp")),
    "metrics_hourly": _archive(METRICS_HOURLY, ("name", "hour"), ("hour",)),
}


@dataclass(frozen=True, eq=False)
class Schema:
    """Everything that is in one database.

    Attributes:
        path: of the database, relative to the store.
        tables: parents before their children.
        application_id: what SQLite notes in the header, so that one of our databases is not taken for the other.
    """

    path: str
    tables: Sequence[Table[Any]]
    application_id: int

    @cached_property
    def searched(self) -> Sequence[Table[Any]]:
        """The tables whose words are indexed; a row of the i-th has the words of row `row * 8 + i`."""
        return [table for table in self.tables if table.searched]

    def create(self) -> list[str]:
        """The statements that make it in an empty database."""
        made = [statement for table in self.tables for statement in table.create()]
        if self.searched:
            made.append(_WORDS)
            made += [trigger for i, table in enumerate(self.searched) for trigger in _word_triggers(i, table)]
        return made

    def index_words(self) -> list[str]:
        """The statements that make the index of words anew, from the rows, and the folded columns; they use `folded`."""
        if not self.searched:
            return []
        folded = [
            f"UPDATE {table.name} SET {name}_folded = folded({name})" for table in self.tables for name in table.folded
        ]
        filled = [
            f"INSERT INTO words (rowid, text) SELECT row * 8 + {i}, {_text_of(table)} FROM {table.name}"
            for i, table in enumerate(self.searched)
        ]
        return [*_FORGET_WORDS, _WORDS, *filled, *folded]

    def count_unindexed(self) -> list[str]:
        """Queries for the number of rows without their words, or otherwise folded, and of words without a row; they use `folded`."""
        queries = [
            f"SELECT count(*) FROM {table.name} WHERE {name}_folded IS NOT folded({name})"
            for table in self.tables
            for name in table.folded
        ]
        for i, table in enumerate(self.searched):
            joined = f"{table.name} AS held LEFT JOIN words ON words.rowid = held.row * 8 + {i}"
            queries.append(f"SELECT count(*) FROM {joined} WHERE words.text IS NOT {_text_of(table, 'held.')}")
            held = f"SELECT row FROM {table.name}"
            queries.append(f"SELECT count(*) FROM words WHERE rowid % 8 = {i} AND rowid / 8 NOT IN ({held})")
        return queries


def _text_of(table: Table[Any], prefix: str = "") -> str:
    return " || ' ' || ".join(f"{prefix}{name}" for name in table.searched)


def _word_triggers(place: int, table: Table[Any]) -> Iterable[str]:
    text = _text_of(table, "new.")
    insert = f"INSERT INTO words (rowid, text) VALUES (new.row * 8 + {place}, {text});"
    delete = f"DELETE FROM words WHERE rowid = old.row * 8 + {place};"
    differs = " OR ".join(f"old.{name} IS NOT new.{name}" for name in table.searched)
    yield f"CREATE TRIGGER {table.name}_added AFTER INSERT ON {table.name} BEGIN {insert} END"
    yield f"CREATE TRIGGER {table.name}_removed AFTER DELETE ON {table.name} BEGIN {delete} END"
    when = f"AFTER UPDATE ON {table.name} WHEN {differs}"
    yield f"CREATE TRIGGER {table.name}_changed {when} BEGIN {delete} {insert} END"


WORKING: Final = Schema(
    WORKING_DB,
    (GOALS, TASKS, TOOL_CALLS, DECISIONS, PATTERNS, AGENT_STATES, EVENTS, METRICS_HOURLY),
    0x534D5457,
)
LONGTERM: Final = Schema(
    LONGTERM_DB, (*ARCHIVED.values(), PROCEDURES, INCIDENTS, CONFIG_HISTORY, KNOWLEDGE), 0x534D544C
)
SCHEMAS: Final = (WORKING, LONGTERM)
