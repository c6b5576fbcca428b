"""The files of a store at rest, read as any other program could read them, to be compared with what they should hold.

It is not the engine: it shares with it the names in `layout` and the frame codec of the one binary log, nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from synthians_memory.engine.records import Key
from synthians_memory.engine.vector_log import decode_group, read_log
from synthians_memory.layout import (
    ENTITY_FOLDERS,
    FAISS_FILE,
    FAISS_NEXT,
    INDEX,
    INDEX_LOG,
    MAPPING,
    VECTORS_LOG,
    Kind,
    id_of_file_name,
    is_scratch,
)
from synthians_memory.models import Vector
from synthians_memory.storage.backend import Backend
from synthians_memory.testing.store_history import fail, require

__all__ = ["StoredFiles", "StoredVector", "all_files", "read_vector_ids", "read_vectors"]

_KINDS: Final[tuple[Kind, ...]] = ("memory", "assembly")
_MEMBERS: Final[dict[Kind, str]] = {"memory": "memories", "assembly": "assemblies"}
_HASH_LINE: Final = re.compile(rb'  "content_hash": "sha256:([0-9a-f]{64})"\n\}\n$')


class StoredVector(NamedTuple):
    """One vector as the files have it.

    Attributes:
        vector_id: its number.
        embedding_hash: hexadecimal.
        row: as it is indexed.
    """

    vector_id: int
    embedding_hash: str
    row: Vector


@dataclass
class StoredFiles:
    """What the files of a store say that it holds, once it was closed.

    Attributes:
        entities: the bytes of each entity file; each matches its own hash.
        index: the row of each entity in the memory index, snapshot and log together.
        vectors: the vector of each entity, snapshot and log together.
    """

    entities: dict[Key, bytes] = field(default_factory=dict)
    index: dict[Key, dict[str, Any]] = field(default_factory=dict)
    vectors: dict[Key, StoredVector] = field(default_factory=dict)

    @classmethod
    def read(cls, backend: Backend) -> StoredFiles:
        """Read all of them; AssertionError where one is not what it claims."""
        return cls(dict(_read_entities(backend)), _read_index(backend), read_vectors(backend))


def all_files(backend: Backend, folder: str = "") -> dict[str, bytes]:
    """Path and bytes of every regular file at or below `folder`."""
    found: dict[str, bytes] = {}
    for name, stat in backend.scan(folder):
        path = f"{folder}/{name}" if folder else name
        if stat.kind == "folder":
            found |= all_files(backend, path)
        elif stat.kind == "file":
            found[path] = backend.read(path) or b""
    return found


def _sealed(path: str, data: bytes) -> Any:
    """The document in `data`, whose last line is its hash."""
    found = _HASH_LINE.search(data)
    require(found, f"{path} has no hash line")
    body = data[: found.start()] if found else b""
    require(found and hashlib.sha256(body + b"}\n").hexdigest().encode() == found[1], f"{path} does not match its hash")
    return json.loads(data)


def _read_entities(backend: Backend) -> Iterator[tuple[Key, bytes]]:
    for kind in _KINDS:
        for name, _ in backend.scan(ENTITY_FOLDERS[kind]):
            entity_id = id_of_file_name(name)
            require(entity_id is not None or is_scratch(name), f"{name} is the file of no {kind}")
            if entity_id is not None:
                path = f"{ENTITY_FOLDERS[kind]}/{name}"
                data = backend.read(path) or b""
                document = _sealed(path, data)
                require(document[f"{kind}_id"] == entity_id, f"{path} holds {document[f'{kind}_id']!r}")
                yield (kind, entity_id), data


# The memory index


def _read_index(backend: Backend) -> dict[Key, dict[str, Any]]:
    data = backend.read(INDEX)
    if data is None:
        return {}
    document = _sealed(INDEX, data)
    rows: dict[Key, dict[str, Any]] = {}
    for kind, member in _MEMBERS.items():
        rows |= {(kind, entity_id): row for entity_id, row in document[member].items()}
        counted = document["metadata"][f"{kind}_count"]
        require(counted == len(document[member]), f"{INDEX} counts {counted} {member}, and has {len(document[member])}")
    for group in _index_groups(backend.read(INDEX_LOG) or b"", document["metadata"]):
        _apply_index_group(rows, group)
    return rows


def _index_groups(data: bytes, snapshot: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """The committed groups behind the snapshot."""
    lines = data.split(b"\n")[:-1]
    header = json.loads(lines[0]) if lines else {}
    if header.get("epoch") != snapshot["epoch"] or header["snapshot"] > snapshot["sequence"]:
        return
    group: list[bytes] = []
    for line in lines[1:]:
        found = json.loads(line)
        if "commit" not in found:
            group.append(line)
            continue
        text = b"\n".join([*group, str(found["commit"]).encode(), found["epoch"].encode()])
        require(f"{zlib.crc32(text):08x}" == found["crc"], f"{INDEX_LOG}: group {found['commit']} is not intact")
        if found["commit"] > snapshot["sequence"]:
            yield [json.loads(row) for row in group]
        group = []


def _apply_index_group(rows: dict[Key, dict[str, Any]], group: Iterable[dict[str, Any]]) -> None:
    for change in group:
        if "remove" in change:
            rows.pop((change["remove"], change["id"]), None)
        else:
            rows[change["put"], change["id"]] = change["row"]


# The vector index


def read_vectors(backend: Backend) -> dict[Key, StoredVector]:
    """The vectors in mapping, FAISS file and log together; AssertionError where they do not fit each other."""
    data = backend.read(MAPPING)
    if data is None:
        return {}
    document = _sealed(MAPPING, data)
    metadata = document["metadata"]
    vectors = dict(_snapshot_vectors(document, _faiss_rows(backend, metadata)))
    for key, vector in _logged_vectors(backend, metadata):
        vectors.pop(key, None)
        if vector is not None:
            vectors[key] = vector
    return vectors


def _faiss_rows(backend: Backend, metadata: dict[str, Any]) -> bytes:
    for path in (FAISS_FILE, FAISS_NEXT):
        data = backend.read(path)
        if data is not None and hashlib.sha256(data).hexdigest() == metadata["faiss_sha256"]:
            return data
    return fail(f"no file has the hash of {FAISS_FILE} that {MAPPING} names")


def _snapshot_vectors(document: dict[str, Any], faiss_file: bytes) -> Iterator[tuple[Key, StoredVector]]:
    """A flat index ends with its rows: those of the memories, then those of the assemblies."""
    entries = [((kind, i), slot) for kind, member in _MEMBERS.items() for i, slot in document[member].items()]
    row_bytes = document["metadata"]["dimension"] * 4
    start = len(faiss_file) - row_bytes * len(entries)
    for key, (vector_id, embedding_hash) in entries:
        yield key, StoredVector(vector_id, embedding_hash, np.frombuffer(faiss_file[start : start + row_bytes], "<f4"))
        start += row_bytes


def _logged_vectors(backend: Backend, snapshot: dict[str, Any]) -> Iterator[tuple[Key, StoredVector | None]]:
    log = read_log(backend.read(VECTORS_LOG) or b"", snapshot["store_id"])
    if log is None or log.start.epoch != snapshot["epoch"] or log.start.sequence > snapshot["sequence"]:
        return
    for position, payload in log.groups:
        if position.sequence > snapshot["sequence"]:
            for kind, slot, row in decode_group(payload, snapshot["dimension"]):
                vector = None
                if row is not None:
                    vector = StoredVector(slot.vector_id, slot.embedding_hash.hex(), np.frombuffer(row, "<f4"))
                yield (kind, slot.entity_id), vector


def read_vector_ids(backend: Backend) -> dict[int, tuple[Key, str]]:
    """Vector id -> whose it is, and its embedding hash; all different, or AssertionError."""
    vectors = read_vectors(backend)
    found = {vector.vector_id: (key, vector.embedding_hash) for key, vector in vectors.items()}
    require(len(found) == len(vectors), "two entities have the same vector id")
    return found
