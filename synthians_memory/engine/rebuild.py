"""Derived views made anew, or made to agree again, from the entity files.

It is not recovery: it is told what to rebuild, and changes no entity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import repeat
from typing import Final

import numpy as np

from synthians_memory.codec import inspect, sealed_version
from synthians_memory.engine.documents import read_file
from synthians_memory.engine.foreign_files import inspect_for
from synthians_memory.engine.index import Rows
from synthians_memory.engine.records import Key
from synthians_memory.engine.rows import NO_VECTOR, embedding_hash_of, embedding_hashes_of, has_stat, pack_change
from synthians_memory.engine.state import StoreState
from synthians_memory.engine.view import Change, describe
from synthians_memory.layout import ENTITY_FOLDERS, Kind, entity_path, id_of_file_name
from synthians_memory.storage.backend import Backend, EntryStat

__all__ = ["entity_files", "rebuild_index", "reconcile_vectors", "vector_change", "vector_defects"]

_KINDS: Final[tuple[Kind, ...]] = ("memory", "assembly")
_CHUNK: Final = 1000


def entity_files(backend: Backend, kind: Kind) -> Iterator[tuple[str, EntryStat]]:
    """Id and stat of every regular file that an entity of `kind` may have."""
    for name, stat in backend.scan(ENTITY_FOLDERS[kind]):
        entity_id = id_of_file_name(name)
        if entity_id is not None and stat.kind == "file":
            yield entity_id, stat


def rebuild_index(state: StoreState) -> list[Key]:
    """Fill the memory index with a row for every sealed, valid entity file.

    What it held before serves as a hint: a file of the same size and time is taken to hold the same
    version. Files that are not sealed are left to check.

    Returns:
        The entities of the hint that have no file: deleted since, or lost.

    Raises:
        DiskError: something could not be read.
    """
    backend, index = state.backend, state.index
    hint: Rows = index.rows
    index.rows = {"memory": {}, "assembly": {}}
    for kind in _KINDS:
        if next(backend.scan(ENTITY_FOLDERS[kind]), None) is None:
            # A folder that lost everything is more likely unmounted than emptied: check decides.
            for entity_id, packed in hint[kind].items():
                index.put_row((kind, entity_id), packed)
        for entity_id, stat in entity_files(backend, kind):
            hinted = hint[kind].get(entity_id)
            known = hinted is not None and has_stat(hinted, stat)
            row = hinted if known else _read_row(state, (kind, entity_id), stat)
            if row is not None:
                index.put_row((kind, entity_id), row)
    index.forget_files()
    rowless: list[Key] = [(kind, i) for kind in _KINDS for i in hint[kind] if i not in index.rows[kind]]
    return sorted(key for key in rowless if backend.stat(entity_path(*key)) is None)


def _read_row(state: StoreState, key: Key, stat: EntryStat) -> bytes | None:
    data = read_file(state.backend, entity_path(*key))
    if data is None or inspect_for(state, key, data).state != "sealed":
        return None
    return pack_change(describe(sealed_version(key[0], data))._replace(stat=stat))


def vector_defects(state: StoreState) -> Iterator[tuple[str, Key]]:
    """Every entity whose vector is missing, stale or orphaned: (finding code, key)."""
    for kind in _KINDS:
        present = state.vectors.hashes(kind)
        rows = state.index.rows[kind].copy()
        if not _agree(rows, present):
            for code, entity_id in _differences(rows, present):
                yield code, (kind, entity_id)


def _agree(rows: Mapping[str, bytes], present: Mapping[str, bytes]) -> bool:
    """Whether the same ids have vectors of the same hashes; all of them compared in one step."""
    in_order = list(present) == list(rows)
    found = b"".join(present.values() if in_order else map(present.get, rows, repeat(NO_VECTOR)))
    wanted = embedding_hashes_of(rows.values())
    # The number tells of vectors whose ids have no row, or a row without a vector.
    return found == wanted.tobytes() and len(present) == np.count_nonzero(wanted.any(axis=1))


def _differences(rows: Mapping[str, bytes], present: dict[str, bytes]) -> Iterator[tuple[str, str]]:
    for entity_id, packed in rows.items():
        wanted = embedding_hash_of(packed)
        found = present.pop(entity_id, None)
        if wanted != found:
            yield "vector_missing" if found is None else "vector_stale" if wanted else "vector_orphan", entity_id
    for entity_id in present:
        yield "vector_orphan", entity_id


def vector_change(state: StoreState, key: Key) -> Change | None:
    """The change that makes the vector index agree with the acknowledged version of an entity.

    None where its file is damaged or another version, which check reports by itself.
    """
    decided, version = state.decided(key)
    wanted = state.index.hash(key)
    if wanted is None:
        return Change(key, None)
    if not decided:
        data = read_file(state.backend, entity_path(*key))
        found = inspect(*key, data) if data is not None else None
        if found is None or found.hash != wanted or found.state != "sealed":
            return None
        version = sealed_version(key[0], found.data)
    if version is None:
        return Change(key, None)
    vector = version.entity.vector
    dimension = state.superblock.embedding_dimension
    if vector is not None and dimension is not None and len(vector) != dimension:
        return None
    return describe(version)


def reconcile_vectors(state: StoreState) -> list[Key]:
    """Make the vector index agree with the memory index, by id and hash, deletions included.

    Returns:
        Whose vectors were wrong, but for entities that cannot be read: check names them.

    Raises:
        DiskError: an entity file cannot be read.
    """
    mended: list[Key] = []
    changes: list[Change] = []
    for _, key in vector_defects(state):
        change = vector_change(state, key)
        if change is not None:
            changes.append(change)
            mended.append(key)
        if len(changes) >= _CHUNK:
            state.vectors.apply(changes)
            changes = []
    state.vectors.apply(changes)
    return sorted(mended)
