"""Loading many entities for the event loop: by chunks, in threads, in the order asked for.

It keeps nothing and writes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from synthians_memory.engine.records import Key
from synthians_memory.engine.session import Session
from synthians_memory.engine.state import UNSERVABLE
from synthians_memory.engine.store import Store
from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.layout import Kind
from synthians_memory.models import Entity

__all__ = ["iterate", "load_many"]

_CHUNK: Final = 256

OnDamaged = Callable[[SynthiansMemoryError], None] | None


async def load_many(
    session: Session, keys: Sequence[Key], on_damaged: OnDamaged = None
) -> list[tuple[Key, Entity | None]]:
    """Each of `keys` with its entity; those that cannot be served are left out and given to `on_damaged`, or raised."""
    found: list[tuple[Key, Entity | None]] = []
    for start in range(0, len(keys), _CHUNK):
        part = keys[start : start + _CHUNK]
        loaded = await session.in_thread(lambda part=part: _load_part(session.store, part))  # type: ignore[misc]
        for key, entity in loaded:
            if isinstance(entity, SynthiansMemoryError):
                if on_damaged is None:
                    raise entity
                on_damaged(entity)
            else:
                found.append((key, entity))
    return found


async def iterate(opened: Callable[[], Session], kind: Kind, on_damaged: OnDamaged) -> AsyncIterator[Entity]:
    """All entities of `kind` in order of ids; `opened` gives the session, or raises, before each chunk."""
    session = opened()
    ids = await session.in_thread(lambda: session.store.state.index.ids(kind))
    for start in range(0, len(ids), _CHUNK):
        keys: list[Key] = [(kind, entity_id) for entity_id in ids[start : start + _CHUNK]]
        for _, entity in await load_many(opened(), keys, on_damaged):
            if entity is not None:
                yield entity


def _load_part(store: Store, keys: Sequence[Key]) -> list[tuple[Key, Entity | SynthiansMemoryError | None]]:
    found: list[tuple[Key, Entity | SynthiansMemoryError | None]] = []
    for key in keys:
        try:
            found.append((key, store.load(key)))
        except UNSERVABLE as error:
            found.append((key, error))
    return found
