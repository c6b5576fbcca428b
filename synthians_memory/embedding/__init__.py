"""Embedders that come with the library: texts in, vectors out, on this machine.

They are not needed to use a store: whoever has vectors of their own passes those.
"""

from __future__ import annotations

from synthians_memory.embedding.callables import CallableEmbedder
from synthians_memory.embedding.opening import open_embedder
from synthians_memory.embedding.sentence_transformers import SentenceTransformersEmbedder
from synthians_memory.embedding.wordllama import WordLlamaEmbedder

__all__ = [
    "CallableEmbedder",
    "SentenceTransformersEmbedder",
    "WordLlamaEmbedder",
    "open_embedder",
]
