"""SentenceTransformersEmbedder: models of the sentence-transformers library, where that is installed.

It is not a dependency: the library is imported when an embedder is made, and may download its model then.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from synthians_memory.embedding.arguments import checked_name, checked_texts
from synthians_memory.errors import InvalidValueError
from synthians_memory.extras import import_extra

__all__ = ["PREFIX", "SentenceTransformersEmbedder"]

PREFIX: Final = "sentence-transformers:"


class SentenceTransformersEmbedder:
    """One model; thread-safe. Its rows have length one."""

    def __init__(self, model: str, **options: Any) -> None:
        """Loads the model, which takes seconds, and may download it: make it outside the event loop.

        Args:
            model: name or folder of the model ("all-MiniLM-L6-v2").
            options: passed on to SentenceTransformer(...), such as device or local_files_only.

        Raises:
            MissingExtraError: the library is not installed.
            InvalidValueError: the model cannot be loaded.
        """
        checked_name(model, 'Write the name of a model, such as "all-MiniLM-L6-v2".')
        library = import_extra("sentence_transformers", "Install it: pip install sentence-transformers.")
        self._turn = threading.Lock()
        self._name = PREFIX + model
        try:
            self._model = library.SentenceTransformer(model, **options)
            self._dimension = int(self._encode(["dimension"]).shape[1])
        except Exception as error:
            raise InvalidValueError(
                f"the sentence-transformers model {model!r} cannot be loaded: {error}",
                hint="Check its name, and that it is on this machine or the network is there.",
            ) from error

    @property
    def name(self) -> str:
        return self._name

    @property
    def dimension(self) -> int:
        return self._dimension

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        wanted = checked_texts(texts)
        return self._encode(wanted) if wanted else np.zeros((0, self._dimension), dtype=np.float32)

    def _encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        # Their tokenizers are no safe ground for two threads at once.
        with self._turn:
            rows = self._model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(rows, dtype=np.float32)
