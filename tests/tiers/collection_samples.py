"""Stores with rows' memories for the tests of collections: an embedder that counts words, and some rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from synthians_memory.embedding import CallableEmbedder

VOCABULARY = ("disk", "full", "network", "slow", "deploy", "cache")


def counted_words(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """How often each word of the vocabulary stands in each text; the first as opposed to the second."""
    rows = np.zeros((len(texts), len(VOCABULARY)), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.lower().replace(":", " ").split():
            if word in VOCABULARY:
                row[VOCABULARY.index(word)] += 1
        row[1] -= 2 * row[0]
    return rows


def word_embedder() -> CallableEmbedder:
    return CallableEmbedder("words", len(VOCABULARY), counted_words)


def cosine(one: str, other: str) -> float | None:
    """As the store computes it; None where one of the texts has no vector."""
    a, b = counted_words([one, other]).astype(np.float64)
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / length) if length else None
