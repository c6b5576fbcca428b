"""Where the words of a question stand in a text, by the same stemming and folding by which the index finds it.

It finds and ranks no entity, and asks no store: texts come in, places go out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

from synthians_memory.engine.text_index import TOKENIZER
from synthians_memory.engine.text_query import terms_of
from synthians_memory.errors import DamagedViewError
from synthians_memory.layout import TEXT_FILE

__all__ = ["Span", "matched_spans"]

# The first character of a match, and the one after its last.
Span = tuple[int, int]


def matched_spans(texts: Sequence[str], query: str) -> list[list[Span]]:
    """The places in each of `texts` that a recall of `query` finds it by, in order and apart; none for a text without."""
    terms = terms_of(query)
    if not terms:
        return [[] for _ in texts]
    start, end = _unused_characters(texts)
    found: list[list[Span]] = [[] for _ in texts]
    for number, marked in _marked(texts, " OR ".join(terms), start, end):
        found[number] = list(_spans(marked, start, end))
    return found


def _marked(texts: Sequence[str], expression: str, start: str, end: str) -> list[tuple[int, str]]:
    """Number and text of those that match, with `start` before and `end` after each match."""
    # A zero character would end the text for FTS5.
    rows = [(number, text.replace("\0", " ")) for number, text in enumerate(texts)]
    try:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.execute(f'CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = "{TOKENIZER}")')
            connection.executemany("INSERT INTO words (rowid, text) VALUES (?, ?)", rows)
            sql = "SELECT rowid, highlight(words, 0, ?, ?) FROM words WHERE words MATCH ?"
            return connection.execute(sql, (start, end, expression)).fetchall()
    except sqlite3.Error as error:
        raise DamagedViewError(f"SQLite cannot mark words: {error}", path=TEXT_FILE) from error


def _unused_characters(texts: Sequence[str]) -> tuple[str, str]:
    """Two characters that no text has; there are more of them for private use than a text has kinds of characters."""
    used = set().union(*texts)
    free = (chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in used)
    return next(free), next(free)


def _spans(marked: str, start: str, end: str) -> Iterator[Span]:
    place = 0
    for part in marked.split(start):
        inside, has_end, after = part.partition(end)
        if has_end:
            yield place, place + len(inside)
        place += len(inside) + len(after)
