"""The vector index: which vectors the store holds, found by nearness, and the hash of each one's embedding.

It is not the place where FAISS is called (`faiss_index` is); it is a derived view, rebuilt from the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from synthians_memory.codec import seal_pieces
from synthians_memory.config import Metric
from synthians_memory.embedder import Embedder
from synthians_memory.engine.centroid_file import CentroidFile
from synthians_memory.engine.documents import write_whole
from synthians_memory.engine.exact import Matrix, RowIndex, prepare
from synthians_memory.engine.faiss_index import HAS_FAISS
from synthians_memory.engine.records import Key
from synthians_memory.engine.training import EXACT, Approximation
from synthians_memory.engine.vector_files import Mapping, VectorFiles, read_vector_files
from synthians_memory.engine.vector_log import (
    VectorChange,
    VectorLog,
    decode_group,
    encode_group,
    log_header,
    matrix_of,
)
from synthians_memory.engine.vector_rows import IN_MEMORY, RowStorage, VectorRows
from synthians_memory.engine.vector_search import DEAD_FEW
from synthians_memory.engine.vector_snapshot import Frozen, Snapshot, faiss_pieces, mapping_pieces
from synthians_memory.engine.vector_space import Slot
from synthians_memory.engine.view import Change, Position
from synthians_memory.engine.view_log import ViewLog
from synthians_memory.errors import DamagedViewError, DiskError
from synthians_memory.layout import FAISS_FILE, FAISS_NEXT, MAPPING, VECTORS, VECTORS_LOG, Kind
from synthians_memory.models import Vector
from synthians_memory.storage.backend import Backend

__all__ = ["MadeWith", "VectorView"]

_KINDS: Final[tuple[Kind, ...]] = ("memory", "assembly")
_LOG_SHARE: Final = 0.5
_SMALL: Final = 1024 * 1024
# New vectors are prepared and indexed so many at a time, or when somebody looks at the rows.
_MOST_WAITING: Final = 256
# Rows of dead vectors are dropped when they are this share of all; until then a search looks past them.
_DEAD_SHARE: Final = 0.2
_ROWS_A_PIECE: Final = 1024
# Smaller files are read sooner than a thread starts to pay.
_WORTH_A_THREAD: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class MadeWith:
    """Who embeds queries for a view since the model was changed.

    Attributes:
        embedder: None where callers bring the vectors.
    """

    embedder: Embedder | None


class VectorView(VectorRows):
    """All vectors of a store; applied by the writer, searched by any thread, persisted by one.

    One lock covers the rows: a search and a change exclude each other, and nothing else is done under it.
    """

    name = "vector index"
    log_share: ClassVar[float] = _LOG_SHARE
    small_bytes: ClassVar[int] = _SMALL
    worth_a_thread: ClassVar[int] = _WORTH_A_THREAD

    def __init__(
        self,
        backend: Backend,
        store_id: str,
        metric: Metric,
        dimension: int | None,
        approximation: Approximation = EXACT,
        storage: RowStorage = IN_MEMORY,
    ) -> None:
        """Args:
        backend: where the files are.
        store_id: of the store.
        metric, dimension: of its vectors.
        approximation: when searches may be approximate.
        storage: how rows are held.
        """
        self._centroids = CentroidFile(backend, store_id, metric)
        super().__init__(metric, dimension, approximation, self._centroids, backend, storage)
        self._approximation = approximation
        self._store_id = store_id
        # None: the embedder that the store was opened with.
        self.made_with: MadeWith | None = None
        self._log = ViewLog(backend, VECTORS_LOG)
        self._next_vector_id = 1
        self.position = Position("", 0)
        self._frozen_position = self.position
        self._pending: list[VectorChange] = []
        self._group: list[VectorChange] = []
        self._frozen: Frozen | None = None
        self._snapshot_bytes = 0
        self._has_snapshot = False
        self._next_counts = False
        self._reading: Future[VectorFiles] | None = None
        # Whether the files that were loaded are of another dimension.
        self.outlived = False

    def like(self, dimension: int | None) -> VectorView:
        """An empty view of the same store for vectors of another length."""
        view = VectorView(self._backend, self._store_id, self.metric, dimension, self._approximation, self._storage)
        view.source = self.source
        return view

    # Reading

    def slot_hash(self, key: Key) -> bytes | None:
        """The embedding hash of the entity's vector; None where it has none."""
        space = self._spaces.get(key[0])
        return space.hashes.get(key[1]) if space is not None else None

    def hashes(self, kind: Kind) -> dict[str, bytes]:
        """Id -> embedding hash of every vector of `kind`; a copy."""
        space = self._spaces.get(kind)
        return space.hashes.copy() if space is not None else {}

    def count(self, kind: Kind) -> int:
        """How many vectors of `kind` there are."""
        space = self._spaces.get(kind)
        return len(space) if space is not None else 0

    def vector(self, key: Key) -> Vector | None:
        """The indexed (prepared) vector of an entity; None where it has none."""
        with self._lock:
            self._index_waiting()
            space = self._spaces.get(key[0])
            position = space.position(key[1]) if space is not None else None
            return None if space is None or position is None else space.index.rows(position, position + 1)[0]

    # Following the journal

    @property
    def next_vector_id(self) -> int:
        """Greater than every vector id given."""
        return self._next_vector_id

    def raise_ids(self, least: int) -> None:
        """Give no vector id below `least` any more."""
        self._next_vector_id = max(self._next_vector_id, least)

    def apply(self, changes: Sequence[Change]) -> None:
        """As `View.apply`; one step for searches."""
        puts: dict[Key, tuple[Vector, bytes]] = {}
        gone: dict[Key, None] = {}
        for change in changes:
            vector = change.entity.vector if change.entity is not None else None
            puts.pop(change.key, None)
            gone.pop(change.key, None)
            if vector is None or change.embedding_hash is None:
                gone[change.key] = None
            elif self.slot_hash(change.key) != change.embedding_hash:
                puts[change.key] = vector, change.embedding_hash
        self._change(puts, [key for key in gone if self.slot_hash(key) is not None])

    def _change(self, puts: dict[Key, tuple[Vector, bytes]], gone: Sequence[Key]) -> None:
        with self._lock:
            for key in gone:
                self._kill(key)
                self._pending.append(VectorChange(key, 0, b"", None))
            for key, (vector, embedding_hash) in puts.items():
                self._put(key, vector, embedding_hash)
            if sum(map(len, self._waiting.values())) >= _MOST_WAITING:
                self._index_waiting()
                self._settle()

    def _put(self, key: Key, vector: Vector, embedding_hash: bytes) -> None:
        if self.dimension is None:
            self.dimension = len(vector)
        self._space(key[0]).put(Slot(key[1], self._next_vector_id, embedding_hash))
        self._waiting[key[0]].append(len(self._pending))
        self._pending.append(VectorChange(key, self._next_vector_id, embedding_hash, vector))
        self._next_vector_id += 1

    def _index_waiting(self) -> None:
        """Prepare the rows that wait and add them to the index, where their slots say they are."""
        for kind, places in self._waiting.items():
            if places:
                rows = prepare(np.stack([self._pending[place].row for place in places]), self.metric)  # type: ignore[misc]
                for place, row in zip(places, rows, strict=True):
                    self._pending[place] = self._pending[place]._replace(row=row)
                self._space(kind).index.add(rows)
                self._waiting[kind] = []

    def _kill(self, key: Key) -> None:
        space = self._spaces.get(key[0])
        if space is not None:
            space.kill(key[1])

    @property
    def dirty(self) -> bool:
        """Whether anything was applied since the last freeze, or trained since the last persist."""
        return bool(self._pending) or self.trainer.unsaved

    def drop_dead(self) -> None:
        """Let go of the rows of dead vectors; not while a snapshot is being written."""
        with self._lock:
            self._index_waiting()
            for kind, space in self._spaces.items():
                if space.dead and self._frozen is None:
                    # Whoever trains on its rows sees that they are others.
                    self._spaces[kind] = copy(space)
                    self._spaces[kind].compact()

    def freeze(self, position: Position) -> None:
        """As `View.freeze`. Dead rows are dropped here, while no snapshot is written and nothing trained."""
        with self._lock:
            self._index_waiting()
            self._settle()
            self._group += self._pending
            self._pending = []
            self._frozen_position = position
            if self._frozen is None and self.trainer.training is None:
                for space in self._spaces.values():
                    if space.dead > max(DEAD_FEW, space.total * _DEAD_SHARE):
                        space.compact()
            # One that failed half-way may no longer look due, and must not be finished with its old rows.
            due = self._frozen is not None or self.snapshot_due()
            if HAS_FAISS and self.dimension is not None and due:
                spaces = {kind: space.freeze() for kind, space in self._spaces.items()}
                self._frozen = Frozen(self.dimension, self._next_vector_id, spaces)

    def snapshot_due(self) -> bool:
        """As `View.snapshot_due`."""
        if not self._has_snapshot:
            return True
        if self._snapshot_bytes < self.small_bytes:
            return bool(self._group)
        return self._log.size > self._snapshot_bytes * self.log_share

    def persist(self) -> None:
        """As `View.persist`; a due snapshot takes the place of the log's group."""
        if not HAS_FAISS or self.dimension is None:
            self._group = []
            return
        if self._frozen is not None:
            try:
                self._write_snapshot(self._frozen)
            except DamagedViewError as error:
                message = f"no snapshot of the vector index can be written: {error.message}"
                raise DiskError(message, path=error.path, hint=DamagedViewError.hint_default) from error
        elif self._frozen_position != self.position:
            self._log.append(encode_group(self._group, self._frozen_position, self._store_id))
        self._group = []
        self._frozen = None
        self.position = self._frozen_position
        if self.trainer.unsaved:
            self._write_centroids(self.dimension)

    def _write_centroids(self, dimension: int) -> None:
        # Before they are looked at: a training that ends meanwhile says so again.
        self.trainer.unsaved = False
        try:
            with self._lock:
                trained = {kind: self.trainer.trained(kind) for kind in _KINDS}
            self._centroids.write(trained, dimension)
        except BaseException:
            self.trainer.unsaved = True
            raise

    def _write_snapshot(self, frozen: Frozen) -> None:
        digest, length = self._write_faiss(frozen)
        pieces = mapping_pieces(frozen, self._snapshot_of(digest, length))
        # The commit point of the pair: mapping.json names the hash of the FAISS file that belongs to it.
        write_whole(self._backend, MAPPING, seal_pieces(pieces))
        self._next_counts = True
        self._finish_rename()
        self._snapshot_bytes = length
        self._log.invalidate()
        self._log.start(log_header(self._frozen_position, self._store_id))
        self._has_snapshot = True
        self._read_from_snapshot(frozen, lambda: self._frozen is frozen)

    def _snapshot_of(self, digest: str, length: int) -> Snapshot:
        return Snapshot(self._frozen_position, self._store_id, self.metric, length, digest)

    def _write_faiss(self, frozen: Frozen) -> tuple[str, int]:
        """Write what FAISS would write of a flat index of the rows, without a copy of all of them."""
        self._finish_rename()
        file = self._backend.create(FAISS_NEXT)
        hasher = hashlib.sha256()
        length = 0
        try:
            for piece in faiss_pieces(frozen, self.metric, self._frozen_rows(frozen)):
                hasher.update(piece)
                length += len(piece)
                file.write(piece)
            file.sync()
        finally:
            file.close()
        # Its name as well, before mapping.json may name it: a power cut may keep the later of two new names alone.
        self._backend.sync_folder(VECTORS)
        return hasher.hexdigest(), length

    def _finish_rename(self) -> None:
        """An interrupted snapshot may have left the file that mapping.json names under its other name."""
        if self._next_counts:
            self._backend.replace(FAISS_NEXT, FAISS_FILE)
            # Whether or not that is durable: open takes whichever of the two names matches.
            self._next_counts = False
            self._backend.sync_folder(VECTORS)
        else:
            self._backend.unlink(FAISS_NEXT)

    def _frozen_rows(self, frozen: Frozen) -> Iterator[Matrix]:
        for kind in _KINDS:
            ids = frozen.spaces[kind].ids if kind in frozen.spaces else []
            for start in range(0, len(ids), _ROWS_A_PIECE):
                living = np.array([i is not None for i in ids[start : start + _ROWS_A_PIECE]])
                with self._lock:
                    rows = self._spaces[kind].index.rows(start, start + len(living))
                yield rows[living]

    # Reading back

    def load(self) -> str:
        """Take the state that the files have; changes nothing there.

        Returns:
            What is wrong with them, in words; "" where nothing is.

        Raises:
            DiskError: one of them cannot be read.
        """
        read = self._reading.result if self._reading is not None else self._read_files
        return self._take(read())

    @contextmanager
    def reading_ahead(self) -> Iterator[None]:
        """Read large files in another thread meanwhile, so that `load` finds them read; joined at the end.

        For a caller that keeps everybody else from changing the files.
        """
        stat = self._backend.stat(FAISS_FILE)
        if stat is None or stat.size < self.worth_a_thread:
            yield
            return
        with ThreadPoolExecutor(1, "vector files") as pool:
            self._reading = pool.submit(self._read_files)
            try:
                yield
            finally:
                self._reading = None

    def _read_files(self) -> VectorFiles:
        coded = self._coded if self._storage.coded else None
        return read_vector_files(self._backend, self._store_id, self.metric, self.dimension, coded)

    def _take(self, files: VectorFiles) -> str:
        mapping = files.mapping
        self.outlived = files.outlived
        if mapping is not None:
            self.dimension = mapping.dimension
        if files.problem:
            self.reset()
        elif mapping is not None and files.rows is not None:
            self._take_snapshot(mapping, files.rows)
            self._next_counts = files.next_counts
            self._take_log(files.log, files.log_bytes)
        return files.problem

    def _take_snapshot(self, mapping: Mapping, index: RowIndex) -> None:
        memories, assemblies = (mapping.slots[kind] for kind in _KINDS)
        # The file holds the memories' rows, then the assemblies'.
        split = len(memories.entity_ids)
        if assemblies.entity_ids:
            self._space("assembly").index.add(index.rows(split, len(index)))
            index.keep(np.arange(split, dtype=np.int64))
        self._put_index("memory", self._taken_index(index))
        for kind, slots in mapping.slots.items():
            if slots.entity_ids:
                self._space(kind).extend(*slots)
        self._settle()
        self._next_vector_id = mapping.next_vector_id
        self.position = self._frozen_position = mapping.position
        self._snapshot_bytes = mapping.faiss_bytes
        self._has_snapshot = True

    def _take_log(self, log: VectorLog | None, total: int) -> None:
        snapshot = self.position
        if log is None or log.start.epoch != snapshot.epoch or log.start.sequence > snapshot.sequence:
            header = log_header(snapshot, self._store_id)
            self._log.adopt(header, len(header), -1)
            return
        for position, payload in log.groups:
            if position.sequence > self.position.sequence:
                with self._lock:
                    self._apply_group(payload)
                self.position = self._frozen_position = position
        self._log.adopt(log_header(log.start, self._store_id), log.committed, total)

    def _apply_group(self, payload: bytes) -> None:
        rows: dict[Kind, list[bytes]] = {kind: [] for kind in _KINDS}
        for kind, slot, row in decode_group(payload, self.dimension or 0):
            if row is None:
                self._kill((kind, slot.entity_id))
                continue
            self._space(kind).put(slot)
            self._next_vector_id = max(self._next_vector_id, slot.vector_id + 1)
            rows[kind].append(row)
            if len(rows[kind]) == _MOST_WAITING:
                self._add_logged(kind, rows)
        for kind in _KINDS:
            self._add_logged(kind, rows)

    def _add_logged(self, kind: Kind, rows: dict[Kind, list[bytes]]) -> None:
        if rows[kind]:
            self._space(kind).index.add(matrix_of(rows[kind], self.dimension or 0))
            rows[kind] = []
            self._settle()

    def reset(self) -> None:
        """Forget every vector, to be filled anew; ids go on growing, and the next persist writes a snapshot."""
        with self._lock:
            self._close_rows()
            self._spaces = {}
            self._pending, self._group, self._frozen = [], [], None
            self._waiting = {kind: [] for kind in _KINDS}
            self._has_snapshot = False
            self.trainer.forget()

    def forget_files(self) -> None:
        """Distrust snapshot and log on disk: the next persist writes both anew."""
        self._has_snapshot = False

    def close(self) -> None:
        """End training and release the descriptors."""
        self.trainer.stop()
        self._log.close()
        with self._lock:
            self._close_rows()
