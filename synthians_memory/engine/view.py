"""What every derived view of the store has in common: it follows the journal, and proves how far.

It is not a view itself: `index` and `vectors` are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from synthians_memory.codec import Version
from synthians_memory.engine.records import Key
from synthians_memory.models import Entity
from synthians_memory.storage.backend import EntryStat

__all__ = ["NOWHERE", "Change", "Group", "Position", "View", "describe"]


class Position(NamedTuple):
    """How far a view reaches.

    Attributes:
        epoch: the life of the store that `sequence` counts in.
        sequence: every change up to it is included.
    """

    epoch: str
    sequence: int


# Of a view that has no files.
NOWHERE: Final = Position("", 0)


class Change(NamedTuple):
    """One acknowledged change, as views apply it.

    Attributes:
        key: kind and id.
        entity: the new value; None for a removal.
        updated_micros: its update time.
        hash: its content hash; empty for a removal.
        embedding_hash: see `hashing.embedding_hash`; None without a vector.
        stat: the file's stat, where it is known already.
    """

    key: Key
    entity: Entity | None
    updated_micros: int = 0
    hash: bytes = b""
    embedding_hash: bytes | None = None
    stat: EntryStat | None = None


class Group(Protocol):
    """The changes of one checkpoint interval, frozen; handled by one thread at a time."""

    @property
    def position(self) -> Position:
        """How far the view reaches once the group is persisted."""


class View(Protocol):
    """A derived view: a snapshot and an append-only log on disk, the present state in memory."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def position(self) -> Position:
        """How far the files reach: the last persisted group."""

    def apply(self, changes: Sequence[Change]) -> None:
        """Take acknowledged changes, in order, into memory; applying one twice changes nothing."""

    def freeze(self, position: Position) -> None:
        """Close the interval: what was applied since the last freeze becomes the group to persist."""

    def persist(self) -> None:
        """Append the frozen group to the log, even if empty, and sync it; idempotent.

        A log that may hold an unfinished group is replaced first. Raises DiskError; the group stays frozen.
        """

    def snapshot_due(self) -> bool:
        """Whether the log has outgrown a fraction of the snapshot."""

    def write_snapshot(self) -> None:
        """Replace snapshot and log by the persisted state; raises DiskError."""


def describe(version: Version) -> Change:
    """The change that stores `version`."""
    key = (version.kind, version.entity_id)
    return Change(key, version.entity, version.updated_micros, version.hash, version.embedding_hash)
