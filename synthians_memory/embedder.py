"""What the store needs of an embedder: texts in, vectors out.

It is not an embedder; those that come with the library are in `embedding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = ["Embedder"]


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors; a store calls it from a worker thread, one call at a time."""

    @property
    def name(self) -> str:
        """Names model and version, as the store records it ("wordllama:l2_supercat_256")."""

    @property
    def dimension(self) -> int:
        """Length of every vector."""

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One row of float32 for each text: shape (len(texts), dimension). Equal texts give equal rows.

        A row of zeros says that there is nothing in the text to go by; its memory is stored without a vector.
        """
