"""Calling somebody's embedder, and not trusting what comes back.

It is not an embedder.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synthians_memory.embedder import Embedder
from synthians_memory.engine.exact import Matrix
from synthians_memory.errors import InvalidValueError

__all__ = ["embed_texts"]


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
