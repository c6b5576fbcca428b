"""The versions of one entity that are still to be had: in the store, in its journal and archive, in snapshots.

It brings none of them back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from synthians_memory.codec import content_hash_text, inspect, sealed_version
from synthians_memory.engine.documents import read_file
from synthians_memory.engine.records import Key
from synthians_memory.engine.superblock import load_superblock
from synthians_memory.errors import DamagedBackupError, DamagedViewError
from synthians_memory.layout import entity_path
from synthians_memory.maintenance.past import Past, epochs_of
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.storage.backend import Backend
from synthians_memory.times import format_time, from_micros

__all__ = ["PastVersion", "history_of"]


@dataclass(frozen=True, slots=True)
class PastVersion:
    """One version of an entity, or its deletion.

    Attributes:
        time: when it was written, or deleted, as far as the journal still tells: a restore to that moment has it. Else
            when it was updated.
        content_hash: "sha256:..."; None of a deletion.
        size: bytes of its file; 0 of a deletion.
        sources: where it is: "store", "journal", or "snapshot" and a name.
    """

    time: datetime
    content_hash: str | None
    size: int
    sources: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "time": format_time(self.time),
            "content_hash": self.content_hash,
            "size": self.size,
            "sources": list(self.sources),
        }


def history_of(store: Backend, key: Key, folder: SnapshotFolder | None = None) -> list[PastVersion]:
    """What is known of one entity, oldest first; damaged files and snapshots are left out.

    Args:
        store: the store.
        key: whose.
        folder: its snapshots, held by the caller; None: without them.

    Raises:
        DiskError: something cannot be read.
    """
    versions: dict[str, PastVersion] = {}
    deletions: dict[int, PastVersion] = {}
    for source, data in (*_stored(folder, key), *_present(store, key)):
        _note(versions, key, source, data)
    for micros, written in _journaled(store, key):
        if written is None:
            deletions[micros] = PastVersion(from_micros(micros), None, 0, ("journal",))
        else:
            _note(versions, key, "journal", written, micros)
    return sorted((*versions.values(), *deletions.values()), key=lambda version: version.time)


def _note(versions: dict[str, PastVersion], key: Key, source: str, data: bytes, wall_micros: int | None = None) -> None:
    if inspect(*key, data).state != "sealed":
        return
    version = sealed_version(key[0], data)
    digest = content_hash_text(version.hash)
    before = versions[digest].sources if digest in versions else ()
    sources = tuple(dict.fromkeys((*before, source)))
    micros = version.updated_micros if wall_micros is None else wall_micros
    versions[digest] = PastVersion(from_micros(micros), digest, len(data), sources)


def _stored(folder: SnapshotFolder | None, key: Key) -> Iterator[tuple[str, bytes]]:
    for manifest in folder.listing().manifests if folder is not None else ():
        try:
            digest = folder.find(manifest, entity_path(*key)) if folder is not None else None
            if digest is not None and folder is not None:
                yield f"snapshot {manifest.name}", folder.entity(digest)
        except DamagedBackupError:
            continue


def _present(store: Backend, key: Key) -> Iterator[tuple[str, bytes]]:
    data = read_file(store, entity_path(*key))
    if data is not None:
        yield "store", data


def _journaled(store: Backend, key: Key) -> Iterator[tuple[int, bytes | None]]:
    try:
        superblock = load_superblock(store)
    except DamagedViewError:
        return
    if superblock is None:
        return
    for epoch in epochs_of(store, superblock.store_id):
        for _, wall, record in Past(store, superblock.store_id, epoch).changes():
            if record.key == key:
                yield wall, record.data
