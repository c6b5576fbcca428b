"""Recall: the memories that a text is about, found by words, by vectors and by what stands next to them.

It is not the facade, and not the searches themselves (`text_index`, `vectors`); it asks them and weighs the answers.

    words: BM25 over stemmed words, of the rarest words of the question
    neighbours: what a memory's neighbours scored, added with the weight `neighbours`: they lend each other their words
    vectors: the nearest ones, and the exact similarity of whatever the words found
    -> fused (`fusion`) -> recency and importance added -> entries loaded, and held against the filter once more
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from synthians_memory.engine.deadline import Deadline
from synthians_memory.engine.filter_sql import compile_filter
from synthians_memory.engine.filters import Tree, matches
from synthians_memory.engine.fusion import Fusion, fused, shares_of_best
from synthians_memory.engine.records import Key
from synthians_memory.engine.state import UNSERVABLE
from synthians_memory.engine.store import Store
from synthians_memory.engine.text_index import Match, TextIndex
from synthians_memory.engine.text_query import terms_of
from synthians_memory.models import MemoryEntry, Vector
from synthians_memory.reports import RecallHit, RecallMode, RecallParts

__all__ = ["RecallQuery", "recall_hits"]

# The words of a question are looked for from the rarest on, until so many memories may have one of them.
_MOST_MATCHED: Final = 20_000
# How many of the memories found by words, and by vectors, are weighed against each other.
_TEXT_POOL: Final = 1000
_VECTOR_POOL: Final = 100
# How many of the memories found by words lend them to their neighbours.
_LENDERS: Final = 300
_DAY: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class RecallQuery:
    """What is asked; the fields are those of `MemoryPersistence.recall`, checked.

    Attributes:
        vector: of the text; None where that has none, or it is not to be compared.
    """

    text: str
    k: int
    mode: RecallMode
    where: Tree | None
    min_score: float | None
    fusion: Fusion
    vector: Vector | None
    vector_weight: float
    neighbours: float
    recency: float
    half_life: float
    importance: float


@dataclass(slots=True)
class _Pool:
    """Who is weighed: BM25 of own words, what neighbours lend, similarity; and whom a filter allows."""

    texts: dict[str, float] = field(default_factory=dict)
    near: dict[str, float] = field(default_factory=dict)
    vectors: dict[str, float] = field(default_factory=dict)
    floor: float = 0.0
    allowed: frozenset[str] | None = None


def recall_hits(store: Store, query: RecallQuery, deadline: Deadline) -> list[RecallHit]:
    """The best memories for `query`, best first, equal scores by id; at most `query.k`.

    Raises:
        SearchTimeoutError: the deadline was reached.
        DimensionError, InvalidValueError: the vector cannot be compared.
    """
    pool = _Pool()
    if query.mode != "vector" or query.where is not None:
        pool = store.ask_text(deadline, lambda index: _found_by_words(index, query))
    if query.vector is not None:
        _add_vectors(store, query, query.vector, pool)
    deadline.check()
    scores = _final_scores(store, query, pool)
    ordered = sorted(scores, key=lambda i: (-scores[i].score, i))
    return list(_loaded(store, query, deadline, [scores[i] for i in ordered]))


# By words


def _found_by_words(index: TextIndex, query: RecallQuery) -> _Pool:
    condition = None if query.where is None else compile_filter(query.where)
    pool = _Pool(allowed=None if condition is None else frozenset(index.select("memory", condition)))
    expression = "" if query.mode == "vector" else _expression(index, query.text)
    if not expression:
        return pool
    found = index.words("memory", expression, max(_TEXT_POOL, query.k), condition)
    pool.texts = {entity_id: score for _, entity_id, score in found}
    if query.neighbours > 0:
        lenders = found if condition is None else index.words("memory", expression, _LENDERS)
        _lend(index, lenders[:_LENDERS], pool)
    return pool


def _expression(index: TextIndex, text: str) -> str:
    """The words of `text` that are looked for, any of them, as FTS5 writes it."""
    terms = terms_of(text)
    counts = {term: index.count("memory", term, _MOST_MATCHED + 1) for term in terms}
    chosen: list[str] = []
    matched = 0
    for term in sorted(terms, key=counts.__getitem__):
        matched += counts[term]
        if chosen and matched > _MOST_MATCHED:
            break
        if counts[term]:
            chosen.append(term)
    return " OR ".join(chosen)


def _lend(index: TextIndex, lenders: list[Match], pool: _Pool) -> None:
    scores = {row: score for row, _, score in lenders}
    for row, borrower in index.next_to(list(scores)):
        if pool.allowed is None or borrower in pool.allowed:
            pool.near[borrower] = pool.near.get(borrower, 0.0) + scores[row]


# By vectors


def _add_vectors(store: Store, query: RecallQuery, vector: Vector, pool: _Pool) -> None:
    vectors = store.state.vectors
    nearest = vectors.search(vector, max(_VECTOR_POOL, 2 * query.k), "memory", pool.allowed)
    pool.vectors = dict(nearest)
    pool.floor = nearest[-1][1] if nearest else 0.0
    others = [i for i in pool.texts.keys() | pool.near.keys() if i not in pool.vectors]
    if others:
        pool.vectors.update(vectors.search(vector, len(others), "memory", others))


# Weighing


@dataclass(frozen=True, slots=True)
class _Weighed:
    entity_id: str
    score: float
    parts: RecallParts


def _final_scores(store: Store, query: RecallQuery, pool: _Pool) -> dict[str, _Weighed]:
    lent = {i: query.neighbours * score for i, score in pool.near.items()}
    texts = {i: pool.texts.get(i, 0.0) + lent.get(i, 0.0) for i in pool.texts.keys() | lent.keys()}
    if query.mode == "vector":
        base = pool.vectors
    elif query.vector is None:
        base = shares_of_best(texts)
    else:
        base = fused(texts, pool.vectors, pool.floor, query.fusion, query.vector_weight)
    now = store.state.clock.micros()
    weighed = (_weighed(store, query, pool, i, score, now) for i, score in base.items())
    return {one.entity_id: one for one in weighed if one is not None}


def _weighed(store: Store, query: RecallQuery, pool: _Pool, entity_id: str, score: float, now: int) -> _Weighed | None:
    row = store.state.index.row(("memory", entity_id))
    if row is None:
        return None
    recency = 0.5 ** (max(0, now - row.created_micros) / (query.half_life * _DAY))
    total = score + query.recency * recency + query.importance * row.score
    own, near = pool.texts.get(entity_id, 0.0), pool.near.get(entity_id, 0.0)
    return _Weighed(entity_id, total, RecallParts(own, near, pool.vectors.get(entity_id), recency, row.score))


def _loaded(store: Store, query: RecallQuery, deadline: Deadline, ordered: list[_Weighed]) -> Iterator[RecallHit]:
    """The first `k` of `ordered` that can be served, and that match the filter as they are now."""
    count = 0
    for one in ordered:
        if count == query.k or (query.min_score is not None and one.score < query.min_score):
            return
        deadline.check()
        entry = _entry(store, ("memory", one.entity_id))
        if entry is not None and (query.where is None or matches(entry, query.where)):
            count += 1
            yield RecallHit(entry, one.score, one.parts, query.mode)


def _entry(store: Store, key: Key) -> MemoryEntry | None:
    try:
        entity = store.load(key)
    except UNSERVABLE:
        return None
    return entity if isinstance(entity, MemoryEntry) else None
