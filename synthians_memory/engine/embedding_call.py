"""Calling somebody's embedder, and not trusting what comes back.

It is not an embedder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synthians_memory.embedder import Embedder
from synthians_memory.engine.exact import Matrix
from synthians_memory.errors import EmbedderMismatchError, InvalidTypeError, InvalidValueError
from synthians_memory.models import Vector, as_vector

__all__ = ["embed_query", "embed_texts", "require_embedder"]


def require_embedder(embedder: object, dimension: int | None) -> None:
    """Refuse what is no embedder, or makes vectors of another length than `dimension` where that is set.

    Raises:
        InvalidTypeError: it lacks a part, or its name or dimension is none.
        EmbedderMismatchError: another length.
    """
    if not isinstance(embedder, Embedder):
        raise InvalidTypeError("the embedder lacks name, dimension or embed")
    _require_facts(embedder.name, embedder.dimension)
    if dimension not in (None, embedder.dimension):
        raise EmbedderMismatchError(
            f"embedding_dimension is {dimension}, the embedder {embedder.name!r} makes {embedder.dimension}",
            hint="Leave embedding_dimension out, or use another embedder.",
        )


def _require_facts(name: object, dimension: object) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidTypeError(f"the embedder's name is {name!r}; it must be a string that is not empty")
    if isinstance(dimension, bool) or not isinstance(dimension, int) or dimension < 1:
        raise InvalidTypeError(f"the embedder {name!r} has the dimension {dimension!r}; it must be an integer above 0")


def embed_texts(embedder: Embedder, texts: Sequence[str]) -> Matrix:
    """One row for each text.

    Raises:
        InvalidValueError: the embedder returned another shape, or numbers that are not finite.
    """
    rows = np.asarray(embedder.embed(texts), dtype=np.float32)
    wanted = (len(texts), embedder.dimension)
    if rows.shape != wanted or not np.isfinite(rows).all():
        what = f"shape {rows.shape} instead of {wanted}" if rows.shape != wanted else "numbers that are not finite"
        raise InvalidValueError(f"the embedder {embedder.name!r} returned {what}", hint="Correct the embedder.")
    return rows


def embed_query(embedder: Embedder, text: str) -> Vector:
    """The vector to search by.

    Raises:
        InvalidValueError: as `embed_texts`; or there is nothing in `text` that the embedder knows.
    """
    row = embed_texts(embedder, [text])[0]
    if not row.any():
        raise InvalidValueError(
            f"the embedder {embedder.name!r} finds nothing in the query {text[:40]!r}", hint="Search for some words."
        )
    return as_vector(row, "query")
