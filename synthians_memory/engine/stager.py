"""Staging: the entities of a store as they will be with another model, made beside it while it serves and saves.

It is not the change of the model (`reembedding`), and calls no embedder: it says which texts are to be embedded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from synthians_memory.codec import encode
from synthians_memory.engine.part_files import (
    Model,
    PartWriter,
    Series,
    list_series,
    read_part,
    remove_series,
    sync_parts,
)
from synthians_memory.engine.previous import PreviousEmbeddings, previous_body, read_previous, text_hash
from synthians_memory.engine.records import Key
from synthians_memory.engine.rows import embedding_hash_of, hash_of
from synthians_memory.engine.staged import read_staged, staged_body
from synthians_memory.engine.state import StoreState
from synthians_memory.engine.view import describe
from synthians_memory.errors import DiskError
from synthians_memory.layout import REEMBEDDING, Kind
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry, Vector, as_vector, random_id
from synthians_memory.times import to_micros

__all__ = ["Stager", "Work"]

_KINDS: Final[tuple[Kind, ...]] = ("memory", "assembly")
# The old view goes on giving vector ids while the new one is made; never one that both give.
_ID_GAP: Final = 1 << 32


@dataclass(slots=True)
class Work:
    """One entity that is to be staged.

    Attributes:
        entity: as it is stored.
        text: what its embedding is to be made of; "" where that is not needed, or there is nothing.
        vector: its new embedding, where no embedder is needed for it.
    """

    entity: Entity
    text: str = ""
    vector: Vector | None = None

    @property
    def key(self) -> Key:
        """Kind and id."""
        return self.entity.kind, self.entity.entity_id

    @property
    def hash(self) -> bytes:
        """Content hash of the stored version."""
        return bytes.fromhex(self.entity.__dict__["content_hash"].partition(":")[2])


class Stager:
    """Stages one store for one model, going on with what an earlier attempt has staged; used by one thread at a time.

    Attributes:
        view: the new vector index.
        staged: what is staged, up to date or not.
    """

    def __init__(self, state: StoreState, model: Model, back: PreviousEmbeddings | None) -> None:
        """Raises DiskError; nothing that the store holds is touched.

        Args:
            state: the open store.
            model: what is staged for.
            back: embeddings that are taken where they belong to the present text.
        """
        self._state = state
        self._model = model
        self._back = back
        superblock = state.superblock
        self.view = state.vectors.like(model.dimension)
        self.view.raise_ids(state.vectors.next_vector_id + _ID_GAP)
        self.next_vector_id = self.view.next_vector_id
        self._unchanged: dict[Key, bytes] = {}
        old = Model(superblock.embedder, superblock.embedding_dimension)
        self.token = self._prepare(old)
        self.staged = read_staged(state.backend, superblock.store_id, self.token)
        kept = read_previous(state.backend, superblock.store_id, self.token)
        self._take_up(kept)
        self._new = PartWriter(
            state.backend,
            superblock.store_id,
            Series(self.token, "staged"),
            model,
            self.staged.parts,
            self.staged.frames,
        )
        self._old = PartWriter(
            state.backend, superblock.store_id, Series(self.token, "previous"), old, kept.parts, kept.frames
        )

    # Beginning

    def _prepare(self, old: Model) -> str:
        """The token to go on with, its parts durable; what belongs to no change any more is removed."""
        state = self._state
        state.backend.make_folder(REEMBEDDING)
        # Also where it is there: the attempt that made it may have been interrupted.
        state.backend.sync_folder("")
        for path in sorted(state.distrusted):
            state.backend.unlink(path)
            state.distrusted.discard(path)
        named = {facts.token for facts in (state.superblock.staged, state.superblock.previous) if facts is not None}
        series = list_series(state.backend)
        token = next((token for token in self._free_tokens(series, named) if self._fits(token, old)), None)
        remove_series(state.backend, [one for one in series if one.token not in named and one.token != token])
        if token is None:
            return random_id()
        for one, count in series.items():
            if one.token == token:
                sync_parts(state.backend, one, count)
        return token

    @staticmethod
    def _free_tokens(series: Iterable[Series], named: set[str]) -> list[str]:
        return sorted({one.token for one in series if one.role == "staged" and one.token not in named})

    def _fits(self, token: str, old: Model) -> bool:
        """Whether what is staged under `token` is of the model wanted, and was made of the present one."""
        backend, store_id = self._state.backend, self._state.superblock.store_id
        new = read_part(backend, store_id, Series(token, "staged"), 1).model
        return new == self._model and read_part(backend, store_id, Series(token, "previous"), 1).model == old

    def _take_up(self, kept: PreviousEmbeddings) -> None:
        for key, entry in list(self.staged.entries.items()):
            if kept.made_of(key) != entry.predecessor:
                # The embedding that it had is not kept, so that there would be no way back.
                del self.staged.entries[key]
            elif self._state.index.hash(key) == entry.predecessor:
                version = self.staged.version(key)
                if version is None:
                    del self.staged.entries[key]
                else:
                    self.view.apply([describe(version)])

    # Staging

    def todo(self) -> list[Key]:
        """Whose acknowledged version is not staged, the memories first. Thread-safe."""
        found: list[Key] = []
        for kind in _KINDS:
            for entity_id, packed in self._state.index.rows[kind].copy().items():
                entry = self.staged.entries.get((kind, entity_id))
                known = entry.predecessor if entry is not None else self._unchanged.get((kind, entity_id))
                if known != hash_of(packed):
                    found.append((kind, entity_id))
        return found

    def work(self, keys: Iterable[Key]) -> list[Work]:
        """What is to be done about these entities; those that are gone are left out.

        Raises:
            DamagedFileError, ChangedOutsideError, DiskError: one of them cannot be read.
        """
        found: list[Work] = []
        for key in keys:
            entity = self._state.load(key)
            if entity is not None:
                found.append(self._work_on(entity))
        return found

    def _work_on(self, entity: Entity) -> Work:
        kept = self._back.find(entity) if self._back is not None else None
        if kept is None and isinstance(entity, MemoryEntry):
            kept = self._staged_before(entity)
        if kept is not None:
            return Work(entity, vector=kept[0])
        if isinstance(entity, MemoryAssembly):
            return self._work_on_assembly(entity)
        content = entity.content if isinstance(entity, MemoryEntry) else ""
        return Work(entity, content if content.strip() else "")

    def _staged_before(self, entity: Entity) -> tuple[Vector | None] | None:
        """The embedding of an earlier version that had the same text."""
        key = (entity.kind, entity.entity_id)
        version = self.staged.version(key) if key in self.staged.entries else None
        if version is None or text_hash(version.entity) != text_hash(entity):
            return None
        return (version.entity.vector,)

    def _work_on_assembly(self, assembly: MemoryAssembly) -> Work:
        """The mean of its members; without any that has a vector, what it is called."""
        if assembly.vector is None:
            return Work(assembly)
        rows = [self.view.vector(("memory", member)) for member in dict.fromkeys(assembly.members)]
        present = [row for row in rows if row is not None]
        mean = np.mean(present, axis=0, dtype=np.float64).astype(np.float32) if present else None
        if mean is not None and mean.any():
            return Work(assembly, vector=as_vector(mean, "the mean of the members"))
        return Work(assembly, f"{assembly.name}\n{assembly.description}".strip())

    def put(self, works: Sequence[Work], vectors: Mapping[str, Vector]) -> None:
        """Stage these entities durably.

        Args:
            works: as `work` gave them.
            vectors: of each of their texts, but for those in which the embedder finds nothing.

        Raises:
            DiskError: this stager is not to be used any more; another one goes on with what was staged before.
        """
        now = self._state.clock.micros()
        changed: list[tuple[Work, Vector | None]] = []
        for work in works:
            vector = work.vector if work.vector is not None else vectors.get(work.text)
            if vector is None and work.entity.vector is None:
                self._unchanged[work.key] = work.hash
                self.staged.entries.pop(work.key, None)
                continue
            changed.append((work, vector))
        if changed:
            try:
                self._write(changed, now)
            except DiskError:
                self._give_up()
                raise

    def _write(self, changed: Sequence[tuple[Work, Vector | None]], now: int) -> None:
        versions = []
        for work, vector in changed:
            updated = to_micros(work.entity.__dict__["updated_at"]) + 1
            replaced = work.entity.replace(**{work.entity.vector_field: vector})
            versions.append((encode(replaced).stamp(max(now, updated)), work.hash))
        # The way back is durable before what leads away.
        self._old.append([previous_body(work.entity, work.hash) for work, _ in changed])
        self._old.sync()
        starts = self._new.append([staged_body(version, predecessor) for version, predecessor in versions])
        self._new.sync()
        for (version, predecessor), start in zip(versions, starts, strict=True):
            self.staged.note(version, predecessor, self._new.path, start)
        self.view.apply([describe(version) for version, _ in versions])

    def _give_up(self) -> None:
        for writer in (self._old, self._new):
            path = writer.path
            try:
                writer.discard()
            except DiskError:
                self._state.distrusted.add(path)

    # Ending

    def losses(self) -> list[Key]:
        """Entities that have an embedding and would have none: there is no text to make one of. In order."""
        found: list[Key] = []
        for key, entry in self.staged.entries.items():
            row = self._state.index.packed(key) if entry.embedding_hash is None else None
            if row is None or hash_of(row) != entry.predecessor or embedding_hash_of(row) is None:
                continue
            if self._back is None or not self._back.had_none(key):
                found.append(key)
        return sorted(found)

    @property
    def parts(self) -> tuple[int, int]:
        """Parts and frames of what is staged."""
        return self._new.parts, self._new.frames

    @property
    def previous_parts(self) -> tuple[int, int]:
        """Parts and frames of the way back."""
        return self._old.parts, self._old.frames

    def close(self) -> None:
        """Release the descriptors; what is staged stays. Idempotent."""
        self._new.close()
        self._old.close()
