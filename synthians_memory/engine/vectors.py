"""The vector index: which vectors the store holds, found by nearness, and the hash of each one's embedding.

It is not the place where FAISS is called (`faiss_index` is); it is a derived view, rebuilt from the files.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import orjson

from synthians_memory.codec import seal_pieces, unseal
from synthians_memory.config import Metric
from synthians_memory.engine.documents import read_file, write_whole
from synthians_memory.engine.exact import Matrix, Positions, RowIndex, prepare, scores_of
from synthians_memory.engine.faiss_index import HAS_FAISS, new_index, parse_index
from synthians_memory.engine.records import Key
from synthians_memory.engine.vector_log import VectorChange, decode_group, encode_group, log_header, read_log
from synthians_memory.engine.vector_space import Slot, VectorSpace
from synthians_memory.engine.view import Change, Position
from synthians_memory.engine.view_log import ViewLog
from synthians_memory.errors import DamagedViewError, DimensionError, InvalidValueError
from synthians_memory.layout import FAISS_FILE, FAISS_NEXT, FORMAT_VERSION, MAPPING, VECTORS, VECTORS_LOG, Kind
from synthians_memory.models import Vector
from synthians_memory.storage.backend import Backend

__all__ = ["VectorView"]

_KINDS: Final[tuple[Kind, ...]] = ("memory", "assembly")
_MEMBERS: Final[dict[Kind, str]] = {"memory": "memories", "assembly": "assemblies"}
_LOG_SHARE: Final = 0.5
_SMALL: Final = 1024 * 1024
# New vectors are prepared and indexed so many at a time, or when somebody looks at the rows.
_MOST_WAITING: Final = 256
# Rows of dead vectors are dropped when they are this share of all; until then a search looks past them.
_DEAD_SHARE: Final = 0.2
_DEAD_FEW: Final = 64
_ROWS_A_PIECE: Final = 4096


@dataclass(slots=True)
class _Frozen:
    """What a snapshot is written from: rows never change in place, so positions are enough."""

    dimension: int
    next_vector_id: int
    slots: dict[Kind, list[tuple[str, Slot]]]


class VectorView:
    """All vectors of a store; applied by the writer, searched by any thread, persisted by one.

    One lock covers the rows: a search and a change exclude each other, and nothing else is done under it.
    """

    name = "vector index"
    log_share: ClassVar[float] = _LOG_SHARE
    small_bytes: ClassVar[int] = _SMALL

    def __init__(self, backend: Backend, store_id: str, metric: Metric, dimension: int | None) -> None:
        self._backend = backend
        self._store_id = store_id
        self.metric: Metric = metric
        self.dimension = dimension
        self._log = ViewLog(backend, VECTORS_LOG)
        self._lock = threading.Lock()
        self._spaces: dict[Kind, VectorSpace] = {}
        self._next_vector_id = 1
        self.position = Position("", 0)
        self._frozen_position = self.position
        self._pending: list[VectorChange] = []
        # Of the last changes in `_pending`, whose rows are not prepared and not in the index: their places there.
        self._waiting: dict[Kind, list[int]] = {kind: [] for kind in _KINDS}
        self._group: list[VectorChange] = []
        self._frozen: _Frozen | None = None
        self._snapshot_bytes = 0
        self._has_snapshot = False
        self._next_counts = False

    # Reading

    def slot_hash(self, key: Key) -> bytes | None:
        """The embedding hash of the entity's vector; None where it has none."""
        space = self._spaces.get(key[0])
        slot = space.slots.get(key[1]) if space else None
        return slot.embedding_hash if slot else None

    def hashes(self, kind: Kind) -> dict[str, bytes]:
        """Id -> embedding hash of every vector of `kind`; a copy."""
        space = self._spaces.get(kind)
        return {i: slot.embedding_hash for i, slot in space.slots.copy().items()} if space else {}

    def count(self, kind: Kind) -> int:
        """How many vectors of `kind` there are."""
        space = self._spaces.get(kind)
        return len(space.slots) if space else 0

    def vector(self, key: Key) -> Vector | None:
        """The indexed (prepared) vector of an entity; None where it has none."""
        with self._lock:
            self._index_waiting()
            space = self._spaces.get(key[0])
            slot = space.slots.get(key[1]) if space else None
            return space.index.rows(slot.position, slot.position + 1)[0] if space and slot else None

    def search(
        self, query: Vector, k: int, kind: Kind, allowed: Iterable[str] | None = None
    ) -> list[tuple[str, float]]:
        """The `k` nearest entities: (id, score), best first; equal scores by age of the vector.

        Args:
            query: of the store's dimension.
            k: at least 1; as many come back as there are.
            kind: what to search.
            allowed: ids to choose from; None for all. Those without a vector are passed over.

        Raises:
            DimensionError, InvalidValueError: the query cannot be compared.
        """
        row = self._prepared_query(query)
        with self._lock:
            self._index_waiting()
            space = self._spaces.get(kind)
            if space is None or not space.slots:
                return []
            if allowed is None:
                return self._search_all(space, row, k)
            positions = sorted(s.position for s in map(space.slots.get, dict.fromkeys(allowed)) if s is not None)
            distances, found = space.index.search(row, k, np.array(positions, dtype=np.int64))
            return self._hits(space, distances, found, k)

    def _search_all(self, space: VectorSpace, row: Vector, k: int) -> list[tuple[str, float]]:
        dead = space.dead
        if dead > _DEAD_FEW:
            return self._hits(space, *space.index.search(row, k, space.live()), k)
        return self._hits(space, *space.index.search(row, k + dead), k)

    def _hits(self, space: VectorSpace, distances: Matrix, found: Positions, k: int) -> list[tuple[str, float]]:
        scores = scores_of(distances, self.metric)
        pairs = ((space.ids[position], score) for position, score in zip(found, scores, strict=True))
        return [(i, score) for i, score in pairs if i is not None][:k]

    def _prepared_query(self, query: Vector) -> Vector:
        if self.dimension is not None and len(query) != self.dimension:
            raise DimensionError(
                f"the query has {len(query)} numbers, the store's vectors have {self.dimension}",
                hint="Embed the query with the embedder that made the store.",
            )
        if self.metric == "cosine" and not query.any():
            raise InvalidValueError("a zero vector has no direction to compare by cosine")
        row: Vector = prepare(query[None, :], self.metric)[0]
        return row

    # Following the journal

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

    def _put(self, key: Key, vector: Vector, embedding_hash: bytes) -> None:
        if self.dimension is None:
            self.dimension = len(vector)
        space = self._space(key[0])
        self._kill(key)
        space.slots[key[1]] = Slot(self._next_vector_id, embedding_hash, len(space.ids))
        space.ids.append(key[1])
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

    def _space(self, kind: Kind) -> VectorSpace:
        if kind not in self._spaces:
            self._spaces[kind] = VectorSpace(new_index(self.dimension or 0, self.metric))
        return self._spaces[kind]

    def _kill(self, key: Key) -> None:
        space = self._spaces.get(key[0])
        slot = space.slots.pop(key[1], None) if space else None
        if space is not None and slot is not None:
            space.ids[slot.position] = None

    @property
    def dirty(self) -> bool:
        """Whether anything was applied since the last freeze."""
        return bool(self._pending)

    def freeze(self, position: Position) -> None:
        """As `View.freeze`. Dead rows are dropped here, while no snapshot is being written."""
        with self._lock:
            self._index_waiting()
            self._group += self._pending
            self._pending = []
            self._frozen_position = position
            if self._frozen is None:
                for space in self._spaces.values():
                    if space.dead > max(_DEAD_FEW, len(space.ids) * _DEAD_SHARE):
                        space.compact()
            # One that failed half-way may no longer look due, and must not be finished with its old rows.
            due = self._frozen is not None or self.snapshot_due()
            if HAS_FAISS and self.dimension is not None and due:
                slots = {kind: sorted(s.slots.items(), key=_by_vector_id) for kind, s in self._spaces.items()}
                self._frozen = _Frozen(self.dimension, self._next_vector_id, slots)

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
            self._write_snapshot(self._frozen)
        elif self._frozen_position != self.position:
            self._log.append(encode_group(self._group, self._frozen_position, self._store_id))
        self._group = []
        self._frozen = None
        self.position = self._frozen_position

    def _write_snapshot(self, frozen: _Frozen) -> None:
        digest, length = self._write_faiss(frozen)
        pieces = self._mapping_pieces(frozen, digest, length)
        # The commit point of the pair: mapping.json names the hash of the FAISS file that belongs to it.
        write_whole(self._backend, MAPPING, seal_pieces(pieces))
        self._next_counts = True
        self._finish_rename()
        self._snapshot_bytes = length
        self._log.invalidate()
        self._log.start(log_header(self._frozen_position, self._store_id))
        self._has_snapshot = True

    def _write_faiss(self, frozen: _Frozen) -> tuple[str, int]:
        index = new_index(frozen.dimension, self.metric)
        for rows in self._frozen_rows(frozen):
            index.add(rows)
        self._finish_rename()
        file = self._backend.create(FAISS_NEXT)
        hasher = hashlib.sha256()
        length = 0

        def sink(piece: bytes) -> None:
            nonlocal length
            hasher.update(piece)
            length += len(piece)
            file.write(piece)

        try:
            index.serialise(sink)
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

    def _frozen_rows(self, frozen: _Frozen) -> Iterator[Matrix]:
        for kind in _KINDS:
            slots = frozen.slots.get(kind, [])
            for start in range(0, len(slots), _ROWS_A_PIECE):
                part = slots[start : start + _ROWS_A_PIECE]
                with self._lock:
                    index = self._spaces[kind].index
                    low = part[0][1].position
                    rows = index.rows(low, part[-1][1].position + 1)
                yield rows[[slot.position - low for _, slot in part]]

    def _mapping_pieces(self, frozen: _Frozen, digest: str, length: int) -> Iterator[bytes]:
        for kind, member in _MEMBERS.items():
            yield b'  "%s": {\n' % member.encode()
            slots = frozen.slots.get(kind, [])
            lines = [
                b'    %s: [%d,"%s"]' % (orjson.dumps(i), slot.vector_id, slot.embedding_hash.hex().encode())
                for i, slot in slots
            ]
            yield b",\n".join(lines) + (b"\n" if lines else b"")
            yield b"  },\n"
        metadata = {
            "version": FORMAT_VERSION,
            "epoch": self._frozen_position.epoch,
            "sequence": self._frozen_position.sequence,
            "store_id": self._store_id,
            "dimension": frozen.dimension,
            "metric": self.metric,
            "next_vector_id": frozen.next_vector_id,
            "faiss_bytes": length,
            "faiss_sha256": digest,
        }
        yield b'  "metadata": %s,\n' % orjson.dumps(metadata)

    # Reading back

    def load(self) -> str:
        """Take the state that the files have; changes nothing there.

        Returns:
            What is wrong with them, in words; "" where nothing is.

        Raises:
            DiskError: one of them cannot be read.
        """
        data = read_file(self._backend, MAPPING)
        if data is None:
            # Before the first vector there are no files; whether that is right, the memory index knows.
            return ""
        claimed, computed = unseal(data)
        if claimed != computed:
            return f"{MAPPING} does not match its content_hash"
        try:
            self._load_snapshot(orjson.loads(data))
        except (DamagedViewError, AttributeError, KeyError, ValueError, TypeError) as error:
            self.reset()
            return error.message if isinstance(error, DamagedViewError) else f"{MAPPING} is no mapping: {error}"
        return self._load_log()

    def _load_snapshot(self, found: dict[str, Any]) -> None:
        metadata = found["metadata"]
        if metadata["metric"] != self.metric or metadata["store_id"] != self._store_id:
            raise DamagedViewError(f"{MAPPING} belongs to another store or metric", path=MAPPING)
        if self.dimension is not None and metadata["dimension"] != self.dimension:
            raise DamagedViewError(f"{MAPPING} is of another dimension than the store", path=MAPPING)
        self.dimension = metadata["dimension"]
        index: RowIndex = parse_index(self._verified_faiss(metadata), metadata["dimension"], self.metric)
        counts = {kind: len(found[member]) for kind, member in _MEMBERS.items()}
        if len(index) != sum(counts.values()):
            raise DamagedViewError(f"{FAISS_FILE} holds another number of vectors than {MAPPING}", path=FAISS_FILE)
        self._split(index, counts)
        for kind, member in _MEMBERS.items():
            self._take_slots(kind, found[member])
        self._next_vector_id = int(metadata["next_vector_id"])
        self.position = self._frozen_position = Position(str(metadata["epoch"]), int(metadata["sequence"]))
        self._snapshot_bytes = metadata["faiss_bytes"]
        self._has_snapshot = True

    def _verified_faiss(self, metadata: dict[str, Any]) -> bytes:
        """The bytes that mapping.json names: of the file, or of its successor that was not renamed yet."""
        for path in (FAISS_FILE, FAISS_NEXT):
            stat = self._backend.stat(path)
            if stat is None or stat.kind != "file" or stat.size != metadata["faiss_bytes"]:
                continue
            data = self._backend.read(path)
            if data is not None and hashlib.sha256(data).hexdigest() == metadata["faiss_sha256"]:
                self._next_counts = path == FAISS_NEXT
                return data
        raise DamagedViewError(f"{FAISS_FILE} does not match the hash in {MAPPING}", path=FAISS_FILE)

    def _split(self, index: RowIndex, counts: dict[Kind, int]) -> None:
        """The file holds the memories' rows, then the assemblies'."""
        memories = counts["memory"]
        if counts["assembly"]:
            space = self._space("assembly")
            space.index.add(index.rows(memories, memories + counts["assembly"]))
            index.keep(np.arange(memories, dtype=np.int64))
        self._spaces["memory"] = VectorSpace(index)

    def _take_slots(self, kind: Kind, found: dict[str, Any]) -> None:
        if not found:
            return
        space = self._space(kind)
        for position, (entity_id, (vector_id, embedding_hash)) in enumerate(found.items()):
            space.slots[entity_id] = Slot(int(vector_id), bytes.fromhex(embedding_hash), position)
            space.ids.append(entity_id)

    def _load_log(self) -> str:
        data = read_file(self._backend, VECTORS_LOG)
        header = log_header(self.position, self._store_id)
        found = read_log(data, self._store_id) if data is not None else None
        snapshot = self.position
        if (
            data is None
            or found is None
            or found.start.epoch != snapshot.epoch
            or found.start.sequence > snapshot.sequence
        ):
            self._log.adopt(header, len(header), -1)
            return ""
        for position, bodies in found.groups:
            if position.sequence > self.position.sequence:
                self._apply_group(decode_group(bodies, self.dimension or 0))
                self.position = self._frozen_position = position
        self._log.adopt(log_header(found.start, self._store_id), found.committed, len(data))
        return ""

    def _apply_group(self, changes: list[VectorChange]) -> None:
        with self._lock:
            for change in changes:
                self._kill(change.key)
                if change.row is not None:
                    space = self._space(change.key[0])
                    space.slots[change.key[1]] = Slot(change.vector_id, change.embedding_hash, len(space.ids))
                    space.ids.append(change.key[1])
                    self._next_vector_id = max(self._next_vector_id, change.vector_id + 1)
            self._add_rows(changes)

    def _add_rows(self, changes: list[VectorChange]) -> None:
        for kind in _KINDS:
            rows = [change.row for change in changes if change.row is not None and change.key[0] == kind]
            if rows:
                self._space(kind).index.add(np.stack(rows))

    def reset(self) -> None:
        """Forget every vector, to be filled anew; ids go on growing, and the next persist writes a snapshot."""
        with self._lock:
            self._spaces = {}
            self._pending, self._group, self._frozen = [], [], None
            self._waiting = {kind: [] for kind in _KINDS}
            self._has_snapshot = False

    def forget_files(self) -> None:
        """Distrust snapshot and log on disk: the next persist writes both anew."""
        self._has_snapshot = False

    def close(self) -> None:
        """Release the log's descriptor."""
        self._log.close()


def _by_vector_id(item: tuple[str, Slot]) -> int:
    return item[1].vector_id
