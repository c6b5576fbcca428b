"""Traces removed from quarantine: whole folders where they are the entities' own, records blanked in pieces of journals.

It is the one exception to nothing in quarantine being deleted, and touches nothing that names another entity.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import orjson

from synthians_memory.engine.documents import read_file, write_whole
from synthians_memory.engine.replaced_stores import purge_replaced_stores
from synthians_memory.engine.traces import Traces
from synthians_memory.layout import JOURNAL, QUARANTINE, REPAIR_PLAN
from synthians_memory.reports import PurgedPlace
from synthians_memory.storage.backend import Backend

__all__ = ["purge_quarantine"]

_NOTE: Final = "reason.json"


def purge_quarantine(backend: Backend, traces: Traces, *, dry_run: bool = False) -> list[PurgedPlace]:
    """Remove what is the entities' own, and blank their records elsewhere, durably; idempotent.

    What was found of them is learnt first, so that remains without a name are known as well. `dry_run`: only say where.

    Raises:
        DiskError: something may be left.
    """
    replaced = purge_replaced_stores(backend, traces, dry_run=dry_run)
    folders = sorted(f"{QUARANTINE}/{name}" for name, stat in backend.scan(QUARANTINE) if stat.kind == "folder")
    origins = {folder: _origin(backend, folder) for folder in folders}
    own = [folder for folder in folders if _is_own(backend, folder, origins[folder], traces)]
    for folder in own:
        for path in _files(backend, folder):
            traces.learn(read_file(backend, path) or b"")
    places = [place for folder in own for place in _places(backend, folder)]
    pieces = [folder for folder in folders if folder not in own and _is_piece(origins[folder])]
    blanks = [blank for folder in pieces for blank in _blanks(backend, folder, traces)]
    if not dry_run:
        for place in places:
            backend.unlink(place.path)
        for folder in own:
            backend.sync_folder(folder)
            if next(backend.scan(folder), None) is None:
                backend.remove_folder(folder)
        if own:
            backend.sync_folder(QUARANTINE)
        for place, data in blanks:
            write_whole(backend, place.path, [data])
    return [*replaced, *places, *(place for place, _ in blanks)]


def _origin(backend: Backend, folder: str) -> str:
    """Where what stands in the folder came from; "" where its note does not tell."""
    for name in (f"of_{_NOTE}", _NOTE):
        try:
            found = orjson.loads(read_file(backend, f"{folder}/{name}") or b"")
        except orjson.JSONDecodeError:
            continue
        if isinstance(found, dict) and isinstance(found.get("path"), str) and "reason" in found:
            origin: str = found["path"]
            return origin
    return ""


def _files(backend: Backend, folder: str) -> Iterator[str]:
    for name, stat in sorted(backend.scan(folder)):
        if stat.kind == "file":
            yield f"{folder}/{name}"


def _is_own(backend: Backend, folder: str, origin: str, traces: Traces) -> bool:
    if not origin and any(path.rpartition("/")[2] in traces.file_names for path in _files(backend, folder)):
        # An earlier attempt got as far as the note.
        return True
    if origin in traces.paths or _is_piece(origin):
        return origin in traces.paths
    judge = traces.mentions if origin == REPAIR_PLAN else traces.names
    return any(judge(read_file(backend, path) or b"") for path in _files(backend, folder))


def _is_piece(origin: str) -> bool:
    """Whether it may be a stretch of a journal: it came from there, or nothing tells."""
    return not origin or origin.startswith(f"{JOURNAL}/")


def _places(backend: Backend, folder: str) -> Iterator[PurgedPlace]:
    # The note last: it tells what the others are.
    for name, stat in sorted(backend.scan(folder), key=lambda entry: (entry[0].endswith(_NOTE), entry[0])):
        if stat.kind != "folder":
            yield PurgedPlace(f"{folder}/{name}", "set aside by a repair or a recovery", "removed", stat.size)


def _blanks(backend: Backend, folder: str, traces: Traces) -> Iterator[tuple[PurgedPlace, bytes]]:
    """Each piece with records of the entities: where it stands, and what shall stand there."""
    for path in _files(backend, folder):
        data, count = traces.blanked(read_file(backend, path) or b"")
        if count:
            yield PurgedPlace(path, "piece of a journal that was set aside", "blanked", count), data
