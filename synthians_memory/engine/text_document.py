"""What the text index keeps of an entity: its words, its values for filters, and its places beside others.

It is no entity and no row of the memory index: nothing in it is handed out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from synthians_memory.engine.filter_sql import METADATA_PATH, TAGS_PATH
from synthians_memory.engine.filter_values import list_rows, metadata_rows, value_key
from synthians_memory.engine.records import Key
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry
from synthians_memory.times import to_micros

__all__ = ["Document", "document_of"]


@dataclass(frozen=True, slots=True)
class Document:
    """One entity, as it is indexed.

    Attributes:
        key: kind and id.
        hash: content hash of the version.
        created, updated, expires: microseconds since 1970.
        score: quickrecal_score; None for an assembly.
        text: all its words.
        conversation: which conversation it belongs to; None where to none.
        members: of an assembly: ids, in order.
        entity: what the values for filters are read from.
    """

    key: Key
    hash: bytes
    created: int
    updated: int | None
    expires: int | None
    score: float | None
    text: str
    conversation: bytes | None
    members: tuple[str, ...]
    entity: MemoryEntry | MemoryAssembly

    def values(self) -> Iterator[tuple[str, bytes]]:
        """Path and key of everything that a filter can ask for, besides what has an attribute here."""
        yield from list_rows(TAGS_PATH, list(self.entity.tags))
        yield from metadata_rows(self.entity.metadata, METADATA_PATH)


def document_of(entity: Entity, content_hash: bytes, updated: int | None, conversation_key: str) -> Document:
    """The document of a stored version.

    Args:
        entity: the version; not changed, and not to be changed afterwards.
        content_hash: its hash.
        updated: its update time; None: the entity says.
        conversation_key: the key of its metadata that says which conversation it belongs to.
    """
    if not isinstance(entity, MemoryEntry | MemoryAssembly):
        raise TypeError(f"{entity!r} is no entity")
    memory = entity if isinstance(entity, MemoryEntry) else None
    return Document(
        key=(entity.kind, entity.entity_id),
        hash=content_hash,
        created=to_micros(entity.created_at),
        updated=_micros(entity.updated_at) if updated is None else updated,
        expires=_micros(memory.expires_at) if memory else None,
        score=memory.quickrecal_score if memory else None,
        text=_text(entity),
        conversation=_conversation(memory.metadata.get(conversation_key)) if memory else None,
        members=entity.members if isinstance(entity, MemoryAssembly) else (),
        entity=entity,
    )


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)


def _conversation(value: object) -> bytes | None:
    return value_key(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _text(entity: MemoryEntry | MemoryAssembly) -> str:
    if isinstance(entity, MemoryEntry):
        return "\n".join((entity.content, *entity.tags))
    return "\n".join((entity.name, entity.description, *entity.keywords, *entity.tags, *entity.topics))
