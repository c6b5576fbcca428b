"""WordLlamaEmbedder: small word vectors that lie in the wheel of WordLlama, so that embedding needs no network.

It is no language model: a text's vector is the mean of its tokens' vectors, and word order does not matter.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from synthians_memory.embedding.arguments import checked_texts
from synthians_memory.errors import MissingExtraError
from synthians_memory.extras import import_extra

__all__ = ["NAME", "WordLlamaEmbedder"]

Rows = npt.NDArray[np.float32]

NAME: Final = "wordllama:l2_supercat_256"
_CONFIG: Final = "l2_supercat"
_DIMENSION: Final = 256
_INSTALL: Final = 'Install it: pip install "synthians-memory[embed]" (Python 3.11 to 3.13).'
# Bounds of what is in memory at once, whatever the texts: tokenised together, and pooled together.
_TEXTS_AT_ONCE: Final = 64
_TOKENS_AT_ONCE: Final = 4096
_importing = threading.Lock()


class WordLlamaEmbedder:
    """The default embedder: 256 dimensions, without network; thread-safe.

    Rows have length one; a text without a token (the empty one) gives a row of zeros. A row depends on
    its text alone, not on its neighbours in the call.
    """

    def __init__(self) -> None:
        """Imports WordLlama; its weights are read from its own folder at the first `embed`.

        Raises:
            MissingExtraError: it is not installed.
        """
        with _importing, _root_logger_as_it_is():
            self._library = import_extra("wordllama", _INSTALL)
        self._loading = threading.Lock()
        self._model: Any = None

    @property
    def name(self) -> str:
        return NAME

    @property
    def dimension(self) -> int:
        return _DIMENSION

    def embed(self, texts: Sequence[str]) -> Rows:
        """As `Embedder.embed`.

        Raises:
            InvalidTypeError, InvalidValueError: not a list of texts, or a lone surrogate in one.
            MissingExtraError: the installed WordLlama comes without its weights.
        """
        wanted = checked_texts(texts)
        model = self._loaded()
        rows = np.zeros((len(wanted), _DIMENSION), dtype=np.float32)
        for start in range(0, len(wanted), _TEXTS_AT_ONCE):
            part = wanted[start : start + _TEXTS_AT_ONCE]
            for i, encoding in enumerate(model.tokenizer.encode_batch(part, add_special_tokens=False), start):
                rows[i] = _mean_direction(model.embedding, np.array(encoding.ids, dtype=np.int32))
        return rows

    def _loaded(self) -> Any:
        with self._loading:
            if self._model is None:
                self._model = _load(self._library)
        return self._model


def _load(library: ModuleType) -> Any:
    # The loader looks for the tokenizer in "tokenizer", and the wheel has it in "tokenizers"; the cache is looked up
    # in the latter, so the library's own folder is passed as the cache.
    folder = Path(library.__path__[0])
    try:
        model = library.WordLlama.load(_CONFIG, cache_dir=folder, dim=_DIMENSION, disable_download=True)
    except FileNotFoundError as error:
        raise MissingExtraError(
            f"the installed wordllama comes without its weights or tokenizer: {error}", path=str(folder), hint=_INSTALL
        ) from error
    # Padding would make memory grow with the longest text of a batch, times the number of texts.
    model.tokenizer.no_padding()
    return model


def _mean_direction(table: Rows, tokens: npt.NDArray[np.int32]) -> Rows:
    """The mean of the tokens' vectors, scaled to length one; zero where there are none."""
    total = np.zeros(_DIMENSION, dtype=np.float32)
    for start in range(0, len(tokens), _TOKENS_AT_ONCE):
        total += table[tokens[start : start + _TOKENS_AT_ONCE]].sum(axis=0)
    length = np.linalg.norm(total)
    return total / length if length else total


@contextmanager
def _root_logger_as_it_is() -> Iterator[None]:
    """WordLlama configures the root logger when it is imported, which is the program's own business."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        for handler in [one for one in root.handlers if one not in handlers]:
            root.removeHandler(handler)
        root.setLevel(level)
