"""Expiry: a memory is there until its `expires_at`; from then on no read gives it, and a sweep removes it.

It is not a timer: nothing happens when a time comes, every read compares with the store's clock. A memory has expired where
`expires_at <= now`; to every read and every expectation it is as if it had been deleted, while its file, its row and
its vector are there until it is swept, deleted, replaced or purged. Checks, counts and repairs speak of what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from synthians_memory.codec import decode_sealed, version_of
from synthians_memory.engine.documents import read_file
from synthians_memory.engine.rows import UNKNOWN, expiry_of
from synthians_memory.engine.state import StoreState
from synthians_memory.engine.vectors import VectorView
from synthians_memory.errors import DiskError
from synthians_memory.layout import Kind, entity_path
from synthians_memory.models import Entity, Vector
from synthians_memory.times import Clock, to_micros

__all__ = ["expired_now", "judge_expiry", "live_ids", "nearest_live", "nearest_live_many", "unexpired"]

# So few are passed over among the hits; more are left out of what is searched.
_FEW: Final = 256


def unexpired(entity: Entity | None, clock: Clock) -> Entity | None:
    """`entity`; None where it has expired."""
    expires_at = None if entity is None else entity.__dict__.get("expires_at")
    return entity if expires_at is None or clock.micros() < to_micros(expires_at) else None


def expired_now(state: StoreState) -> frozenset[str]:
    """The ids of the memories that have expired."""
    return state.index.expiry.expired(state.clock.micros())


def live_ids(state: StoreState, kind: Kind) -> list[str]:
    """The ids of `kind` that have not expired, in order of code points."""
    ids = state.index.ids(kind)
    expired = expired_now(state) if kind == "memory" else frozenset()
    return [entity_id for entity_id in ids if entity_id not in expired] if expired else ids


def nearest_live(
    state: StoreState,
    query: Vector,
    k: int,
    kind: Kind,
    allowed: Sequence[str] | None,
    vectors: VectorView | None = None,
) -> list[tuple[str, float]]:
    """As `VectorView.search`, of what has not expired: `k` come back wherever so many are there.

    `vectors` are those that the query was made for; default the present ones.
    """
    vectors = vectors or state.vectors
    expired = expired_now(state) if kind == "memory" else frozenset()
    if not expired:
        return vectors.search(query, k, kind, allowed)
    if allowed is None and len(expired) <= _FEW:
        hits = vectors.search(query, k + len(expired), kind)
        found = [hit for hit in hits if hit[0] not in expired][:k]
        if len(found) == k or len(hits) == vectors.count(kind):
            return found
        # An approximate search may come back with less than it was asked for.
    ids = vectors.hashes(kind) if allowed is None else allowed
    return vectors.search(query, k, kind, [entity_id for entity_id in ids if entity_id not in expired])


def nearest_live_many(
    state: StoreState,
    queries: Sequence[Vector],
    k: int,
    kind: Kind,
    allowed: Sequence[str] | None,
    vectors: VectorView,
) -> list[list[tuple[str, float]]]:
    """As `nearest_live`, for each of the queries."""
    expired = expired_now(state) if kind == "memory" else frozenset()
    if expired:
        ids = vectors.hashes(kind) if allowed is None else allowed
        allowed = [entity_id for entity_id in ids if entity_id not in expired]
    return vectors.search_many(queries, k, kind, allowed)


# Learning of it


def judge_expiry(state: StoreState) -> None:
    """Learn when each memory expires; reads the files of those of which the memory index does not tell.

    A file that is damaged, changed or cannot be read tells nothing: to load it raises, and check names it.
    """
    state.index.judge_expiry(lambda entity_id: _expiry_in_file(state, entity_id))


def _expiry_in_file(state: StoreState, entity_id: str) -> int:
    decided, version = state.overlay.get(("memory", entity_id))
    if decided:
        return expiry_of(version.entity) if version else UNKNOWN
    try:
        data = read_file(state.backend, entity_path("memory", entity_id))
    except DiskError:
        return UNKNOWN
    if data is None or version_of(data) != state.index.hash(("memory", entity_id)):
        return UNKNOWN
    return expiry_of(decode_sealed("memory", data))
