"""What the files of the vector index hold, verified: the snapshot (mapping and FAISS file) and the log.

It is not the view: it keeps nothing, and writes nothing.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from synthians_memory.codec import unseal
from synthians_memory.config import Metric
from synthians_memory.engine.documents import read_file
from synthians_memory.engine.exact import RowIndex
from synthians_memory.engine.exact_rows import FiledRows
from synthians_memory.engine.flat_file import MOST_DIMENSIONS, FlatFile, RowScan
from synthians_memory.engine.sections import Members, read_sections
from synthians_memory.engine.vector_log import VectorLog, read_log
from synthians_memory.engine.view import Position
from synthians_memory.errors import DamagedViewError, InvalidValueError
from synthians_memory.layout import FAISS_FILE, FAISS_NEXT, MAPPING, VECTORS_LOG, Kind
from synthians_memory.storage.backend import Backend

__all__ = ["MEMBERS", "Coded", "Mapping", "Slots", "VectorFiles", "read_vector_files"]

MEMBERS: Final[dict[Kind, str]] = {"memory": "memories", "assembly": "assemblies"}
_KINDS: Final[dict[str, Kind]] = {member: kind for kind, member in MEMBERS.items()}
_HASH_BYTES: Final = 16
# Some 600 lines.
_PIECE: Final = 32 * 1024
_ERRORS: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Slots(NamedTuple):
    """Whose the rows of one kind are, in columns of equal length, in the order of the rows.

    Attributes:
        entity_ids: all different.
        vector_ids: of each vector.
        hashes: of the embeddings, 16 bytes each.
    """

    entity_ids: list[str]
    vector_ids: array[int]
    hashes: list[bytes]

    @classmethod
    def of(cls, found: dict[str, Any]) -> Slots:
        """The slots in a part of the mapping; TypeError, ValueError or OverflowError where it is none."""
        vector_ids, texts = zip(*found.values(), strict=True) if found else ((), ())
        raw = bytes.fromhex("".join(texts))
        if set(map(len, texts)) - {2 * _HASH_BYTES} or len(raw) != _HASH_BYTES * len(texts):
            raise InvalidValueError("a hash has another length")
        hashes = [raw[at : at + _HASH_BYTES] for at in range(0, len(raw), _HASH_BYTES)]
        return cls(list(found), array("Q", vector_ids), hashes)

    def extend(self, more: Slots) -> None:
        """Append the slots of `more`."""
        self.entity_ids.extend(more.entity_ids)
        self.vector_ids.extend(more.vector_ids)
        self.hashes.extend(more.hashes)


class Mapping(NamedTuple):
    """What mapping.json says.

    Attributes:
        position: how far the snapshot reaches.
        dimension, metric, store_id: of the store that wrote it.
        next_vector_id: greater than every vector id given.
        faiss_bytes, faiss_sha256: of the FAISS file that belongs to it.
        slots: of the FAISS file's rows: the memories', then the assemblies'.
    """

    position: Position
    dimension: int
    metric: str
    store_id: str
    next_vector_id: int
    faiss_bytes: int
    faiss_sha256: str
    slots: dict[Kind, Slots]


class VectorFiles(NamedTuple):
    """What the files hold.

    Attributes:
        problem: what is wrong with the snapshot, in words; "" where nothing is. Then nothing but `mapping` counts.
        mapping: None where there is none, or where it cannot be read.
        rows: those of the snapshot.
        next_counts: the FAISS file was not renamed to its final name yet.
        log: what has been added since; None where the file is missing, or where its header is not intact.
        log_bytes: length of the log; -1 where it is missing.
        outlived: the files are of another dimension than the store.
    """

    problem: str = ""
    mapping: Mapping | None = None
    rows: RowIndex | None = None
    next_counts: bool = False
    log: VectorLog | None = None
    log_bytes: int = -1
    outlived: bool = False


# Makes an index that holds codes for rows that stay in their file.
Coded = Callable[[FiledRows, int], RowIndex]


def read_vector_files(
    backend: Backend, store_id: str, metric: Metric, dimension: int | None, coded: Coded | None = None
) -> VectorFiles:
    """Read and verify the files of the vector index; changes nothing. Thread-safe.

    Args:
        backend: where they are.
        store_id: of the store.
        metric: of the store.
        dimension: of the store; None where it is not fixed yet.
        coded: takes the rows of a flat file and their dimension; None: rows are read into memory.

    Raises:
        DiskError: one of them cannot be read.
    """
    mapping, problem = _read_mapping(backend)
    if mapping is None:
        return VectorFiles(problem)
    if mapping.metric != metric or mapping.store_id != store_id:
        return VectorFiles(f"{MAPPING} belongs to another store or metric")
    if dimension is not None and mapping.dimension != dimension:
        return VectorFiles(f"{MAPPING} is of another dimension than the store", outlived=True)
    try:
        rows, next_counts = _read_rows(backend, mapping, metric, coded)
    except DamagedViewError as error:
        return VectorFiles(error.message, mapping)
    if len(rows) != sum(len(slots.entity_ids) for slots in mapping.slots.values()):
        return VectorFiles(f"{FAISS_FILE} holds another number of vectors than {MAPPING}", mapping)
    data = read_file(backend, VECTORS_LOG)
    log, total = (None, -1) if data is None else (read_log(data, store_id), len(data))
    return VectorFiles("", mapping, rows, next_counts, log, total)


def _read_mapping(backend: Backend) -> tuple[Mapping | None, str]:
    """What mapping.json says, or what is wrong with it; neither where there is none."""
    data = read_file(backend, MAPPING)
    if data is None:
        # Before the first vector there are no files; whether that is right, the memory index knows.
        return None, ""
    claimed, computed = unseal(data)
    if claimed != computed:
        return None, f"{MAPPING} does not match its content_hash"
    try:
        return read_sections(data, list(_KINDS), _mapping_of, _PIECE), ""
    except _ERRORS as error:
        return None, f"{MAPPING} is no mapping: {error}"


def _mapping_of(members: Iterator[Members]) -> Mapping:
    slots = {kind: Slots.of({}) for kind in MEMBERS}
    metadata: dict[str, Any] = {}
    for name, found in members:
        if name:
            slots[_KINDS[name]].extend(Slots.of(found))
        else:
            metadata = found["metadata"]
    if any(len(set(column.entity_ids)) != len(column.entity_ids) for column in slots.values()):
        raise InvalidValueError("an id occurs twice")
    return Mapping(
        Position(str(metadata["epoch"]), int(metadata["sequence"])),
        int(metadata["dimension"]),
        metadata["metric"],
        metadata["store_id"],
        int(metadata["next_vector_id"]),
        int(metadata["faiss_bytes"]),
        str(metadata["faiss_sha256"]),
        slots,
    )


def _read_rows(backend: Backend, mapping: Mapping, metric: Metric, coded: Coded | None) -> tuple[RowIndex, bool]:
    """The rows in the file that `mapping` names, and whether that is the one which was not renamed yet."""
    log = backend.stat(VECTORS_LOG)
    for path in (FAISS_FILE, FAISS_NEXT):
        stat = backend.stat(path)
        if stat is None or stat.kind != "file" or stat.size != mapping.faiss_bytes:
            continue
        if coded is not None and (found := _coded_rows(backend, path, mapping, metric, coded)) is not None:
            return found, path == FAISS_NEXT
        file = FlatFile(mapping.faiss_bytes, mapping.dimension, metric, spare_bytes=log.size if log else 0)
        digest = _feed(backend, path, file)
        if _is_named(digest, mapping):
            return file.index(), path == FAISS_NEXT
    raise DamagedViewError(f"{FAISS_FILE} does not match the hash in {MAPPING}", path=FAISS_FILE)


def _coded_rows(backend: Backend, path: str, mapping: Mapping, metric: Metric, coded: Coded) -> RowIndex | None:
    """Codes of the rows in the file at `path`; None where it is not the one that `mapping` names, or not a flat one."""
    if not 0 < mapping.dimension <= MOST_DIMENSIONS:
        return None
    file = backend.open_read(path)
    if file is None:
        return None
    scan = RowScan(mapping.faiss_bytes, mapping.dimension, metric)
    named = _is_named(_feed(backend, path, scan), mapping)
    filed = scan.filed(file) if named else None
    if filed is None:
        file.close()
        return None
    return coded(filed, mapping.dimension)


def _feed(backend: Backend, path: str, file: FlatFile | RowScan) -> str:
    """Hand the bytes at `path` to `file`; returns their hash."""
    hasher = hashlib.sha256()
    offset = 0
    while piece := backend.read(path, offset, file.wanted):
        hasher.update(piece)
        offset += len(piece)
        file.take(piece)
    return hasher.hexdigest()


def _is_named(digest: str, mapping: Mapping) -> bool:
    """Whether a file of this hash belongs to `mapping`; before that is known, nothing of it counts."""
    return digest == mapping.faiss_sha256
