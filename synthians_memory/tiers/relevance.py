"""Which rows of working memory a text is about, by their words, and what each of them says in short.

It changes nothing, and compares no meanings.

A row's relevance is its BM25 over the sum of the weights of the text's words, at most 1: a row of average length in which each
of them stands once has 1. A word weighs ln((N - n + 0.5) / (n + 0.5)), at least 1e-6, where n of the N rows have it; words
that none has do not count.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

import orjson

from synthians_memory.engine.text_query import terms_of
from synthians_memory.tiers.records import Decision, Goal, Pattern, Record, Task
from synthians_memory.tiers.tables import WORKING, Table

__all__ = ["Relevant", "kind_of", "matches", "relevant", "summary_of"]

# So many rows with the words are ranked, the latest ones; and so many at most are counted.
_MOST_RANKED: Final = 8000
_LEAST_WEIGHT: Final = 1e-6
# Rows of equal words may differ in the last bits.
_DIGITS: Final = 6
_PLACES: Final = 8


@dataclass(frozen=True, slots=True)
class Relevant:
    """A row that a text is about.

    Attributes:
        kind: "goal", "task", "decision" or "pattern".
        id: of the row.
        summary: what it says.
        relevance: 0 to 1, higher is better.
    """

    kind: str
    id: str
    summary: str
    relevance: float


def kind_of(record: Record) -> str:
    """What a record is called in a Relevant."""
    return type(record).__name__.lower()


def relevant(record: Record, relevance: float) -> Relevant:
    """A record that was found; its relevance is cut at 1."""
    return Relevant(kind_of(record), record.key, summary_of(record), min(relevance, 1.0))


def summary_of(record: Record) -> str:
    """What a goal, task, decision or pattern says."""
    if isinstance(record, Goal):
        return f"Goal ({record.status}, priority {record.priority}): {record.description}{_outcome(record.result)}"
    if isinstance(record, Task):
        return f"Task ({record.status}): {record.description}{_outcome(record.error or record.output)}"
    if isinstance(record, Decision):
        why = f" Why: {record.reasoning}" if record.reasoning else ""
        return f"Decision: {record.context} Chosen: {record.chosen}{why}{_outcome(record.outcome)}"
    if isinstance(record, Pattern):
        rate = f"{record.success_rate:.0%} of {record.uses} uses went well"
        return f"Pattern: when {record.trigger}: {record.action} ({rate})"
    return orjson.dumps(record.to_dict()).decode()


def _outcome(value: Any) -> str:
    if value is None or value == "":
        return ""
    return f" Outcome: {value if isinstance(value, str) else orjson.dumps(value).decode()}"


def matches(connection: sqlite3.Connection, text: str, *tables: Table[Any]) -> dict[tuple[Table[Any], int], float]:
    """Table and `row` of the rows that have words of `text`, and their relevance, not yet cut at 1; in no order.

    Args:
        connection: to working memory.
        text: anything.
        tables: only rows of these; without any, of all that are searched.
    """
    weights = _weights(connection, text)
    if not weights:
        return {}
    bound, wanted = sum(weights.values()), {WORKING.searched.index(table) for table in tables}
    limits = f" AND rowid % {_PLACES} IN ({', '.join(map(str, sorted(wanted)))})" if wanted else ""
    sql = f"SELECT rowid, -bm25(words) FROM words WHERE words MATCH ?{limits} ORDER BY rowid DESC LIMIT {_MOST_RANKED}"
    ranked = connection.execute(sql, (" OR ".join(weights),)).fetchall()
    return {
        (WORKING.searched[number % _PLACES], number // _PLACES): round(max(score / bound, 0.0), _DIGITS)
        for number, score in ranked
    }


def _weights(connection: sqlite3.Connection, text: str) -> dict[str, float]:
    """Term -> its weight, of the terms that rows have."""
    total = sum(connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0] for table in WORKING.searched)
    counts = {term: _count(connection, term) for term in terms_of(text)}
    return {
        term: max(math.log((total - count + 0.5) / (count + 0.5)) if count < total else 0.0, _LEAST_WEIGHT)
        for term, count in counts.items()
        if count
    }


def _count(connection: sqlite3.Connection, term: str) -> int:
    sql = f"SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT {_MOST_RANKED})"
    return int(connection.execute(sql, (term,)).fetchone()[0])
