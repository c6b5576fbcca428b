"""Which embedder a command works with: the one that is named, or else the one that the store names.

It embeds nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from synthians_memory.embedder import Embedder
from synthians_memory.embedding import open_embedder
from synthians_memory.entrypoints.cli.options import embedder_name
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.errors import NotAStoreError, UsageError

__all__ = ["default_embedder", "embedder_for_saving", "known_embedder", "query_embedder"]


async def known_embedder(place: Place, written: str | None) -> Embedder | None:
    """The embedder that --embedder or else the store names; None where neither does.

    Raises:
        NotAStoreError, DiskError: there is no store to ask, or it cannot be looked at.
    """
    if written is not None:
        return await asyncio.to_thread(open_embedder, embedder_name(written))
    recorded = await place.recorded_embedder()
    return None if recorded is None else await asyncio.to_thread(open_embedder, recorded)


async def embedder_for_saving(place: Place, written: str | None) -> Embedder | None:
    """As `known_embedder`; None also where there is no store yet."""
    # Where its making was interrupted, opening it for writing makes one.
    with suppress(NotAStoreError):
        return await known_embedder(place, written)
    return None


async def default_embedder(place: Place, written: str | None) -> Embedder:
    """As `embedder_for_saving`, or else the default."""
    known = await embedder_for_saving(place, written)
    return await asyncio.to_thread(open_embedder) if known is None else known


async def query_embedder(place: Place, written: str | None) -> Embedder:
    """As `known_embedder`. Raises UsageError where there is none to turn a text into a vector."""
    embedder = await known_embedder(place, written)
    if embedder is None:
        raise UsageError(
            f"the store {place.path} names no embedder to turn the text into a vector",
            hint="Use `recall`, which goes by words; or say with --embedder NAME which embedder made its vectors.",
        )
    return embedder
