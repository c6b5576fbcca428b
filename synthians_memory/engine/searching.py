"""Search, recall and remember as the event loop calls them: arguments checked, the embedder asked, threads used.

It is not the facade, which documents them, and ranks nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast, get_args

from synthians_memory.embedder import Embedder
from synthians_memory.engine.commit import Expected
from synthians_memory.engine.deadline import Deadline
from synthians_memory.engine.embedding_call import embed_query, embed_texts
from synthians_memory.engine.filters import Tree, parse_where
from synthians_memory.engine.fusion import Fusion
from synthians_memory.engine.recall import RecallQuery, found_by_words, nearest, ranked
from synthians_memory.engine.session import Session
from synthians_memory.engine.text_query import typed_text
from synthians_memory.engine.transaction import save_operation, stored_outcome
from synthians_memory.engine.vectors import VectorView
from synthians_memory.errors import (
    EmbedderMismatchError,
    InvalidTypeError,
    InvalidValueError,
    SearchTimeoutError,
    UsageError,
)
from synthians_memory.json_values import checked_text
from synthians_memory.layout import Kind
from synthians_memory.models import MemoryEntry, Vector, as_vector
from synthians_memory.reports import RecallHit, RecallMode, SearchHit

__all__ = [
    "MOST_QUERY_CHARACTERS",
    "MOST_TAGS",
    "MOST_TEXT_CHARACTERS",
    "checked_recall",
    "entry_to_remember",
    "recall",
    "remember",
    "require_positive",
    "search",
    "search_batch",
]

# What a person or an agent says in one go; longer texts are saved as entries, and imported.
MOST_TEXT_CHARACTERS: Final = 100_000
MOST_TAGS: Final = 50
MOST_QUERY_CHARACTERS: Final = 1_000


def require_positive(name: str, value: object) -> None:
    """Refuse anything but an integer of at least 1: InvalidValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidValueError(f"{name} is {value!r}; it must be an integer of at least 1")


async def search(
    session: Session,
    embedder: Embedder | None,
    query: Vector | Sequence[float] | str,
    k: int,
    where: Mapping[str, Any] | None,
    kind: Kind,
) -> list[SearchHit]:
    """As `Persistence.search`; without a thread where it takes no time."""
    tree = _checked_search(k, where, kind)
    vectors, present = _model(session, embedder)
    [vector] = (
        [as_vector(query, "query")]
        if not isinstance(query, str)
        else await _embedded_queries(session, present, [query])
    )
    store = session.store
    found = store.search_at_hand(vector, k, kind, vectors) if tree is None else None
    return await session.in_thread(lambda: store.search(vector, k, kind, tree, vectors)) if found is None else found


def _model(session: Session, embedder: Embedder | None) -> tuple[VectorView, Embedder | None]:
    """The vectors of the store, and who embeds for them; taken together, so that they fit when the model is changed."""
    vectors = session.store.state.vectors
    return vectors, embedder if vectors.made_with is None else vectors.made_with.embedder


def _checked_search(k: int, where: Mapping[str, Any] | None, kind: Kind) -> Tree | None:
    require_positive("k", k)
    if kind not in ("memory", "assembly"):
        raise InvalidValueError(f"kind is {kind!r}", hint='Write "memory" or "assembly".')
    return None if where is None else parse_where(where)


async def _embedded_queries(session: Session, embedder: Embedder | None, texts: Sequence[str]) -> list[Vector]:
    if embedder is None:
        raise UsageError("a text was given and no embedder is set", hint="Pass embedder=, or search by a vector.")
    checked = [checked_text(text, "query") for text in texts]
    return await session.in_embedding_thread(lambda: [embed_query(embedder, text) for text in checked])


async def search_batch(
    session: Session,
    embedder: Embedder | None,
    queries: Iterable[Vector | Sequence[float] | str],
    k: int,
    where: Mapping[str, Any] | None,
    kind: Kind,
) -> list[list[SearchHit]]:
    """As `MemoryPersistence.search_batch`."""
    tree = _checked_search(k, where, kind)
    if isinstance(queries, str | bytes):
        raise InvalidTypeError("queries are one text; search_batch takes many", hint="Write [query], or use search.")
    asked = list(queries)
    vectors, present = _model(session, embedder)
    given = [None if isinstance(query, str) else as_vector(query, "query") for query in asked]
    texts = [query for query in asked if isinstance(query, str)]
    embedded = iter(await _embedded_queries(session, present, texts) if texts else [])
    rows = [next(embedded) if vector is None else vector for vector in given]
    return await session.in_thread(lambda: session.store.search_many(rows, k, kind, tree, vectors)) if rows else []


def checked_recall(
    text: object,
    k: int,
    mode: RecallMode,
    where: Mapping[str, Any] | None,
    min_score: float | None,
    fusion: Fusion,
    **weights: float,
) -> RecallQuery:
    """The question, checked. Raises InvalidValueError, InvalidTypeError."""
    if not isinstance(text, str):
        raise InvalidTypeError(f"text must be a string, not {type(text).__name__}")
    _require_most("text", len(text), MOST_QUERY_CHARACTERS, "characters", "Ask with fewer words.")
    require_positive("k", k)
    for name, value, choices in (("mode", mode, get_args(RecallMode)), ("fusion", fusion, get_args(Fusion))):
        if value not in choices:
            raise InvalidValueError(f"{name} is {value!r}", hint=f"It is one of {', '.join(map(repr, choices))}.")
    if min_score is not None:
        _require_number("min_score", min_score, -math.inf, math.inf)
    for name, weight in weights.items():
        _require_number(name, weight, 0.0, 1.0 if name == "vector_weight" else math.inf)
    if not weights["half_life"]:
        raise InvalidValueError("half_life is 0; it must be above")
    tree = None if where is None else parse_where(where)
    return RecallQuery(
        typed_text(text), k, mode, tree, min_score, fusion, None, vectors=None, on_damaged=None, **weights
    )


def _require_number(name: str, value: object, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"{name} must be a number, not {value!r}")
    if not least <= value <= most or math.isinf(value):
        raise InvalidValueError(f"{name} is {value}; it must be finite, and lie in {least:g}..{most:g}")


def _require_most(name: str, count: int, most: int, unit: str, hint: str) -> None:
    if count > most:
        raise InvalidValueError(f"{name} has {count:,} {unit}, over {most:,}", hint=hint)


async def recall(
    session: Session, embedder: Embedder | None, query: RecallQuery, seconds: float | None
) -> list[RecallHit]:
    """As `Persistence.recall`; `seconds`: its timeout."""
    vectors, embedder = _model(session, embedder)
    if query.mode == "vector" and embedder is None:
        raise UsageError("no embedder is set", hint='Pass embedder= when you open the store, or use mode="text".')
    if seconds is not None:
        _require_number("timeout", seconds, 0.0, math.inf)
    deadline = Deadline(seconds, session.store.state.clock.monotonic)
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            return await _recalled(session, embedder, replace(query, vectors=vectors), deadline)
    except TimeoutError as error:
        if isinstance(error, SearchTimeoutError) or not timer.expired():
            raise
        raise deadline.error() from error
    finally:
        # Whoever still works on it is to stop, also where the caller was cancelled.
        deadline.cancel()


async def _recalled(
    session: Session, embedder: Embedder | None, query: RecallQuery, deadline: Deadline
) -> list[RecallHit]:
    """Words and vectors are looked for at the same time, where no filter makes the one wait for the other."""
    query = await _with_vector(session, embedder, query)
    store, vector = session.store, query.vector
    words = session.in_thread(lambda: found_by_words(store, query, deadline))
    if vector is None:
        pool = await words
        return await session.in_thread(lambda: ranked(store, query, pool, [], deadline))
    if query.where is None:
        pool, near = await asyncio.gather(words, session.in_thread(lambda: nearest(store, query, vector, None)))
    else:
        pool = await words
        near = await session.in_thread(lambda: nearest(store, query, vector, pool.allowed))
    return await session.in_thread(lambda: ranked(store, query, pool, near, deadline))


async def _with_vector(session: Session, embedder: Embedder | None, query: RecallQuery) -> RecallQuery:
    """`query` with its vector; in mode "text" where there is none to be had."""
    if query.mode == "text":
        return query
    vector = None if embedder is None else await _embedded(session, embedder, query.text)
    if vector is not None:
        return replace(query, vector=vector)
    return query if query.mode == "vector" else replace(query, mode="text")


async def _embedded(session: Session, embedder: Embedder, text: str) -> Vector | None:
    """The vector of `text`; None where the embedder finds nothing in it."""
    if not text.strip():
        return None
    row = (await session.in_embedding_thread(lambda: embed_texts(embedder, [text])))[0]
    return as_vector(row) if row.any() else None


def entry_to_remember(
    text: object, tags: Iterable[str], importance: float | None, metadata: Mapping[str, Any] | None
) -> MemoryEntry:
    """The entry that `Persistence.remember` saves, not embedded yet."""
    content = checked_text(text, "text")
    if not content.strip():
        raise InvalidValueError("the text is empty", hint="Remember some words.")
    hint = "Split it, or save it as a MemoryEntry with save_memory."
    _require_most("text", len(content), MOST_TEXT_CHARACTERS, "characters", hint)
    if not isinstance(tags, str):
        tags = tuple(tags)
        _require_most("tags", len(tags), MOST_TAGS, "tags", "Give fewer tags.")
    known: dict[str, Any] = {} if importance is None else {"quickrecal_score": importance}
    return MemoryEntry(content=content, tags=tags, metadata=dict(metadata or {}), **known)  # type: ignore[arg-type]


async def remember(
    session: Session, embedder: Embedder | None, entry: MemoryEntry, expected: Expected = None
) -> MemoryEntry:
    """Embed and save `entry`; returns it as stored. Raises as a save."""
    while True:
        vectors, present = _model(session, embedder)
        vector = None if present is None else await _embedded(session, present, entry.content)
        try:
            operation = save_operation(entry.replace(embedding=vector), expected)
            outcomes = await session.commit([operation], vectors)
            return cast(MemoryEntry, stored_outcome(outcomes[0]))
        except EmbedderMismatchError:
            # The model was changed between the two.
            if vectors is session.store.state.vectors:
                raise
