"""What a report is made of: a store's counts, growth, sizes, history and map, as values.

It draws nothing, and changes nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from synthians_memory.config import StoreConfig
from synthians_memory.engine.rows import unpack
from synthians_memory.engine.store import Store
from synthians_memory.errors import (
    ChangedOutsideError,
    DamagedError,
    DiskError,
    EntityNotFoundError,
    SynthiansMemoryError,
)
from synthians_memory.layout import (
    ARCHIVE,
    ASSEMBLIES,
    BACKUPS,
    INDEX,
    INDEX_BACKUPS,
    INDEX_LOG,
    ISSUES,
    JOURNAL,
    LEDGER,
    LOGS,
    MEMORIES,
    QUARANTINE,
    REEMBEDDING,
    SNAPSHOTS,
    STATE,
    TEXT,
    VECTORS,
    file_name,
)
from synthians_memory.maintenance.care import own_directory, snapshots_in
from synthians_memory.maintenance.report.logs import Event, Pass, Traces
from synthians_memory.maintenance.report.memory_map import (
    Group,
    MapPoint,
    MemoryMap,
    projected,
    spread_sample,
    with_groups,
)
from synthians_memory.maintenance.snapshots import SnapshotInfo, list_snapshots
from synthians_memory.models import MemoryAssembly, MemoryEntry
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import Clock, from_micros

__all__ = ["Progress", "ReportFacts", "SizeOf", "gather_facts", "shown_text"]

# Called with what is gathered, how many steps of it are done, and of how many.
Progress = Callable[[str, int, int], None]

MOST_POINTS: Final = 2_000
_MOST_TITLE: Final = 80
_MOST_LABEL: Final = 40
# An assembly is read to know its members; beyond that colours are worth less than the time.
_MOST_ASSEMBLIES: Final = 500
_MOST_ROWS: Final = 1_000
# Of the sample, for something to be worth a colour.
_COVERED: Final = 0.2
# They turn the text that follows around, also that of others.
_DIRECTIONS: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_JOINING: Final = frozenset("\u200c\u200d")
_SPACES: Final = re.compile(r"\s+")

_FOLDERS: Final = (
    ("memories", MEMORIES), ("assemblies", ASSEMBLIES), ("journal", JOURNAL), ("vector index", VECTORS),
    ("text index", TEXT), ("snapshots", SNAPSHOTS), ("journal archive", ARCHIVE), ("index copies", INDEX_BACKUPS),
    ("quarantine", QUARANTINE), ("way back of the model", REEMBEDDING), ("state", STATE), ("ledger", LEDGER),
    ("logs", LOGS), ("alerts", ISSUES),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SizeOf:
    """How large one part of the store is."""

    name: str
    size: int
    files: int


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """Everything that a report shows.

    Attributes:
        location: the store's directory.
        made_at: when it was gathered.
        about: names and values for the foot of the page.
        memories, assemblies, vectors, expired: how many there are.
        created: of each memory, when, and the bytes of its file; in order of time.
        updated: of each memory, when it was last changed; microseconds since 1970, in order.
        sizes: of the parts of the store, the largest first.
        findings: of a quick check.
        passes: of the health monitor, oldest first.
        events: what happened, in order of time.
        snapshots: those in the store, oldest first.
        map: of the embeddings.
        problems: what could not be gathered, a sentence each.
    """

    location: str
    made_at: datetime
    about: tuple[tuple[str, str], ...]
    memories: int
    assemblies: int
    vectors: int
    expired: int
    created: tuple[tuple[int, int], ...]
    updated: tuple[int, ...]
    sizes: tuple[SizeOf, ...]
    findings: tuple[Finding, ...]
    passes: tuple[Pass, ...]
    events: tuple[Event, ...]
    snapshots: tuple[SnapshotInfo, ...]
    map: MemoryMap
    problems: tuple[str, ...]


def gather_facts(
    path: str, clock: Clock, *, config: StoreConfig, contents: bool, points: int, progress: Progress
) -> ReportFacts:
    """Read all that a report of the store at `path` shows; a program may go on writing meanwhile.

    Args:
        path: the store's directory.
        clock: source of time.
        config: settings.
        contents: whether contents of memories are read into titles.
        points: at most so many on the map.
        progress: called with what is gathered.

    Raises:
        NotAStoreError, StoreFormatError, DiskError: the store cannot be opened for reading.
    """
    store = Store.open(LocalBackend(path), config, clock, read_only=True)
    try:
        return _Gathering(store, clock, contents, points, progress).gather()
    finally:
        store.release()


class _Gathering:
    """One store, being read for a report."""

    def __init__(self, store: Store, clock: Clock, contents: bool, points: int, progress: Progress) -> None:
        self._store = store
        self._backend: Backend = store.state.backend
        self._clock = clock
        self._contents = contents
        self._points = points
        self._progress = progress
        self._problems: list[str] = []

    def gather(self) -> ReportFacts:
        self._progress("sizes", 0, 0)
        sizes, of_files = self._sizes()
        self._progress("history", 0, 0)
        traces = Traces(self._backend)
        passes, events, snapshots = traces.passes(), traces.events(), self._snapshots()
        created, updated = self._times(of_files)
        memory_map = self._map()
        self._progress("check", 0, 0)
        findings = self._findings()
        state = self._store.state
        return ReportFacts(
            location=self._backend.location,
            made_at=from_micros(self._clock.micros()),
            about=self._about(),
            memories=state.index.count("memory"),
            assemblies=state.index.count("assembly"),
            vectors=state.vectors.count("memory"),
            expired=state.index.expiry.count(self._clock.micros()),
            created=created,
            updated=updated,
            sizes=sizes,
            findings=findings,
            passes=tuple(passes[-_MOST_ROWS:]),
            events=tuple(events),
            snapshots=snapshots,
            map=memory_map,
            problems=(*self._problems, *traces.problems),
        )

    def _about(self) -> tuple[tuple[str, str], ...]:
        superblock = self._store.state.superblock
        return (
            ("store", superblock.store_id),
            ("format version", str(superblock.format_version)),
            ("metric", superblock.metric),
            ("numbers in a vector", str(superblock.embedding_dimension or "not fixed yet")),
            ("embedder", superblock.embedder or "callers bring their vectors"),
            ("last change", f"{self._store.state.index.position.sequence:,}"),
        )

    def _findings(self) -> tuple[Finding, ...]:
        try:
            return tuple(self._store.check("quick"))
        except SynthiansMemoryError as error:
            self._problems.append(error.message)
            return ()

    # Sizes

    def _sizes(self) -> tuple[tuple[SizeOf, ...], dict[str, int]]:
        """Of the parts of the store; and of each file of a memory, by its name."""
        of_files: dict[str, int] = {}
        found = []
        for name, folder in _FOLDERS:
            files = list(self._files_below(folder))
            if folder == MEMORIES:
                of_files = {path.rpartition("/")[2]: size for path, size in files}
            found.append(SizeOf(name, sum(size for _, size in files), len(files)))
        index = [stat.size for path in (INDEX, INDEX_LOG) if (stat := self._backend.stat(path)) is not None]
        found.append(SizeOf("memory index", sum(index), len(index)))
        found.sort(key=lambda one: (-one.size, one.name))
        return tuple(one for one in found if one.files), of_files

    def _files_below(self, folder: str) -> Iterator[tuple[str, int]]:
        folders = [folder]
        while folders:
            place = folders.pop()
            try:
                listed = list(self._backend.scan(place))
            except DiskError as error:
                self._problems.append(error.message)
                continue
            for name, stat in listed:
                path = f"{place}/{name}"
                if stat.kind == "folder":
                    folders.append(path)
                elif stat.kind == "file":
                    yield path, stat.size

    # Times

    def _times(self, of_files: Mapping[str, int]) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
        created, updated = [], []
        for memory_id, packed in self._store.state.index.rows["memory"].copy().items():
            row = unpack(packed)
            created.append((row.created_micros, of_files.get(file_name(memory_id), row.size)))
            updated.append(row.updated_micros)
        return tuple(sorted(created)), tuple(sorted(updated))

    def _snapshots(self) -> tuple[SnapshotInfo, ...]:
        if self._backend.stat(BACKUPS) is None:
            return ()
        try:
            with snapshots_in(own_directory(self._backend)) as folder:
                return tuple(list_snapshots(folder))
        except EntityNotFoundError:
            return ()
        except SynthiansMemoryError as error:
            self._problems.append(error.message)
            return ()

    # The map

    def _map(self) -> MemoryMap:
        vectors = self._store.state.vectors
        ids = sorted(vectors.hashes("memory"))
        entries, rows = [], []
        sample = spread_sample(ids, self._points)
        for number, memory_id in enumerate(sample):
            self._progress("map", number, len(sample))
            entry, vector = self._entry(memory_id), vectors.vector(("memory", memory_id))
            if entry is not None and vector is not None:
                entries.append(entry)
                rows.append(vector)
        if not entries:
            return MemoryMap(embedded=len(ids))
        places, explained = projected(np.asarray(rows, dtype=np.float32))
        grouped_by, labels = self._labels(entries)
        numbers, groups = with_groups(labels)
        points = tuple(
            MapPoint(float(x), float(y), number, self._title(entry))
            for (x, y), number, entry in zip(places, numbers, entries, strict=True)
        )
        named = tuple(Group(shown_text(group.name, _MOST_LABEL), group.count) for group in groups)
        return MemoryMap(points, named, grouped_by, len(ids), explained)

    def _entry(self, memory_id: str) -> MemoryEntry | None:
        """The memory; None where it is not served, because it has expired or its file is at fault."""
        try:
            entity = self._store.load(("memory", memory_id))
        except (DamagedError, ChangedOutsideError, DiskError):
            # What is wrong with it stands among the findings.
            return None
        return entity if isinstance(entity, MemoryEntry) else None

    def _title(self, entry: MemoryEntry) -> str:
        name = shown_text(entry.memory_id, _MOST_LABEL)
        return f"{name}: {shown_text(entry.content, _MOST_TITLE)}" if self._contents else name

    def _labels(self, entries: Sequence[MemoryEntry]) -> tuple[str, list[list[str]]]:
        """What the map is coloured by, and the labels of each entry: what covers enough of them, else nothing."""
        key = self._store.state.config.conversation_key
        conversations = [_conversation(entry.metadata, key) for entry in entries]
        for name, labels in (("conversation", conversations), ("tag", [list(entry.tags) for entry in entries])):
            if sum(map(bool, labels)) >= _COVERED * len(entries):
                return name, labels
        members = self._members()
        assemblies = [members.get(entry.memory_id, []) for entry in entries]
        if any(assemblies):
            return "assembly", assemblies
        return ("tag" if any(entry.tags for entry in entries) else ""), [list(entry.tags) for entry in entries]

    def _members(self) -> dict[str, list[str]]:
        """Memory -> names of the assemblies that list it, as far as a reasonable number of them tells."""
        found: dict[str, list[str]] = {}
        for assembly_id in spread_sample(self._store.state.index.ids("assembly"), _MOST_ASSEMBLIES):
            try:
                assembly = self._store.load(("assembly", assembly_id))
            except (DamagedError, ChangedOutsideError, DiskError):
                continue
            if isinstance(assembly, MemoryAssembly):
                for member in assembly.members:
                    found.setdefault(member, []).append(assembly.name or assembly_id)
        return found


def _conversation(metadata: Mapping[str, Any], key: str) -> list[str]:
    value = metadata.get(key)
    return [str(value)] if isinstance(value, str | int) and value != "" else []


def shown_text(text: str, most: int) -> str:
    """The beginning of `text` as one line, at most `most` characters, without what would steer a page or a terminal."""
    beginning = _SPACES.sub(" ", text[: 8 * most]).strip()
    kept = "".join(c if c.isprintable() or c in _JOINING else " " for c in beginning if c not in _DIRECTIONS)
    if len(kept) <= most and len(text) <= 8 * most:
        return kept
    cut = kept[: most - 1]
    # A sign that belongs to the one before it, or joins it to the next, is of no use at the end.
    while cut and (cut[-1] in _JOINING or unicodedata.combining(cut[-1]) or cut[-1].isspace()):
        cut = cut[:-1]
    return cut + "…"
