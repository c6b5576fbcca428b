"""How the ranking by words and the ranking by vectors become one.

It is no search and loads nothing: scores come in, scores go out.

By score: BM25 is divided by the best one, the similarity is stretched so that the best vector found counts 1 and the
last one of the pool 0; then the two are added, each with its weight. By rank: 1/(60 + rank), the best being 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

__all__ = ["Fusion", "fused", "shares_by_rank", "shares_of_best", "shares_of_range"]

Fusion = Literal["score", "rank"]

# The customary constant: how little the first places differ.
_DAMPING: Final = 60


def shares_of_best(scores: Mapping[str, float]) -> dict[str, float]:
    """Each score as a share of the best; scores are not negative."""
    best = max(scores.values(), default=0.0)
    return {i: score / best if best > 0 else 0.0 for i, score in scores.items()}


def shares_of_range(scores: Mapping[str, float], floor: float) -> dict[str, float]:
    """Where each score lies between `floor`, which counts 0 with all below it, and the best, which counts 1."""
    best = max(scores.values(), default=floor)
    reach = best - floor
    return {i: max(0.0, score - floor) / reach if reach > 0 else float(score >= best) for i, score in scores.items()}


def shares_by_rank(scores: Mapping[str, float]) -> dict[str, float]:
    """By place in the order of scores, ids breaking ties: 1 for the first, and slowly less."""
    ordered = sorted(scores, key=lambda i: (-scores[i], i))
    return {i: (_DAMPING + 1) / (_DAMPING + 1 + place) for place, i in enumerate(ordered)}


def fused(
    texts: Mapping[str, float], vectors: Mapping[str, float], floor: float, fusion: Fusion, vector_weight: float
) -> dict[str, float]:
    """One score, 0 to 1, for every id in either of the two.

    Args:
        texts: scores by words, positive.
        vectors: scores by vectors.
        floor: the vector score that counts nothing.
        fusion: "score" or "rank".
        vector_weight: 0 to 1, the share of the vectors; the words have the rest.
    """
    if fusion == "rank":
        by_text, by_vector = shares_by_rank(texts), shares_by_rank(vectors)
    else:
        by_text, by_vector = shares_of_best(texts), shares_of_range(vectors, floor)
    return {
        i: (1 - vector_weight) * by_text.get(i, 0.0) + vector_weight * by_vector.get(i, 0.0)
        for i in texts.keys() | vectors.keys()
    }
