"""Recall: the memories that a text is about, found by words, by vectors and by what stands next to them.

It is not the facade, and not the searches themselves (`text_index`, `vectors`); it asks them and weighs the answers.

    words: BM25 over stemmed words, of the rarest words of the question
    neighbours: what a memory's neighbours scored, added with the weight `neighbours`: they lend each other their words
    vectors: the nearest ones, and the exact similarity of whatever the words found
    -> fused (`fusion`) -> recency and importance added -> entries loaded, and held against the filter once more
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from synthians_memory.engine.deadline import Deadline
from synthians_memory.engine.expiry import nearest_live
from synthians_memory.engine.filter_sql import compile_filter
from synthians_memory.engine.filters import Tree, matches
from synthians_memory.engine.fusion import Fusion, fused, shares_of_best
from synthians_memory.engine.records import Key
from synthians_memory.engine.state import UNSERVABLE
from synthians_memory.engine.store import Store
from synthians_memory.engine.text_index import TextIndex
from synthians_memory.engine.text_query import terms_of
from synthians_memory.engine.vectors import VectorView
from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.models import MemoryEntry, Vector
from synthians_memory.reports import RecallHit, RecallMode, RecallParts

__all__ = ["Pool", "RecallQuery", "found_by_words", "nearest", "ranked"]

# The words of a question are looked for from the rarest on, until so many memories may have one of them. Further ones
# count for these memories only, as long as they stand in so many altogether, and not in half of them all.
_MOST_MATCHED: Final = 4000
_MOST_COUNTED: Final = 20_000
_MOST_SCANNED: Final = 40_000
# How many of the memories found by words, and by vectors, are weighed against each other at least.
_TEXT_POOL: Final = 200
_VECTOR_POOL: Final = 100
_DAY: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class RecallQuery:
    """What is asked; the fields are those of `Persistence.recall`, checked.

    Attributes:
        vector: of the text; None where that has none, or it is not to be compared.
        vectors: those that it was made for; None: the present ones.
        on_damaged: told of what cannot be served.
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
    vectors: VectorView | None = None
    on_damaged: Callable[[SynthiansMemoryError], None] | None = None


@dataclass(slots=True)
class Pool:
    """Who is weighed.

    Attributes:
        texts: BM25 of own words, by id.
        near: what neighbours lend.
        vectors: similarity.
        floor: the similarity that counts nothing.
        allowed: whom the filter selects; None without one, or where no vector asks for it.
        now: microseconds since 1970, to which recency is measured.
    """

    texts: dict[str, float] = field(default_factory=dict)
    near: dict[str, float] = field(default_factory=dict)
    vectors: dict[str, float] = field(default_factory=dict)
    floor: float = 0.0
    allowed: list[str] | None = None
    now: int = 0


# By words


def found_by_words(store: Store, query: RecallQuery, deadline: Deadline) -> Pool:
    """Who has the words, or a neighbour that has them; and, for a query with a vector, whom the filter allows.

    Raises:
        SearchTimeoutError: the deadline was reached.
    """
    if query.mode == "vector" and query.where is None:
        return Pool()
    state = store.state
    total = state.index.count("memory")
    now = state.clock.micros()
    expired = state.index.expiry.count(now)
    return store.ask_text(deadline, lambda index: _asked(index, query, total, expired, now if expired else None))


def _asked(index: TextIndex, query: RecallQuery, total: int, expired: int, live_at: int | None) -> Pool:
    """As `found_by_words`; of `total` memories so many have expired: they neither are found nor lend their words."""
    pool = Pool()
    narrowed = query.where is not None
    size = total - expired
    if query.where is not None:
        size = index.narrow("memory", compile_filter(query.where), live_at=live_at)
        pool.allowed = index.allowed_ids() if query.mode != "text" else None
    if query.mode == "vector":
        return pool
    terms = _counted_terms(index, query.text)
    expression = _expression(terms, total, few=size <= _MOST_MATCHED, least=2 * query.k)
    if not expression:
        return pool
    most = max(_TEXT_POOL, 2 * query.k)
    found = index.words("memory", expression, most, narrowed=narrowed, live_at=live_at)
    if (narrowed or expired) and len(found) < min(query.k, size):
        # Those that are allowed may have none of the rare words.
        found = index.words("memory", " OR ".join(terms), most, narrowed=narrowed, live_at=live_at)
    pool.texts = {entity_id: score for _, entity_id, score in found}
    if query.neighbours > 0:
        lenders = index.words("memory", expression, most, live_at=live_at) if narrowed else found
        scores = {row: score for row, _, score in lenders}
        for row, borrower in index.next_to(list(scores), narrowed=narrowed, live_at=live_at):
            pool.near[borrower] = pool.near.get(borrower, 0.0) + scores[row]
    return pool


def _counted_terms(index: TextIndex, text: str) -> dict[str, int]:
    """The terms of `text` that some memory has, and how many have it; rarest first."""
    counts = {term: index.count("memory", term, _MOST_COUNTED + 1) for term in terms_of(text)}
    return {term: counts[term] for term in sorted(counts, key=counts.__getitem__) if counts[term]}


def _expression(terms: dict[str, int], total: int, *, few: bool, least: int) -> str:
    """What is looked for, as FTS5 writes it; "" where there is nothing.

    Args:
        terms: as `_counted_terms` gives them.
        total: how many memories there are.
        few: whether only few of them are allowed, so that little is ranked however much has the words.
        least: how many memories should have one of the words, where so many do.
    """
    most = _MOST_SCANNED if few else _MOST_MATCHED
    wanted: list[str] = []
    counted: list[str] = []
    matched = 0
    for term, count in terms.items():
        if matched < least or matched + count <= most:
            wanted.append(term)
        elif matched + count <= _MOST_COUNTED and count <= total // 2:
            counted.append(term)
        matched += count
    if not counted:
        return " OR ".join(wanted)
    return f"({' OR '.join(wanted)}) AND ({' OR '.join((*wanted, *counted))})"


# By vectors


def nearest(store: Store, query: RecallQuery, vector: Vector, allowed: list[str] | None) -> list[tuple[str, float]]:
    """The memories nearest to `vector`, enough to be weighed; raises DimensionError, InvalidValueError."""
    most = max(_VECTOR_POOL, 2 * query.k)
    return nearest_live(store.state, vector, most, "memory", allowed, query.vectors)


# Together


def ranked(
    store: Store, query: RecallQuery, pool: Pool, near: list[tuple[str, float]], deadline: Deadline
) -> list[RecallHit]:
    """The best memories for `query`, best first, equal scores by id; at most `query.k`.

    Args:
        store: where they are.
        query: the question.
        pool: what was found by words.
        near: what was found by vectors.
        deadline: SearchTimeoutError where it is reached.
    """
    deadline.check()
    pool.now = store.state.clock.micros()
    if query.vector is not None:
        _add_vectors(query.vectors or store.state.vectors, query.vector, near, pool)
    scores = _final_scores(store, query, pool)
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return list(_loaded(store, query, deadline, pool, ordered))


def _add_vectors(vectors: VectorView, vector: Vector, near: list[tuple[str, float]], pool: Pool) -> None:
    """The nearest, and the exact similarity of whatever the words found."""
    pool.vectors = dict(near)
    pool.floor = near[-1][1] if near else 0.0
    others = [i for i in pool.texts.keys() | pool.near.keys() if i not in pool.vectors]
    if others:
        pool.vectors.update(vectors.search(vector, len(others), "memory", others))


# Weighing


def _final_scores(store: Store, query: RecallQuery, pool: Pool) -> dict[str, float]:
    lent = {i: query.neighbours * score for i, score in pool.near.items()}
    texts = {i: pool.texts.get(i, 0.0) + lent.get(i, 0.0) for i in pool.texts.keys() | lent.keys()}
    if query.mode == "vector":
        scores = pool.vectors
    elif query.vector is None:
        scores = shares_of_best(texts)
    else:
        scores = fused(texts, pool.vectors, pool.floor, query.fusion, query.vector_weight)
    if not query.recency and not query.importance:
        return scores
    return {i: score + _extra(store, query, pool, i) for i, score in scores.items()}


def _extra(store: Store, query: RecallQuery, pool: Pool, entity_id: str) -> float:
    recency, importance = _standing(store, query, pool, entity_id)
    return query.recency * recency + query.importance * importance


def _standing(store: Store, query: RecallQuery, pool: Pool, entity_id: str) -> tuple[float, float]:
    """Recency and importance of a memory; zeros for one that has gone."""
    row = store.state.index.row(("memory", entity_id))
    if row is None:
        return 0.0, 0.0
    age = max(0, pool.now - row.created_micros)
    return 0.5 ** (age / (query.half_life * _DAY)), row.score


def _loaded(
    store: Store, query: RecallQuery, deadline: Deadline, pool: Pool, ordered: list[tuple[str, float]]
) -> Iterator[RecallHit]:
    """The first `k` of `ordered` that can be served, and that match the filter as they are now."""
    count = 0
    for entity_id, score in ordered:
        if count == query.k or (query.min_score is not None and score < query.min_score):
            return
        deadline.check()
        entry = _entry(store, query, ("memory", entity_id))
        if entry is not None and (query.where is None or matches(entry, query.where)):
            count += 1
            yield RecallHit(entry, score, _parts(store, query, pool, entity_id), query.mode)


def _parts(store: Store, query: RecallQuery, pool: Pool, entity_id: str) -> RecallParts:
    recency, importance = _standing(store, query, pool, entity_id)
    own, near = pool.texts.get(entity_id, 0.0), pool.near.get(entity_id, 0.0)
    return RecallParts(own, near, pool.vectors.get(entity_id), recency, importance)


def _entry(store: Store, query: RecallQuery, key: Key) -> MemoryEntry | None:
    try:
        entity = store.load(key)
    except UNSERVABLE as error:
        if query.on_damaged is not None:
            query.on_damaged(error)
        return None
    return entity if isinstance(entity, MemoryEntry) else None
