"""open_embedder: an embedder by its name, as a store records it.

It knows no embedder that a program brings along: those are passed to the store as objects.
"""

from __future__ import annotations

from typing import Final

from synthians_memory.embedder import Embedder
from synthians_memory.embedding.arguments import checked_name
from synthians_memory.embedding.sentence_transformers import PREFIX, SentenceTransformersEmbedder
from synthians_memory.embedding.wordllama import NAME, WordLlamaEmbedder
from synthians_memory.errors import InvalidValueError

__all__ = ["open_embedder"]

_KNOWN: Final = f'Known are "{NAME}" and "{PREFIX}MODEL".'


def open_embedder(name: str | None = None) -> Embedder:
    """The embedder called `name`, ready to embed.

    Args:
        name: None or "wordllama" for the default; a full name, as `stats()["embedder"]` of a store tells it:
            "wordllama:l2_supercat_256" or "sentence-transformers:MODEL".

    Raises:
        InvalidValueError: no such embedder, or its model cannot be loaded.
        MissingExtraError: the library that it needs is not installed.
    """
    if name is None or checked_name(name, _KNOWN) in ("wordllama", NAME):
        return WordLlamaEmbedder()
    if name.startswith(PREFIX):
        return SentenceTransformersEmbedder(name.removeprefix(PREFIX))
    raise InvalidValueError(f"no embedder is called {name!r}", hint=_KNOWN)
