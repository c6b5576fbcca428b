"""CallableEmbedder: any function from texts to vectors, as an embedder.

It does not check what the function returns; the store does, at each call.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from synthians_memory.embedding.arguments import checked_name, checked_texts
from synthians_memory.errors import InvalidTypeError, InvalidValueError

__all__ = ["CallableEmbedder"]


class CallableEmbedder:
    """A function as an embedder; it is called from worker threads, by one at a time."""

    def __init__(self, name: str, dimension: int, function: Callable[[list[str]], npt.ArrayLike]) -> None:
        """Does not call `function` yet.

        Args:
            name: names model and version; the store records it, and opens with no other.
            dimension: length of every vector, at least 1.
            function: takes a list of n >= 1 texts and returns n vectors: an array of shape
                (n, dimension), or nested lists. What it raises passes through.

        Raises:
            InvalidValueError, InvalidTypeError: one of the three cannot be used.
        """
        self._name = checked_name(name, 'Name model and version, as in "my-model:2".')
        self._dimension = _checked_dimension(dimension)
        self._function = _checked_function(function)
        self._turn = threading.Lock()

    @property
    def name(self) -> str:
        return self._name

    @property
    def dimension(self) -> int:
        return self._dimension

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        wanted = checked_texts(texts)
        if not wanted:
            return np.zeros((0, self._dimension), dtype=np.float32)
        with self._turn:
            return np.asarray(self._function(wanted), dtype=np.float32)


def _checked_dimension(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidValueError(f"dimension is {value!r}; it must be an integer of at least 1")
    return value


def _checked_function(value: object) -> Callable[[list[str]], npt.ArrayLike]:
    if not callable(value) or inspect.iscoroutinefunction(value):
        raise InvalidTypeError(
            "an embedder needs a plain function, which is called in a thread",
            hint="Await an asynchronous one yourself, and give the store the vectors.",
        )
    return value
