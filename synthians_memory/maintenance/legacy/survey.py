"""The first look at a directory of the original code: which files are there, what each is, and which id it has.

It only reads, follows no symlink, opens no FIFO, and never opens a file because an index names it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from synthians_memory.errors import DiskError, InvalidValueError, NotAStoreError
from synthians_memory.layout import ASSEMBLIES, INDEX, MEMORIES, SUPERBLOCK, VECTORS, Kind
from synthians_memory.maintenance.legacy.conversion import Standby, id_in, kind_of, member_id, members_in
from synthians_memory.maintenance.legacy.fitting import Fitting
from synthians_memory.maintenance.legacy.kept import printable
from synthians_memory.maintenance.legacy.reading import parse_lenient
from synthians_memory.maintenance.legacy.report import NotImported
from synthians_memory.storage.backend import Backend, EntryStat

__all__ = ["MOST_BYTES", "Candidate", "Survey", "look_at", "pieces_of", "read_object"]

MOST_BYTES: Final = 64 << 20
_PIECE: Final = 1 << 20
_SUFFIX: Final = ".json"
# Derived files of the original code, by their last names.
_DERIVED: Final = re.compile(r"faiss_index\.bin.*|.*\.faiss|.*mapping.*\.(?:json|bin|pkl)")
_FOLDERS: Final[Mapping[str, Kind]] = {MEMORIES: "memory", ASSEMBLIES: "assembly"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that holds an entity.

    Attributes:
        path: in the source.
        kind: what it holds.
        entity_id: the id that it will have.
        standby: for what is missing in it.
    """

    path: str
    kind: Kind
    entity_id: str
    standby: Standby


@dataclass(slots=True)
class Survey:
    """What is in a directory of the original code.

    Attributes:
        chosen: of each entity the file that counts, memories first, in the order of their paths.
        doubles: other files of the same ids.
        problems: what is no entity, or cannot be read.
        ignored: derived files.
        dimension: the most frequent length of an embedding; None without one.
    """

    chosen: dict[tuple[Kind, str], Candidate] = field(default_factory=dict)
    doubles: list[Candidate] = field(default_factory=list)
    problems: list[NotImported] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    dimension: int | None = None


def look_at(source: Backend) -> Survey:
    """Survey a whole directory.

    Args:
        source: the directory; only read.

    Raises:
        NotAStoreError: it holds nothing of the original code.
        InvalidValueError: it is a store of this library.
        DiskError: the directory itself cannot be read.
    """
    if source.stat(SUPERBLOCK) is not None:
        raise InvalidValueError(
            f"{source.location} is a store of this library",
            hint="Open it as it is; `export` and `import` merge stores.",
        )
    surveyor = _Surveyor(source)
    for path, stat in _walk(source, "", surveyor.survey.problems):
        surveyor.take(path, stat)
    return surveyor.finish()


def _walk(source: Backend, folder: str, problems: list[NotImported]) -> Iterator[tuple[str, EntryStat]]:
    """Every entry that is no folder, in the order of the paths."""
    waiting = [folder]
    while waiting:
        below = waiting.pop()
        try:
            entries = sorted(source.scan(below))
        except DiskError as error:
            if not below:
                raise
            problems.append(NotImported(printable(below), "unreadable", error.message))
            continue
        prefix = f"{below}/" if below else ""
        waiting += [prefix + name for name, stat in reversed(entries) if stat.kind == "folder"]
        yield from ((prefix + name, stat) for name, stat in entries if stat.kind != "folder")


def pieces_of(source: Backend, path: str) -> Iterator[bytes]:
    """The bytes of a file, a piece at a time. Raises DiskError."""
    offset = 0
    while piece := source.read(path, offset, _PIECE):
        yield piece
        offset += len(piece)


def read_object(source: Backend, path: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InvalidValueError: it is no such thing.
        DiskError: it cannot be read.
    """
    found = parse_lenient(source.read(path) or b"")
    if not isinstance(found, dict):
        raise InvalidValueError("it is no JSON object")
    return found


class _Surveyor:
    """One survey while it goes on."""

    def __init__(self, source: Backend) -> None:
        self.survey = Survey()
        self._source = source
        self._lengths: Counter[int] = Counter()
        self._seen: set[str] = set()
        self._ids: set[str] = set()
        self._candidates: list[Candidate] = []
        # The index is known before any file is: by id, and by the last name of the path that it gives.
        self._index = self._read_index()
        self._by_name = {_last_name(entry): entry_id for entry_id, entry in self._index.items()}

    def take(self, path: str, stat: EntryStat) -> None:
        """Say what one entry is."""
        name = path.rpartition("/")[2]
        self._seen.add(name)
        if stat.kind == "other":
            self._problem(path, "not_regular", "it is a symlink, FIFO or device, and was neither followed nor opened")
        elif path == INDEX:
            return
        elif stat.size > MOST_BYTES:
            self._problem(path, "too_large", f"it has {stat.size} bytes, over {MOST_BYTES}")
        elif name.endswith(_SUFFIX):
            self._take_json(path, name, stat)
        elif _is_derived(path, name):
            self.survey.ignored.append(printable(path))
        else:
            self._problem(path, "no_entity", "it is no file of a memory or an assembly")

    def _take_json(self, path: str, name: str, stat: EntryStat) -> None:
        try:
            found = read_object(self._source, path)
        except InvalidValueError as error:
            derived = _is_derived(path, name)
            self.survey.ignored += [printable(path)] * derived
            if not derived:
                self._problem(path, "undecodable", error.message)
            return
        except DiskError as error:
            self._problem(path, "unreadable", error.message)
            return
        kind = kind_of(found, _FOLDERS.get(path.rpartition("/")[0].rpartition("/")[2], ""))
        if kind is not None:
            try:
                self._take_entity(path, name, stat, kind, found)
            except RecursionError:
                self._problem(path, "undecodable", "it is nested too deeply")
        elif _is_derived(path, name):
            self.survey.ignored.append(printable(path))
        else:
            self._problem(path, "no_entity", "it is neither a memory nor an assembly")

    def _take_entity(self, path: str, name: str, stat: EntryStat, kind: Kind, found: Mapping[str, Any]) -> None:
        own = id_in(found, kind)
        by_index = self._by_name.get(name)
        stem = by_index if own is None and by_index is not None else printable(name.removesuffix(_SUFFIX))
        indexed = self._index.get(own) if isinstance(own, str) else None
        entry = indexed if indexed is not None else self._index.get(by_index or "", {})
        standby = Standby(stem, stat.mtime_ns // 1000, entry)
        self._ids |= {text for text in (own, stem) if isinstance(text, str)}
        self._candidates.append(Candidate(path, kind, _final_id(own, stem), standby))
        for holder in (found, *(member for member in members_in(found) if isinstance(member, dict))):
            self._count(holder.get("embedding"), holder.get("composite_embedding"))

    def _count(self, *vectors: Any) -> None:
        self._lengths.update(len(vector) for vector in vectors if isinstance(vector, list) and vector)

    def finish(self) -> Survey:
        survey = self.survey
        for candidate in sorted(self._candidates, key=self._rank):
            key = (candidate.kind, candidate.entity_id)
            if key in survey.chosen:
                survey.doubles.append(candidate)
            else:
                survey.chosen[key] = candidate
        survey.chosen = dict(sorted(survey.chosen.items(), key=lambda item: (item[0][0] != "memory", item[1].path)))
        survey.dimension = min(self._lengths, key=lambda n: (-self._lengths[n], n), default=None)
        self._look_for_missing()
        if not (survey.chosen or self._index or any(self._source.stat(folder) for folder in _FOLDERS)):
            raise NotAStoreError(
                f"{self._source.location} holds no memories of the original code",
                path=self._source.location,
                hint="Give the directory that has its index, or its files of memories.",
            )
        return survey

    def _rank(self, candidate: Candidate) -> tuple[bool, bool, str]:
        """Of several files with one id that comes first which the index names, then that which is named after the id."""
        name = candidate.path.rpartition("/")[2]
        named_by_index = self._by_name.get(name) == candidate.entity_id
        own_name = name == candidate.entity_id.replace(":", "-") + _SUFFIX
        return not named_by_index, not own_name, candidate.path

    def _look_for_missing(self) -> None:
        for entry_id, entry in self._index.items():
            name = _last_name(entry)
            if entry_id not in self._ids and name not in self._seen:
                reason = f"the index names {printable(entry_id)!r}, and no file is there"
                self._problem(f"{INDEX}: {entry_id}", "missing", reason)

    def _read_index(self) -> dict[str, Mapping[str, Any]]:
        stat = self._source.stat(INDEX)
        if stat is None or stat.kind != "file":
            return {}
        try:
            found = read_object(self._source, INDEX) if stat.size <= MOST_BYTES * 16 else {}
        except InvalidValueError as error:
            self._problem(INDEX, "undecodable", f"{error.message}; the files were found without it")
            return {}
        self.survey.ignored.append(INDEX)
        return dict(_entries(found))

    def _problem(self, path: str, code: Any, reason: str) -> None:
        self.survey.problems.append(NotImported(path, code, reason))


def _entries(found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries of an index, flat or by kinds."""
    for entry_id, entry in found.items():
        if isinstance(entry, str):
            yield entry_id, {"path": entry}
        if not isinstance(entry, dict):
            continue
        if entry_id in _FOLDERS and not {"path", "timestamp"} & entry.keys():
            yield from _entries(entry)
        elif entry_id != "metadata" or "path" in entry:
            yield entry_id, entry


def _last_name(entry: Mapping[str, Any]) -> str:
    path = entry.get("path", entry.get("filepath"))
    return re.split(r"[/\\]", path)[-1] if isinstance(path, str) else ""


def _is_derived(path: str, name: str) -> bool:
    return _DERIVED.fullmatch(name) is not None or path.startswith(f"{VECTORS}/")


def _final_id(own: Any, stem: str) -> str:
    return Fitting().identifier(own if own is not None else stem, "id")


def member_ids(found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The id that each member which is listed whole will have, and the member."""
    for member in members_in(found):
        if isinstance(member, dict):
            yield _final_id(member_id(member), ""), member
