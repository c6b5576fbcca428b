"""Traces removed from whole stores in quarantine, which a restore has put there in the place of what it brought back.

It does not remove such a store: what is derived in it goes, since it can be built again, and of its sources only the
entities' own files and records.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from synthians_memory.engine.documents import read_file, write_whole
from synthians_memory.engine.traces import Traces
from synthians_memory.layout import (
    ENTITY_FOLDERS,
    INDEX,
    INDEX_BACKUPS,
    INDEX_LOG,
    JOURNAL,
    QUARANTINE,
    REEMBEDDING,
    TEXT,
    VECTORS,
)
from synthians_memory.reports import PurgedPlace
from synthians_memory.storage.backend import Backend

__all__ = ["REPLACED", "holds_others", "purge_replaced_stores"]

# The name of such a store in the folder of its moment.
REPLACED: Final = "store"
_DERIVED: Final = (INDEX, INDEX_LOG, f"{INDEX_BACKUPS}/", f"{VECTORS}/", f"{TEXT}/", f"{REEMBEDDING}/")


def purge_replaced_stores(backend: Backend, traces: Traces, *, dry_run: bool = False) -> list[PurgedPlace]:
    """Remove the entities' files and whatever is derived, and blank their records, durably; idempotent.

    What is found of them is learnt. `dry_run`: only say where.

    Raises:
        DiskError: something may be left.
    """
    places: list[PurgedPlace] = []
    for name, stat in sorted(backend.scan(QUARANTINE)):
        root = f"{QUARANTINE}/{name}/{REPLACED}"
        inner = backend.stat(root) if stat.kind == "folder" else None
        if inner is not None and inner.kind == "folder":
            places += _purge_one(backend, root, traces, dry_run=dry_run)
    return places


def holds_others(folder: str) -> bool:
    """Whether `folder` holds the entity files of such a store, of which others than the purged are not looked into."""
    top, _, rest = folder.partition("/")
    return top == QUARANTINE and rest.partition("/")[2] in {f"{REPLACED}/{kept}" for kept in ENTITY_FOLDERS.values()}


def _purge_one(backend: Backend, root: str, traces: Traces, *, dry_run: bool) -> list[PurgedPlace]:
    gone = list(_removed(backend, root, traces))
    blanks = list(_blanked(backend, root, traces))
    if not dry_run:
        for place in gone:
            backend.unlink(place.path)
        for folder in sorted({place.path.rpartition("/")[0] for place in gone}):
            backend.sync_folder(folder)
        for place, data in blanks:
            write_whole(backend, place.path, [data])
    return [*gone, *(place for place, _ in blanks)]


def _removed(backend: Backend, root: str, traces: Traces) -> Iterator[PurgedPlace]:
    for path, size in _files(backend, root):
        inside = path.removeprefix(f"{root}/")
        if inside in traces.paths:
            traces.learn(read_file(backend, path) or b"")
            yield PurgedPlace(path, "entity file that a restore replaced", "removed", size)
        elif inside.startswith(_DERIVED):
            yield PurgedPlace(path, "derived from a store that a restore replaced", "removed", size)


def _blanked(backend: Backend, root: str, traces: Traces) -> Iterator[tuple[PurgedPlace, bytes]]:
    for path, _ in _files(backend, f"{root}/{JOURNAL}"):
        data, count = traces.blanked(read_file(backend, path) or b"")
        if count:
            yield PurgedPlace(path, "journal of a store that a restore replaced", "blanked", count), data


def _files(backend: Backend, folder: str) -> Iterator[tuple[str, int]]:
    for name, stat in sorted(backend.scan(folder)):
        path = f"{folder}/{name}"
        if stat.kind == "file":
            yield path, stat.size
        elif stat.kind == "folder":
            yield from _files(backend, path)
