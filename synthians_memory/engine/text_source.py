"""An open store as the text index sees it: its ids and hashes, and each entity as a document.

It is no cache of its own, and hands no entity out.
"""

from __future__ import annotations

from collections.abc import Sequence

from synthians_memory.engine.records import Key
from synthians_memory.engine.state import UNSERVABLE, StoreState
from synthians_memory.engine.text_document import Document, document_of
from synthians_memory.errors import DamagedViewError, DiskError
from synthians_memory.layout import TEXT_FILE, Kind
from synthians_memory.models import Entity
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend

__all__ = ["StateSource"]


class StateSource:
    """The acknowledged state of one store, as `text_view.Source`."""

    def __init__(self, state: StoreState) -> None:
        self._state = state

    @property
    def backend(self) -> Backend:
        return self._state.backend

    @property
    def writable(self) -> bool:
        return self._state.journal is not None

    @property
    def identity(self) -> tuple[str, str, str]:
        superblock = self._state.superblock
        return superblock.store_id, superblock.epoch, self._state.config.conversation_key

    def ids(self, kind: Kind) -> Sequence[str]:
        return self._state.index.ids(kind)

    def hash(self, key: Key) -> bytes | None:
        return self._state.index.hash(key)

    def document(self, key: Key) -> Document | None:
        state = self._state
        decided, version = state.decided(key)
        if decided:
            return None if version is None else self._document(version.entity, version.hash, version.updated_micros)
        cached = state.cache.get(key)
        if cached is not None and cached.hash == state.index.hash(key):
            return self._document(cached.entity, cached.hash, cached.updated_micros)
        try:
            entity = state.load(key)
        except UNSERVABLE:
            return None
        return None if entity is None else self._document(entity, _hash_of(entity), None)

    def _document(self, entity: Entity, content_hash: bytes, updated: int | None) -> Document:
        return document_of(entity, content_hash, updated, self._state.config.conversation_key)

    def report(self, error: DamagedViewError | DiskError) -> None:
        self._state.last_error = str(error)
        self._state.notes.append(Finding("text_damaged", error.message, TEXT_FILE))


def _hash_of(entity: Entity) -> bytes:
    """The content hash of an entity as it was loaded."""
    text: str = entity.__dict__["content_hash"]
    return bytes.fromhex(text.partition(":")[2])
