"""Searching the memories of collections: the best of them for a text, by meaning or by words, with a relevance of 0 to 1.

It loads no memory and knows no row: ids and relevances come out.

    meaning: the similarity of the vectors, cut to 0..1; the cosine where that is the store's metric
    words: BM25 over the sum of the weights of the query's words, at most 1: a memory of average length in which each
           of them stands once has 1. A word weighs ln((N - n + 0.5) / (n + 0.5)), at least 1e-6, where n of the N memories
           of the store have it; words that none has do not count

Words decide where the store has no embedder, or that finds nothing in the text; and about memories that have no vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from synthians_memory.embedder import Embedder
from synthians_memory.engine.deadline import Deadline
from synthians_memory.engine.embedding_call import embed_texts
from synthians_memory.engine.expiry import nearest_live
from synthians_memory.engine.session import Session
from synthians_memory.engine.text_index import TextIndex
from synthians_memory.engine.text_query import terms_of, typed_text
from synthians_memory.engine.vectors import VectorView
from synthians_memory.models import Vector, as_vector

__all__ = ["Ranked", "ranked_members"]

# Ids of memories with their relevance, best first.
Ranked = list[tuple[str, float]]

Belongs = Callable[[str], bool]

# So many of all memories are asked for first, as nothing is as fast; then more, then those that belong alone.
_FIRST: Final = 64
_MORE: Final = 8
_MOST_UNFILTERED: Final = 4096
# Equal vectors may differ in the last bits of their similarity, by where they lie in the index.
_DIGITS: Final = 6
# What FTS5 takes for the weight of a word that more than half of the texts have.
_LEAST_WEIGHT: Final = 1e-6


@dataclass(frozen=True, slots=True)
class _Question:
    text: str
    belongs: Belongs
    count: int


@dataclass(frozen=True, slots=True)
class _Expression:
    """What is looked for, as FTS5 writes it; the score that counts 1; how many memories there are; and the time."""

    text: str
    bound: float
    total: int
    live_at: int | None


async def ranked_members(
    session: Session, embedder: Embedder | None, text: str, belongs: Belongs, count: int
) -> tuple[Ranked, bool]:
    """The best memories for `text` whose ids belong: at least `count` where so many can be found, best first.

    Equal relevances are in order of ids, and none of those that equal the last of the `count` is missing.

    Args:
        session: of the store.
        embedder: of the store, as it was opened.
        text: anything.
        belongs: tells by an id whether its memory may be one of them.
        count: at least 1.

    Returns:
        What was found, and whether that is all there is to be found.
    """
    question = _Question(typed_text(text), belongs, count)
    vectors, vector = await _query_vector(session, embedder, question.text)
    if vector is None:
        found, whole = await session.in_thread(lambda: _by_words(session, question))
        return _ordered(found), whole
    near, whole = await session.in_thread(lambda: _by_meaning(session, question, vectors, vector))
    if vectors.count("memory") < session.store.state.index.count("memory"):
        others, all_others = await session.in_thread(lambda: _without_vector(session, question, vectors))
        return _ordered([*near, *others]), whole and all_others
    return _ordered(near), whole


def _ordered(found: Ranked) -> Ranked:
    return sorted(found, key=lambda hit: (-hit[1], hit[0]))


async def _query_vector(session: Session, embedder: Embedder | None, text: str) -> tuple[VectorView, Vector | None]:
    """The vectors of the store, and that of `text` among them; None where there is none."""
    vectors = session.store.state.vectors
    present = embedder if vectors.made_with is None else vectors.made_with.embedder
    if present is None or not text.strip() or not vectors.count("memory"):
        return vectors, None
    row = (await session.in_embedding_thread(lambda: embed_texts(present, [text])))[0]
    return vectors, as_vector(row, "query") if row.any() else None


# By meaning


def _by_meaning(session: Session, question: _Question, vectors: VectorView, vector: Vector) -> tuple[Ranked, bool]:
    store, most = session.store, max(_FIRST, _MORE * question.count)
    while most <= _MOST_UNFILTERED:
        hits = _relevances(nearest_live(store.state, vector, most, "memory", None, vectors))
        found = [hit for hit in hits if question.belongs(hit[0])]
        # An approximate search may come back with fewer than there are.
        whole = len(hits) < most and vectors.count("memory") <= most
        if whole or _is_settled(found, hits, question.count):
            return found, whole
        if not found:
            break
        most *= _MORE
    return _by_meaning_alone(session, question, vectors, vector)


def _by_meaning_alone(
    session: Session, question: _Question, vectors: VectorView, vector: Vector
) -> tuple[Ranked, bool]:
    """The same among the memories that belong alone."""
    state, most = session.store.state, 2 * question.count
    allowed = [memory_id for memory_id in state.index.ids("memory") if question.belongs(memory_id)]
    while True:
        found = _relevances(nearest_live(state, vector, most, "memory", allowed, vectors))
        if len(found) < most or _is_settled(found, found, question.count):
            return found, len(found) < most
        most *= _MORE


def _relevances(hits: Ranked) -> Ranked:
    return [(memory_id, round(min(1.0, max(0.0, score)), _DIGITS)) for memory_id, score in hits]


def _is_settled(found: Ranked, hits: Ranked, count: int) -> bool:
    """Whether whatever was not asked for is less relevant than the `count` best."""
    return len(found) >= count and found[count - 1][1] > hits[-1][1]


# By words


def _without_vector(session: Session, question: _Question, vectors: VectorView) -> tuple[Ranked, bool]:
    found, whole = _by_words(session, question, lambda i: vectors.slot_hash(("memory", i)) is None)
    return found, whole


def _by_words(session: Session, question: _Question, chosen: Belongs = lambda _: True) -> tuple[Ranked, bool]:
    state = session.store.state
    total, now = state.index.count("memory"), state.clock.micros()
    live_at = now if state.index.expiry.count(now) else None

    def belongs(memory_id: str) -> bool:
        return question.belongs(memory_id) and chosen(memory_id)

    def asked(index: TextIndex) -> tuple[Ranked, bool]:
        return _asked(index, question, belongs, total, live_at)

    return session.store.ask_text(Deadline(None, state.clock.monotonic), asked)


def _asked(
    index: TextIndex, question: _Question, belongs: Belongs, total: int, live_at: int | None
) -> tuple[Ranked, bool]:
    # A task that quotes somebody is asked for by its words all the same.
    terms = terms_of(question.text.replace('"', " "))
    counts = {term: index.count("memory", term, total) for term in terms}
    weights = {term: _weight(total, count) for term, count in counts.items() if count}
    bound = sum(weights.values())

    def matching(terms: Sequence[str]) -> tuple[Ranked, bool]:
        return _matching(index, _Expression(" OR ".join(terms), bound, total, live_at), belongs, question.count)

    telling = [term for term, weight in weights.items() if weight > _LEAST_WEIGHT]
    found, whole = matching(telling)
    if len(telling) == len(weights) or len(found) >= question.count:
        return found, whole and len(telling) == len(weights)
    # What most memories have is looked for only where little else is found.
    return matching(list(weights))


def _weight(total: int, count: int) -> float:
    """The weight of a word that `count` of `total` memories have, as FTS5 computes it."""
    return max(_LEAST_WEIGHT, math.log((total - count + 0.5) / (count + 0.5))) if count <= total else _LEAST_WEIGHT


def _matching(index: TextIndex, asked: _Expression, belongs: Belongs, count: int) -> tuple[Ranked, bool]:
    """Those that match; and whether these are all."""
    if not asked.text:
        return [], True
    most = max(_FIRST, _MORE * count)
    while True:
        matches = index.words("memory", asked.text, most, ranked=asked.total, live_at=asked.live_at)
        hits = [(memory_id, min(1.0, score / asked.bound)) for _, memory_id, score in matches]
        found = [hit for hit in hits if belongs(hit[0])]
        if len(hits) < most or _is_settled(found, hits, count):
            return found, len(hits) < most
        most *= _MORE
