"""What an open store consists of, handed to the parts that work on it.

It is not an actor: the writer mutates it, everybody else reads.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from synthians_memory.codec import Version, content_hash_text, decode_sealed, inspect, version_of
from synthians_memory.codec import damaged_file as damaged_file_error
from synthians_memory.config import StoreConfig
from synthians_memory.engine.conversion import Conversion
from synthians_memory.engine.entity_files import EntityFiles
from synthians_memory.engine.index import MemoryIndex
from synthians_memory.engine.overlay import Overlay
from synthians_memory.engine.quarantine import Quarantine
from synthians_memory.engine.records import Key
from synthians_memory.engine.rows import hash_of, stat_of
from synthians_memory.engine.superblock import Superblock, store_superblock
from synthians_memory.engine.text_view import TextView
from synthians_memory.engine.vectors import VectorView
from synthians_memory.engine.view import Position
from synthians_memory.errors import ChangedOutsideError, DamagedError, DamagedFileError, DiskError, NotRegularFileError
from synthians_memory.layout import Kind, entity_path
from synthians_memory.models import Entity, Vector
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.journal import Journal
from synthians_memory.storage.lru import ByteLRU
from synthians_memory.times import Clock, from_micros

__all__ = ["UNSERVABLE", "Cached", "Counters", "StoreState"]

# What `StoreState.load` raises of one entity whose file is at fault, while others can be served.
UNSERVABLE: Final = (DamagedError, ChangedOutsideError, NotRegularFileError)

_MOST_NOTES = 1000
_MOST_ATTEMPTS = 8
# Bytes that are hashed and decoded in well under a millisecond.
_SMALL = 64 * 1024
_FEW = 10
_SHARE = 0.01


@dataclass(slots=True)
class Counters:
    """What happened since the store was opened."""

    saves: int = 0
    deletes: int = 0
    groups: int = 0
    checkpoints: int = 0
    checkpoint_failures: int = 0
    apply_failures: int = 0
    conflicts: int = 0


class Cached(NamedTuple):
    """What the cache holds of an entity.

    Attributes:
        hash: content hash of the version; the cache answers only while it is the acknowledged one.
        entity: never handed out itself.
        updated_micros: of a version whose entity has no update time yet; None of one that was read from its file.
    """

    hash: bytes
    entity: Entity
    updated_micros: int | None

    def detached(self) -> Entity:
        """The entity as it is stored; shares nothing mutable."""
        if self.updated_micros is None:
            return self.entity.detached()
        updated_at = from_micros(self.updated_micros)
        return self.entity.detached(updated_at=updated_at, content_hash=content_hash_text(self.hash))


@dataclass(slots=True)
class StoreState:
    """One open store.

    Attributes:
        backend, config, clock: what it stands on.
        superblock: its facts; replaced, never changed in place.
        index, vectors: the views.
        files, quarantine: the writers of entity files and of what is set aside.
        overlay, cache: what loads look at before the files.
        text: the text index, which filters ask as well.
        journal: None where the store is open read-only.
        notes: findings of recovery and of running, the latest last.
        read_only_reason: why nothing may be written; "" where it may.
        vanished: kinds whose folder lost all its files, so that nothing is written there.
        last_error: the latest failure that no caller was told of.
        opened_micros: when it was opened, microseconds since 1970.
        superblock_due: what the superblock on disk is being changed to, or was last.
        conversion: the versions that stand before the entity files while these are converted to another model.
        superseded: embedding hashes that the model before gave, since a change of the model in this process.
        distrusted: files of a change of the model whose write or sync failed, and which could not be removed.
    """

    backend: Backend
    config: StoreConfig
    clock: Clock
    superblock: Superblock
    index: MemoryIndex
    vectors: VectorView
    files: EntityFiles
    quarantine: Quarantine
    overlay: Overlay
    cache: ByteLRU[Key, Cached]
    text: TextView = field(default_factory=TextView)
    journal: Journal | None = None
    notes: deque[Finding] = field(default_factory=lambda: deque(maxlen=_MOST_NOTES))
    counters: Counters = field(default_factory=Counters)
    read_only_reason: str = ""
    vanished: frozenset[Kind] = frozenset()
    last_error: str = ""
    opened_micros: int = 0
    superblock_due: Superblock | None = None
    conversion: Conversion | None = None
    superseded: dict[Key, bytes] = field(default_factory=dict)
    distrusted: set[str] = field(default_factory=set)

    @property
    def most_dropped(self) -> float:
        """How many entities may be dropped or set aside while nobody watches."""
        return max(_FEW, _SHARE * (self.index.count("memory") + self.index.count("assembly")))

    def position(self, sequence: int) -> Position:
        """`sequence` in the present epoch."""
        return Position(self.superblock.epoch, sequence)

    def change_superblock(self, **changes: object) -> None:
        """Make changed facts durable, before anything depends on them; raises DiskError."""
        changed = replace(self.superblock, **changes)  # type: ignore[arg-type]
        self.superblock_due = changed
        store_superblock(self.backend, changed)
        self.superblock = changed
        if self.journal is not None:
            self.journal.facts = changed.facts()

    def set_aside(self, path: str, reason: str) -> str:
        """Move the entity file at `path` to quarantine, durably; returns its new path. Raises DiskError."""
        try:
            return self.quarantine.move(path, reason)
        except DiskError:
            # A failed sync of its folder may have lost names of this interval that were waiting for theirs.
            self.files.doubtful = True
            raise

    def load(self, key: Key) -> Entity | None:
        """The acknowledged version of an entity; None where the store does not hold it. Thread-safe.

        Raises:
            DamagedFileError: its file is damaged; it is never returned as data.
            ChangedOutsideError: its file is intact, but another version.
            NotRegularFileError: something else stands in its place.
            DiskError: its file cannot be read.
        """
        cached = self.cached(key)
        return self._load_from_file(key) if cached is None else cached[0]

    def embedding(self, key: Key) -> Vector | None:
        """That of the acknowledged version of an entity; None also where that version cannot be had. Thread-safe."""
        try:
            entity = self.load(key)
        except (DamagedError, ChangedOutsideError, DiskError):
            return None
        return None if entity is None else entity.vector

    def is_decided(self, key: Key) -> bool:
        """Whether something stands before the file of an entity: the overlay, or a staged version. Never blocks."""
        if self.overlay.get(key)[0]:
            return True
        return self.conversion is not None and self.conversion.stands_in(key, self.index.hash(key))

    def decided(self, key: Key) -> tuple[bool, Version | None]:
        """As `is_decided`, with the version that stands there; None for a deleted entity. Raises DiskError."""
        found = self.overlay.get(key)
        if found[0] or self.conversion is None:
            return found
        wanted = self.index.hash(key)
        version = self.conversion.version(key, wanted) if self.conversion.stands_in(key, wanted) else None
        return version is not None, version

    def is_superseded(self, key: Key, embedding_hash: bytes | None) -> bool:
        """Whether an embedding is the one that the entity had with the model before."""
        return embedding_hash is not None and self.superseded.get(key) == embedding_hash

    def staged_version(self, key: Key) -> Version | None:
        """The acknowledged version where it is staged, whatever its file holds. Raises DiskError."""
        return None if self.conversion is None else self.conversion.version(key, self.index.hash(key))

    def staged_hashes(self, key: Key) -> frozenset[bytes]:
        """Content hashes that the file of an entity may have because of a conversion."""
        return frozenset() if self.conversion is None else self.conversion.hashes(key)

    def cached(self, key: Key) -> tuple[Entity | None] | None:
        """The answer of `load` where it needs no file; None where it does. Never blocks."""
        decided, version = self.overlay.get(key)
        if decided:
            return (version.stored_entity() if version else None,)
        wanted = self.index.hash(key)
        if wanted is None:
            return (None,)
        found = self.cache.get(key)
        if found is not None and found.hash == wanted:
            return (found.detached(),)
        return None

    def at_hand(self, key: Key) -> tuple[Entity | None] | None:
        """The answer of `load` where it is small and to be had without waiting for the disk; None where it is not."""
        answer = self.cached(key)
        row = None if answer else self.index.packed(key)
        if row is None:
            return answer
        size = stat_of(row)[0]
        data = self.backend.read_at_hand(entity_path(*key), size) if 0 < size <= _SMALL else None
        wanted = hash_of(row)
        if data is None or version_of(data) != wanted:
            return None
        entity = decode_sealed(key[0], data)
        self.cache.put(key, Cached(wanted, entity, None), len(data))
        return (entity.detached(),)

    def _load_from_file(self, key: Key) -> Entity | None:
        path = entity_path(*key)
        data: bytes | None = None
        seen: tuple[bytes | None, bytes | None] | None = None
        for _ in range(_MOST_ATTEMPTS):
            wanted = self.index.hash(key)
            data = self.backend.read(path)
            if data is not None and wanted is not None and version_of(data) == wanted:
                entity = decode_sealed(key[0], data)
                self.cache.put(key, Cached(wanted, entity, None), len(data))
                return entity.detached()
            # The writer may have been between index and file: what it published decides.
            decided, version = self.overlay.get(key)
            if not decided:
                version = self.staged_version(key)
                decided = version is not None
            if decided:
                return version.stored_entity() if version else None
            # The file may have been written after it was read: it is at fault when it is read so again.
            if self.index.hash(key) == wanted and seen == (wanted, data):
                break
            seen = wanted, data
        if self.index.hash(key) is None:
            return None
        raise self._unservable(key, data)

    def _unservable(self, key: Key, data: bytes | None) -> DamagedFileError | ChangedOutsideError:
        path = entity_path(*key)
        if data is None:
            return DamagedFileError(
                f"{path} is missing", path=path, hint="Put it back, or run `repair` to record that it is gone."
            )
        found = inspect(*key, data)
        if found.state == "damaged":
            return damaged_file_error(path, found.reason)
        what = "was edited by hand" if found.state == "edited" else "is intact, but another version than acknowledged"
        return ChangedOutsideError(f"{path} {what}", path=path)
