"""The small world of the state machines: a few entities, what may be asked of them, and what a store says of them.

It is not a machine: nothing here happens by itself.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from hypothesis import strategies as st

from synthians_memory.codec import Version
from synthians_memory.engine.commit import ABSENT, Absent, Expected, Operation
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.errors import ChangedOutsideError, DamagedError, NotRegularFileError
from synthians_memory.layout import Kind
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry
from synthians_memory.reports import SearchHit
from synthians_memory.testing.power_cut import POWER_CUTS, Policy
from synthians_memory.testing.store_history import State, delete, require, save
from synthians_memory.times import from_micros, to_micros

__all__ = [
    "DIMENSION",
    "KEYS",
    "MOST_CALLS",
    "Outcome",
    "Sight",
    "Wish",
    "batches",
    "cuts",
    "entity_of",
    "error_numbers",
    "groups",
    "has_expired",
    "keys",
    "look",
    "operation_of",
    "policies",
    "predict",
    "require_hits",
    "scores",
    "seeds",
    "vectors",
    "wishes",
]

Outcome = bytes | bool

KEYS: Final[tuple[Key, ...]] = (
    ("memory", "a"),
    ("memory", "A"),
    ("memory", "b c"),
    ("memory", "ü"),
    ("assembly", "a"),
    ("assembly", "g"),
)
DIMENSION: Final = 3
_MOMENT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_NEARNESS: Final = 1e-4
MOST_CALLS: Final = 120

keys = st.sampled_from(KEYS)
vectors = st.sampled_from([(1, 0, 0), (0, 1, 0), (1, 1, 0), (-1, 0, 2), (3, 1, 2), (0, 0, -1), (2, 2, 1)])
texts = st.one_of(st.sampled_from(["", "x", "two\nlines"]), st.text(max_size=8))
groups = st.one_of(st.none(), st.integers(0, 1))
seeds = st.integers(0, 1 << 16)
policies: st.SearchStrategy[Policy] = st.sampled_from(("killed", *POWER_CUTS))
# Calls of a disk at which the power is cut, with a seed for each.
cuts = st.lists(st.tuples(st.integers(1, MOST_CALLS), seeds), max_size=2)
error_numbers = st.sampled_from([errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EROFS])


@dataclass(frozen=True)
class Wish:
    """One change that is asked for.

    Attributes:
        key: of what.
        text: the new text; None to delete.
        repeat: how often it stands there, so that some are long.
        vector: of the new version.
        group: in its metadata.
        expected: what is said to be stored: whatever is, what really is, another version, or nothing.
        lifetime: seconds until a memory expires; None: never.
    """

    key: Key
    text: str | None
    repeat: int
    vector: tuple[int, ...] | None
    group: int | None
    expected: Literal["any", "any", "right", "stale", "absent"]
    lifetime: int | None = None


wishes = st.builds(
    Wish,
    keys,
    st.one_of(st.none(), texts, texts),
    st.sampled_from([1, 1, 1, 1_000, 8_000]),
    st.one_of(st.none(), vectors),
    groups,
    st.sampled_from(["any", "any", "any", "right", "stale", "absent"]),
    st.sampled_from([None, None, None, 0, 1, 3600]),
)
batches = st.lists(wishes, min_size=1, max_size=4)


def entity_of(wish: Wish, now: int | None = None) -> Entity:
    """The entity that `wish` wants stored at `now` microseconds; None: one that never expires."""
    kind, entity_id = wish.key
    text = (wish.text or "") * wish.repeat
    fields: dict[str, Any] = {"created_at": _MOMENT, "metadata": {} if wish.group is None else {"group": wish.group}}
    if kind == "memory":
        fields |= {"embedding": wish.vector}
        if wish.lifetime is not None and now is not None:
            fields |= {"expires_at": from_micros(now + wish.lifetime * 1_000_000)}
        return MemoryEntry(memory_id=entity_id, content=text, **fields)
    fields |= {"members": ("a", "never there"), "composite_embedding": wish.vector}
    return MemoryAssembly(assembly_id=entity_id, name=text, **fields)


class Sight(NamedTuple):
    """What a store says of one entity.

    Attributes:
        indexed: the content hash in its memory index.
        entity: what it loads.
        refused: whether it refuses to load it.
    """

    indexed: bytes | None
    entity: Entity | None
    refused: bool

    def __str__(self) -> str:
        loaded = self.entity.__dict__["content_hash"] if self.entity is not None else None
        indexed = self.indexed.hex()[:8] if self.indexed is not None else None
        return f"indexed {indexed}, loaded {loaded and loaded[7:15]}{', refused' if self.refused else ''}"


def look(store: Store, key: Key) -> Sight:
    """Ask `store` for an entity, expired or not."""
    indexed = store.state.index.hash(key)
    try:
        return Sight(indexed, store.stored(key), refused=False)
    except (DamagedError, ChangedOutsideError, NotRegularFileError):
        return Sight(indexed, None, refused=True)


def operation_of(wish: Wish, state: State, now: int) -> Operation:
    """What asks a store that holds `state` for `wish` at `now` microseconds."""
    stored = state.get(wish.key)
    expected: Expected = None
    if wish.expected == "absent" or (wish.expected == "right" and stored is None):
        expected = ABSENT
    elif wish.expected == "right" and stored is not None:
        expected = from_micros(stored.updated_micros)
    elif wish.expected == "stale":
        expected = _MOMENT
    return delete(wish.key, expected) if wish.text is None else save(entity_of(wish, now), expected)


def predict(group: Sequence[Sequence[Operation]], state: State, now: int) -> list[list[Outcome] | None]:
    """The outcomes of each batch at `now` microseconds, versions by their hash; None for a conflict."""
    present = dict(state)
    return [_predict_batch(batch, present, now) for batch in group]


def _predict_batch(batch: Sequence[Operation], state: dict[Key, Version], now: int) -> list[Outcome] | None:
    after, outcomes = dict(state), list[Outcome]()
    for operation in batch:
        stored = after.get(operation.key)
        there = None if stored is not None and has_expired(stored, now) else stored
        if not _is_expected(operation.expected, there):
            return None
        if operation.draft is None:
            after.pop(operation.key, None)
            outcomes.append(there is not None)
            continue
        version = operation.draft.stamp(now if stored is None else max(now, stored.updated_micros + 1))
        after[operation.key] = version
        outcomes.append(version.hash)
    state.clear()
    state.update(after)
    return outcomes


def has_expired(version: Version, now: int) -> bool:
    """Whether no read may give `version` at `now` microseconds."""
    expires_at = version.entity.__dict__.get("expires_at")
    return expires_at is not None and to_micros(expires_at) <= now


def _is_expected(expected: Expected, stored: Version | None) -> bool:
    if expected is None:
        return True
    if isinstance(expected, Absent) or stored is None:
        return isinstance(expected, Absent) and stored is None
    return from_micros(stored.updated_micros) == expected


def scores(
    state: State, vector: tuple[int, ...], kind: Kind, where: Mapping[str, Any] | None, metric: str
) -> dict[Key, float]:
    """The score of every entity of `kind` in `state` whose metadata hold `where`, by its definition, in doubles."""
    found: dict[Key, float] = {}
    for key, version in state.items():
        embedding, metadata = version.entity.vector, version.entity.__dict__["metadata"]
        matches = where is None or all(metadata.get(name) == value for name, value in where.items())
        if key[0] == kind and embedding is not None and matches:
            found[key] = _score(np.array(vector, dtype=np.float64), embedding, metric)
    return found


def _score(query: Any, embedding: Any, metric: str) -> float:
    vector = np.asarray(embedding, dtype=np.float64)
    if metric == "l2":
        return float(1 / (1 + np.sum((query - vector) ** 2)))
    product = float(query @ vector)
    return product if metric == "ip" else product / float(np.linalg.norm(query) * np.linalg.norm(vector))


def require_hits(hits: Sequence[SearchHit], wanted: Mapping[str, float], k: int) -> None:
    """`hits` are the `k` best of `wanted` (id -> score), best first; AssertionError where they are not."""
    scores = [hit.score for hit in hits]
    require(scores == sorted(scores, reverse=True), f"hits are not in order: {hits}")
    require(len(hits) == min(k, len(wanted)), f"{len(hits)} hits of {len(wanted)}")
    for hit in hits:
        score = wanted.get(hit.memory_id, float("nan"))
        require(abs(hit.score - score) < _NEARNESS, f"{hit} should have the score {score}")
    missed = wanted.keys() - {hit.memory_id for hit in hits}
    require(all(wanted[i] < scores[-1] + _NEARNESS for i in missed if scores), f"{missed} are nearer than {hits}")
