"""From a store without a superblock, one JSON file per entity and an index that is not sealed, to format version 1.

It is not the import of the original code's own layouts, whose files are of another form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from synthians_memory.codec import MODELS, Inspection, encode, inspect
from synthians_memory.engine.documents import write_whole
from synthians_memory.errors import InvalidValueError, NotAStoreError, NotRegularFileError, SynthiansMemoryError
from synthians_memory.json_values import parse_strict
from synthians_memory.layout import (
    ENTITY_FOLDERS,
    INDEX,
    QUARANTINE,
    VECTORS,
    Kind,
    file_name,
    is_scratch,
    validate_id,
)
from synthians_memory.maintenance.migrations.step import Migration, Workplace
from synthians_memory.times import to_micros

__all__ = ["MIGRATION"]

_METRIC: Final = "cosine"
_SUFFIX: Final = ".json"


@dataclass(frozen=True, slots=True)
class _File:
    """Attributes:
    kind, path: of the file.
    wanted: the path that it should have.
    entity_id: of what it holds; None where that is no valid entity.
    length: of its vector; 0 without one.
    reason: why it holds no valid entity.
    """

    kind: Kind
    path: str
    wanted: str
    entity_id: str | None = None
    length: int = 0
    reason: str = ""


def _run(place: Workplace) -> Mapping[str, Any]:
    """Give every file the name of its id and its seal, set the old views aside, and say what the superblock holds."""
    found = list(_files(place))
    if not any(file.entity_id is not None for file in found) and (found or place.backend.stat(INDEX) is None):
        raise NotAStoreError(
            f"{place.backend.location} holds no files of memories or assemblies that could be migrated",
            path=place.backend.location,
            hint="A directory of the original code is taken over by `import-legacy`, into a new store.",
        )
    dimension = _dimension(place, found)
    _note_missing(place, {file.entity_id for file in found})
    if not place.dry_run:
        _put_right(place, found)
        _set_views_aside(place)
    return {
        "store_id": place.new_id(),
        "epoch": place.new_id(),
        "embedding_dimension": dimension,
        "metric": _METRIC,
        "embedder": None,
    }


MIGRATION: Final = Migration(0, "give it a superblock, and each file its seal and the name of its id", _run)


def _files(place: Workplace) -> Iterator[_File]:
    names = [
        (kind, folder, name)
        for kind, folder in ENTITY_FOLDERS.items()
        for name, stat in sorted(place.backend.scan(folder))
        if stat.kind == "file" and name.endswith(_SUFFIX) and not is_scratch(name)
    ]
    for number, (kind, folder, name) in enumerate(names, 1):
        file = _file(place, kind, folder, name)
        if file.entity_id is None:
            place.notes.append(f"{file.path} is left as it is: {file.reason}")
        yield file
        if place.progress is not None:
            place.progress(number, len(names))


def _file(place: Workplace, kind: Kind, folder: str, name: str) -> _File:
    path = f"{folder}/{name}"
    try:
        data = place.backend.read(path) or b""
        own = parse_strict(data, name).get(MODELS[kind].id_field)
        wanted = f"{folder}/{file_name(validate_id(own))}"
    except (InvalidValueError, NotRegularFileError) as error:
        return _File(kind, path, path, reason=error.message)
    except (AttributeError, SynthiansMemoryError):
        return _File(kind, path, path, reason="it has no id that a store takes")
    judged = inspect(kind, own, data)
    if judged.entity is None:
        return _File(kind, path, path, reason=judged.reason)
    vector = judged.entity.vector
    return _File(kind, path, wanted, own, 0 if vector is None else len(vector))


def _dimension(place: Workplace, found: list[_File]) -> int | None:
    """The length that most vectors have."""
    counts = Counter(file.length for file in found if file.length)
    dimension = min(counts, key=lambda n: (-counts[n], n), default=None)
    for file in found:
        if file.length not in (0, dimension):
            what = f"{file.path} has a vector of {file.length} numbers, most have {dimension}"
            place.notes.append(f"{what}: check reports it")
    return dimension


def _put_right(place: Workplace, found: list[_File]) -> None:
    for file in found:
        if file.wanted != file.path and not place.backend.rename_new(file.path, file.wanted):
            place.notes.append(f"{file.path} is left as it is: {file.wanted} is there already")
        elif file.entity_id is not None:
            _seal(place, file.wanted, inspect(file.kind, file.entity_id, place.backend.read(file.wanted) or b""))
    for folder in ENTITY_FOLDERS.values():
        place.backend.make_folder(folder)
        # Also for an attempt before, which may have died in between.
        place.backend.sync_folder(folder)
    place.backend.sync_folder("")


def _seal(place: Workplace, path: str, found: Inspection) -> None:
    """Write a file in the form of today, with the update time that it has."""
    if found.entity is not None and found.state != "sealed":
        times = found.entity.__dict__
        stamped = to_micros(times["updated_at"] or times["created_at"])
        write_whole(place.backend, path, [encode(found.entity).stamp(stamped).data])


def _set_views_aside(place: Workplace) -> None:
    """The views of before stay readable for people; this store makes its own."""
    place.backend.make_folder(QUARANTINE)
    place.backend.sync_folder("")
    views = [f"{VECTORS}/{name}" for name, _ in sorted(place.backend.scan(VECTORS)) if not is_scratch(name)]
    for path in (INDEX, *views):
        if place.backend.stat(path) is not None:
            place.quarantine.move(path, "it belonged to the store before its migration to format version 1")
    # What an attempt before moved may be in the cache only.
    place.quarantine.sync()


def _note_missing(place: Workplace, ids: set[str | None]) -> None:
    try:
        data = place.backend.read(INDEX)
        index = parse_strict(data, INDEX) if data is not None else {}
    except (InvalidValueError, NotRegularFileError) as error:
        place.notes.append(f"{error.message}; the files were found without it")
        return
    for kind in ENTITY_FOLDERS.values():
        listed = index.get(kind) if isinstance(index, dict) else None
        for entity_id in sorted(cast("dict[str, Any]", listed if isinstance(listed, dict) else {}).keys() - ids):
            place.notes.append(f"{INDEX} names {entity_id!r}, which has no file, or none that is valid")
