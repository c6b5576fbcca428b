"""Loading many entities for the event loop: by chunks, in threads, in the order asked for.

It keeps nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from synthians_memory.engine.expiry import live_ids
from synthians_memory.engine.records import Key
from synthians_memory.engine.session import Session
from synthians_memory.engine.state import UNSERVABLE
from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.layout import Kind
from synthians_memory.models import Entity

__all__ = ["iterate", "load_many"]

_CHUNK: Final = 256

OnDamaged = Callable[[SynthiansMemoryError], None] | None
Load = Callable[[Key], Entity | None]


async def load_many(
    session: Session, keys: Sequence[Key], on_damaged: OnDamaged = None, *, expired: bool = False
) -> list[tuple[Key, Entity | None]]:
    """Each of `keys` with its entity; those that cannot be served are left out and given to `on_damaged`, or raised.

    `expired`: whether those that have expired are given as well, and not None in their place.
    """
    load = session.store.stored if expired else session.store.load
    found: list[tuple[Key, Entity | None]] = []
    for start in range(0, len(keys), _CHUNK):
        part = keys[start : start + _CHUNK]
        loaded = await session.in_thread(lambda part=part: _load_part(load, part))  # type: ignore[misc]
        for key, entity in loaded:
            if isinstance(entity, SynthiansMemoryError):
                if on_damaged is None:
                    raise entity
                on_damaged(entity)
            else:
                found.append((key, entity))
    return found


async def iterate(
    opened: Callable[[], Session], kind: Kind, on_damaged: OnDamaged, *, expired: bool = False
) -> AsyncIterator[Entity]:
    """All entities of `kind` in order of ids; `opened` gives the session, or raises, before each chunk.

    `expired`: as in `load_many`.
    """
    session = opened()
    state = session.store.state
    ids = await session.in_thread(lambda: state.index.ids(kind) if expired else live_ids(state, kind))
    for start in range(0, len(ids), _CHUNK):
        keys: list[Key] = [(kind, entity_id) for entity_id in ids[start : start + _CHUNK]]
        for _, entity in await load_many(opened(), keys, on_damaged, expired=expired):
            if entity is not None:
                yield entity


def _load_part(load: Load, keys: Sequence[Key]) -> list[tuple[Key, Entity | SynthiansMemoryError | None]]:
    found: list[tuple[Key, Entity | SynthiansMemoryError | None]] = []
    for key in keys:
        try:
            found.append((key, load(key)))
        except UNSERVABLE as error:
            found.append((key, error))
    return found
