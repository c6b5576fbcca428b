"""Facts as memories: each fact that is promoted is found by `recall` of the store as well, tagged `fact`.

It is not where facts are kept: the ledger's table is, and these memories can be made again from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from synthians_memory.embedder import Embedder
from synthians_memory.engine.embedding_call import embed_texts
from synthians_memory.engine.persistence import Persistence
from synthians_memory.errors import ConflictError
from synthians_memory.json_values import JsonObject
from synthians_memory.ledger.facts import expiry_of, fact_memory_id
from synthians_memory.models import MemoryEntry, Vector, as_vector

__all__ = ["FACT_TAG", "forgotten_facts", "remember_facts"]

FACT_TAG: Final = "fact"
# What metadata repeat of a fact, under the same names.
_REPEATED: Final = ("source_run", "confidence", "layer", "evidence", "reviewed_by")


async def remember_facts(
    store: Persistence, facts: Sequence[JsonObject], embedder: Embedder | None = None
) -> list[MemoryEntry]:
    """Save the memory of each fact, under the id `fact-` and the fact's own; idempotent.

    Args:
        store: open for writing.
        facts: as `Ledger.facts` gives them.
        embedder: that of the store, for those that are new or say something new; None: they get no embedding.

    Returns:
        The memories that were saved; those that were there as they should be are left alone.

    Raises:
        ConflictError: a memory has such an id and is not that of the fact; those before it are saved.
    """
    saved = []
    for fact in facts:
        present = await store.load_memory(fact_memory_id(fact["id"]))
        _require_own(present, fact)
        wanted = _memory_of(fact, present)
        if not _says_the_same(present, wanted):
            if wanted.embedding is None and embedder is not None:
                vector = await asyncio.to_thread(_embedded, embedder, wanted.content)
                wanted = wanted if vector is None else wanted.replace(embedding=vector)
            saved.append(await store.save_memory(wanted))
    return saved


async def forgotten_facts(store: Persistence, facts: Sequence[JsonObject]) -> list[JsonObject]:
    """Those of `facts` whose memory is missing in `store`, or says something else."""
    return [fact for fact in facts if not await _is_remembered(store, fact)]


async def _is_remembered(store: Persistence, fact: JsonObject) -> bool:
    present = await store.load_memory(fact_memory_id(fact["id"]))
    return _says_the_same(present, _memory_of(fact, present))


def _memory_of(fact: JsonObject, present: MemoryEntry | None) -> MemoryEntry:
    told = {name: fact[name] for name in _REPEATED if fact.get(name) is not None}
    fields: dict[str, Any] = {
        "content": fact["statement"],
        "metadata": {"fact_id": fact["id"], **told},
        "tags": (FACT_TAG,),
        "quickrecal_score": float(fact["confidence"]),
        "expires_at": expiry_of(fact),
    }
    if present is None:
        return MemoryEntry(memory_id=fact_memory_id(fact["id"]), **fields)
    if present.content != fact["statement"]:
        fields["embedding"] = None
    # Further tags and metadata, and the times, are the store's.
    others = tuple(tag for tag in present.tags if tag != FACT_TAG)
    kept = {name: value for name, value in present.metadata.items() if name not in ("fact_id", *_REPEATED)}
    return present.replace(**{**fields, "tags": (FACT_TAG, *others), "metadata": {**kept, **fields["metadata"]}})


def _require_own(present: MemoryEntry | None, fact: JsonObject) -> None:
    if present is not None and present.metadata.get("fact_id") != fact["id"]:
        raise ConflictError(
            f"the memory {present.memory_id!r} is not that of the fact {fact['id']!r}, and was left alone",
            entity_id=present.memory_id,
            stored=present.updated_at,
        )


def _says_the_same(present: MemoryEntry | None, wanted: MemoryEntry) -> bool:
    if present is None:
        return False
    names = ("content", "metadata", "tags", "quickrecal_score", "expires_at")
    return all(getattr(present, name) == getattr(wanted, name) for name in names)


def _embedded(embedder: Embedder, text: str) -> Vector | None:
    row = embed_texts(embedder, [text])[0]
    return as_vector(row) if row.any() else None
