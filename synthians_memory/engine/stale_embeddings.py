"""Embeddings that were made from an earlier text: how they are told, and the mark that says so in a memory's metadata.

It embeds nothing. The mark names the embedding that it speaks of, so that it means nothing any more once another one
is stored, whoever stores it.
"""

from __future__ import annotations

from typing import Final, Literal

from synthians_memory.hashing import embedding_hash
from synthians_memory.models import MemoryEntry

__all__ = ["STALE_KEY", "Need", "is_stale", "marked", "need_of", "unmarked"]

# The key in the metadata of a memory whose embedding is stale; its value is that embedding's hash.
STALE_KEY: Final = "embedding_stale"

# What an edited memory needs: nothing; another embedding; or another one unless it has that already.
Need = Literal["nothing", "embedding", "comparison"]


def is_stale(entry: MemoryEntry) -> bool:
    """Whether the memory carries the mark, and still the embedding that it speaks of."""
    claimed = entry.metadata.get(STALE_KEY)
    present = embedding_hash(entry.embedding)
    return present is not None and claimed == present.hex()


def marked(entry: MemoryEntry) -> MemoryEntry:
    """The memory with the mark; as it is where it has no embedding."""
    present = embedding_hash(entry.embedding)
    return entry if present is None else entry.replace(metadata={**entry.metadata, STALE_KEY: present.hex()})


def unmarked(entry: MemoryEntry) -> MemoryEntry:
    """The memory without the mark."""
    kept = {name: value for name, value in entry.metadata.items() if name != STALE_KEY}
    return entry if len(kept) == len(entry.metadata) else entry.replace(metadata=kept)


def need_of(entry: MemoryEntry, stored_embedding: bytes | None, stored: MemoryEntry | None) -> Need:
    """What a memory that a person edited needs, beside the version that was stored.

    Args:
        entry: the edited one.
        stored_embedding: embedding hash of the stored version; None where it has none, or nothing was stored.
        stored: the stored version; None where nothing was stored, or where it is nowhere to be had any more.
    """
    present = embedding_hash(entry.embedding)
    if not entry.content.strip():
        return "nothing"
    if present is None:
        # One that had none, and whose text is the same, is as its owner wanted it.
        same = stored is not None and stored.embedding is None and stored.content == entry.content
        return "nothing" if same else "embedding"
    if present != stored_embedding:
        # It came with the edit.
        return "nothing"
    if is_stale(entry):
        return "embedding"
    if stored is None:
        return "comparison"
    return "nothing" if stored.content == entry.content else "embedding"
