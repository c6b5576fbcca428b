"""Check: does the disk hold what was acknowledged? It never writes.

It is not repair: what it finds are values, and `repair` decides what to do about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import filterfalse, islice
from typing import Final, TypeVar

import numpy as np

from synthians_memory.codec import Inspection, version_of
from synthians_memory.config import CheckLevel
from synthians_memory.engine.exact import prepare
from synthians_memory.engine.foreign_files import inspect_for
from synthians_memory.engine.index import MemoryIndex
from synthians_memory.engine.journal_findings import (
    damage_findings,
    foreign_findings,
    headless_findings,
    loss_findings,
    torn_findings,
    unreadable_findings,
)
from synthians_memory.engine.obstacles import obstacle_findings
from synthians_memory.engine.previous import read_previous
from synthians_memory.engine.rebuild import vector_defects
from synthians_memory.engine.records import Key
from synthians_memory.engine.rows import has_stat
from synthians_memory.engine.staged import read_staged
from synthians_memory.engine.stale_embeddings import is_stale
from synthians_memory.engine.state import StoreState
from synthians_memory.engine.superblock import load_superblock
from synthians_memory.engine.text_source import StateSource
from synthians_memory.engine.vector_rows import RowStorage
from synthians_memory.engine.vectors import VectorView
from synthians_memory.errors import (
    ChangedOutsideError,
    DamagedError,
    DamagedViewError,
    NotRegularFileError,
    UnsupportedFormatError,
)
from synthians_memory.layout import (
    ENTITY_FOLDERS,
    INDEX,
    INITIAL_FOLDERS,
    MAPPING,
    REEMBEDDING,
    SUPERBLOCK,
    TEXT_FILE,
    Kind,
    entity_path,
    id_of_file_name,
    is_scratch,
)
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import EntryStat
from synthians_memory.storage.segment import read_journal

__all__ = ["Progress", "check", "check_entity", "check_share", "found_again"]

T = TypeVar("T")

_View = MemoryIndex | VectorView


# Called in the thread that checks: how many steps are done, of how many; a step is about one file read.
Progress = Callable[[int, int], None]

_KINDS: Final[tuple[Kind, ...]] = ("memory", "assembly")
# Names looked at in one go: fewer turns between the disk and the index.
_AT_ONCE: Final = 256
_VECTOR_TOLERANCE: Final = 1e-6
_MOST_ATTEMPTS: Final = 5


def check(state: StoreState, level: CheckLevel, progress: Progress | None = None) -> list[Finding]:
    """Everything that is wrong with the store, in order of paths within each part.

    Args:
        state: an open store; a writer may go on beside.
        level: "quick" compares names, sizes and times, and reads what differs; "full" reads every byte;
            "off" finds nothing.
        progress: called after each file that "full" reads.

    Raises:
        DiskError: something could not be read at all.
    """
    if level == "off":
        return []
    steps = _Steps(state, progress if level == "full" else None)
    findings = [*_check_superblock(state), *obstacle_findings(state.backend)]
    for kind in _KINDS:
        findings += _check_folder(state, kind, steps, full=level == "full")
    findings += _check_vectors(state)
    findings += _check_scratch(state)
    findings += _check_stuck(state)
    if level == "full":
        findings += _check_views(state)
        findings += _check_text(state)
        findings += _check_journal(state)
        findings += _check_models(state)
        findings += _check_vector_values(state, steps)
        findings += _check_members(state, steps)
    return findings


def check_share(state: StoreState, keys: Sequence[Key], progress: Progress | None = None) -> list[Finding]:
    """As `check` at "full", but that of entity files only those of `keys` are read, with the vectors of these.

    Names, sizes and times are compared for all of them, and views, journal and text index are read whole.
    """
    findings = check(state, "quick")
    named = {(finding.kind, finding.entity_id) for finding in findings}
    for done, key in enumerate(keys, 1):
        found = check_entity(state, key) if key not in named else None
        if found is None and state.vectors.slot_hash(key) is not None:
            found = _check_vector_value(state, key, state.vectors.slot_hash(key))
        findings += [found] if found is not None else []
        if progress is not None:
            progress(done, len(keys))
    parts = (_check_views, _check_text, _check_journal, _check_models)
    return findings + [finding for part in parts for finding in part(state)]


class _Steps:
    """Counts what a full check reads."""

    def __init__(self, state: StoreState, progress: Progress | None) -> None:
        files = [state.index.count(kind) for kind in _KINDS]
        vectors = [state.vectors.count(kind) for kind in _KINDS]
        self._total = sum(files) + sum(vectors) + state.index.count("assembly")
        self._progress = progress
        self._done = 0

    def each(self, items: Iterable[T]) -> Iterator[T]:
        """`items`, each a step that is done when the next is asked for."""
        for item in items:
            yield item
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, max(self._done, self._total))


def _check_superblock(state: StoreState) -> Iterator[Finding]:
    try:
        found = load_superblock(state.backend)
        for _ in range(_MOST_ATTEMPTS):
            # The writer may be changing it: on disk first, then in memory.
            if found in (state.superblock, state.superblock_due):
                break
            found = load_superblock(state.backend)
        if found is None:
            yield Finding("superblock_damaged", f"{SUPERBLOCK} is missing", SUPERBLOCK)
        elif found not in (state.superblock, state.superblock_due) and state.journal is not None:
            yield Finding("superblock_damaged", f"{SUPERBLOCK} states other facts than the open store", SUPERBLOCK)
    except (DamagedViewError, UnsupportedFormatError, NotRegularFileError) as error:
        yield Finding("superblock_damaged", error.message, SUPERBLOCK)


# Entity files


def _check_folder(state: StoreState, kind: Kind, steps: _Steps, *, full: bool) -> list[Finding]:
    suspects, others = _look_over(state, kind, full=full)
    checked = (check_entity(state, (kind, i)) for i in steps.each(sorted(suspects)))
    findings = [finding for finding in checked if finding is not None]
    for name in sorted(name for name, _ in others if not is_scratch(name)):
        path = f"{ENTITY_FOLDERS[kind]}/{name}"
        findings.append(Finding("foreign_name", f"{path} is the file of no entity", path))
    left_behind = (name for name, stat in others if _is_left_behind(state, name, stat))
    return [*findings, *(_scratch(ENTITY_FOLDERS[kind], name) for name in left_behind)]


def _look_over(state: StoreState, kind: Kind, *, full: bool) -> tuple[list[str], list[tuple[str, EntryStat]]]:
    """The entities whose files must be read, all of them for a full check, and what is there beside such files."""
    rows = state.index.rows[kind]
    suspects: list[str] = []
    others: list[tuple[str, EntryStat]] = []
    present: set[str | None] = set()
    scan = state.backend.scan(ENTITY_FOLDERS[kind])
    while part := list(islice(scan, _AT_ONCE)):
        ids = [id_of_file_name(name) for name, _ in part]
        for entity_id, entry, packed in zip(ids, part, map(rows.get, ids), strict=True):  # type: ignore[arg-type]
            if entity_id is None:
                others.append(entry)
            elif full or packed is None or not has_stat(packed, entry[1]):
                suspects.append(entity_id)
        present.update(ids)
    suspects += filterfalse(present.__contains__, rows.copy())
    return suspects, others


def check_entity(state: StoreState, key: Key) -> Finding | None:
    """What is wrong with the file of one entity, read whole; None where nothing is.

    A writer beside may change index and file at any moment, so a difference counts only when the index
    says the same after the file was read.
    """
    finding: Finding | None = None
    for _ in range(_MOST_ATTEMPTS):
        wanted = state.index.hash(key)
        if state.is_decided(key):
            return None
        finding = _judge(state, key, wanted)
        if finding is None or (state.index.hash(key) == wanted and not state.is_decided(key)):
            break
    return finding


def _judge(state: StoreState, key: Key, wanted: bytes | None) -> Finding | None:
    path = entity_path(*key)
    stat = state.backend.stat(path)
    if stat is None:
        return Finding("file_missing", f"{path} is in the memory index, but gone", path, *key) if wanted else None
    if stat.kind != "file":
        return Finding("not_a_file", f"{path} is no regular file", path, *key)
    data = state.backend.read(path)
    if data is None:
        return _judge(state, key, wanted)
    if wanted is not None and version_of(data) == wanted:
        return None
    return _verdict(path, key, inspect_for(state, key, data), wanted)


def _verdict(path: str, key: Key, found: Inspection, wanted: bytes | None) -> Finding | None:
    if found.state == "sealed" and found.hash == wanted:
        return None
    if found.entity is None:
        return Finding("file_undecodable", f"{path}: {found.reason}", path, *key)
    if found.state == "damaged":
        return Finding("file_damaged", f"{path}: {found.reason}", path, *key)
    if wanted is None:
        return Finding("file_not_indexed", f"{path} is not in the memory index", path, *key)
    if found.state == "edited":
        return Finding("file_edited", f"{path} was edited by hand", path, *key)
    return Finding("file_replaced", f"{path} is intact, but another version than acknowledged", path, *key)


# Views, journal and the rest


def _check_vectors(state: StoreState) -> Iterator[Finding]:
    words = {"vector_missing": "has no vector", "vector_stale": "has the vector of another embedding"}
    for code, key in sorted(vector_defects(state)):
        row = state.index.row(key)
        agree = state.vectors.slot_hash(key) == (row.embedding_hash if row else None)
        # The writer changes one view after the other; what it is at stands in the overlay.
        if agree or state.overlay.get(key)[0]:
            continue
        what = words.get(code, "has a vector, but no embedding")
        yield Finding(code, f"{key[0]} {key[1]!r} {what}", MAPPING, *key)


def _check_scratch(state: StoreState) -> Iterator[Finding]:
    entity_folders = set(ENTITY_FOLDERS.values())
    for folder in ("", *(path for path in INITIAL_FOLDERS if path not in entity_folders)):
        for name, stat in state.backend.scan(folder):
            if _is_left_behind(state, name, stat):
                yield _scratch(folder, name)


def _is_left_behind(state: StoreState, name: str, stat: EntryStat) -> bool:
    """Younger scratch may be the writer's work in progress."""
    return is_scratch(name) and stat.mtime_ns // 1000 < state.opened_micros


def _scratch(folder: str, name: str) -> Finding:
    path = f"{folder}/{name}" if folder else name
    return Finding("scratch", f"{path} was left behind by an interrupted write", path)


def _check_stuck(state: StoreState) -> Iterator[Finding]:
    for key, stuck in sorted(state.overlay.pending(), key=lambda item: item[0]):
        path = entity_path(*key)
        yield Finding("apply_pending", f"{path} could not be written: {stuck.error.message}", path, *key)


def _check_views(state: StoreState) -> Iterator[Finding]:
    """Load the views from disk once more, beside those in memory; a reader found out when it opened."""
    facts = state.superblock
    if state.journal is None:
        yield from (note for note in state.notes if note.code in ("index_damaged", "vectors_damaged"))

    def index() -> MemoryIndex:
        return MemoryIndex(state.backend, facts.facts, state.clock.micros)

    def vectors() -> VectorView:
        storage = RowStorage(state.config.vector_storage, scratch=False)
        return VectorView(state.backend, facts.store_id, facts.metric, facts.embedding_dimension, storage=storage)

    for code, path, view, fresh in (
        ("index_damaged", INDEX, state.index, index),
        ("vectors_damaged", MAPPING, state.vectors, vectors),
    ):
        problem = _reload(view, fresh, path)
        if problem:
            yield Finding(code, problem, path)


def _reload(view: _View, fresh: Callable[[], _View], path: str) -> str:
    """What is wrong with the files of `view`, in words.

    Snapshot and log are two files: while a writer replaces them they may not fit, so it is tried again.
    """
    problem = ""
    for _ in range(_MOST_ATTEMPTS):
        reached = view.position
        if not reached.sequence:
            return ""
        loaded = fresh()
        problem = loaded.load() or f"{path} and its log lack changes that they had"
        loaded.close()
        if loaded.position.epoch == reached.epoch and loaded.position.sequence >= reached.sequence:
            return ""
    return problem


def _check_text(state: StoreState) -> Iterator[Finding]:
    problem = state.text.defect(StateSource(state))
    if problem:
        yield Finding("text_damaged", problem, TEXT_FILE)


def _check_journal(state: StoreState) -> Iterator[Finding]:
    contents = read_journal(state.backend, (state.superblock.store_id, state.superblock.epoch))
    yield from damage_findings(contents)
    if state.journal is None:
        yield from loss_findings(state, contents)
        yield from torn_findings(contents)
        yield from headless_findings(contents)
        yield from unreadable_findings(contents)
        yield from foreign_findings(contents)


def _check_models(state: StoreState) -> Iterator[Finding]:
    """What a change of the model has left beside the entities: is it whole?"""
    backend, superblock = state.backend, state.superblock
    if superblock.staged is not None:
        lost = superblock.staged.frames - read_staged(backend, superblock.store_id, superblock.staged.token).frames
        # It may have been removed meanwhile, behind the end of the conversion.
        if lost > 0 and state.superblock == superblock == load_superblock(backend):
            yield Finding("staged_damaged", f"{lost} frames of staged versions are not intact", REEMBEDDING)
    if superblock.previous is not None:
        lost = (
            superblock.previous.frames - read_previous(backend, superblock.store_id, superblock.previous.token).frames
        )
        if lost > 0 and state.superblock == superblock == load_superblock(backend):
            yield Finding("way_back_damaged", f"{lost} frames of the embeddings before are not intact", REEMBEDDING)


def _check_vector_values(state: StoreState, steps: _Steps) -> Iterator[Finding]:
    for kind in _KINDS:
        for entity_id, embedding_hash in steps.each(sorted(state.vectors.hashes(kind).items())):
            finding = _check_vector_value(state, (kind, entity_id), embedding_hash)
            if finding is not None:
                yield finding


def _check_vector_value(state: StoreState, key: Key, embedding_hash: bytes | None) -> Finding | None:
    row = state.index.row(key)
    if row is None or row.embedding_hash != embedding_hash:
        return None
    entity = _intact(state, key)
    # Exact rows on disk that rotted are had anew from what is intact.
    indexed = state.vectors.vector(key) if entity is not None else None
    if entity is None or entity.vector is None or indexed is None:
        return None
    wanted = prepare(entity.vector[None, :], state.superblock.metric)[0]
    if np.allclose(wanted, indexed, rtol=0, atol=_VECTOR_TOLERANCE * max(1.0, float(np.abs(wanted).max()))):
        return _check_mark(key, entity)
    if state.overlay.get(key)[0] or state.index.hash(key) != row.hash:
        # The writer changed it in between.
        return None
    return Finding("vector_wrong", f"the vector of {key[0]} {key[1]!r} is not its embedding", MAPPING, *key)


def _check_mark(key: Key, entity: Entity) -> Finding | None:
    """Whether the embedding is known to be that of an earlier text."""
    if not isinstance(entity, MemoryEntry) or not is_stale(entity):
        return None
    message = f"the text of {key[0]} {key[1]!r} was edited after its embedding was made"
    return Finding("embedding_stale", message, entity_path(*key), *key)


def _intact(state: StoreState, key: Key) -> Entity | None:
    """The entity; None where its file is at fault, which is judged elsewhere."""
    if check_entity(state, key) is not None:
        return None
    try:
        return state.load(key)
    except (DamagedError, ChangedOutsideError):
        # A writer in another process was there in between.
        return None


def _check_members(state: StoreState, steps: _Steps) -> Iterator[Finding]:
    for entity_id in steps.each(state.index.ids("assembly")):
        key: Key = ("assembly", entity_id)
        assembly = _intact(state, key)
        if isinstance(assembly, MemoryAssembly):
            for member in dict.fromkeys(assembly.members):
                if member not in state.index.rows["memory"]:
                    message = f"assembly {entity_id!r} names the memory {member!r}, which does not exist"
                    yield Finding("member_missing", message, entity_path(*key), *key)


# A second look


def found_again(state: StoreState, findings: Sequence[Finding]) -> list[Finding]:
    """Those of `findings`, none of them notes, that hold in `state` as well: a later one of the same store."""
    parts = {(f.code, f.path, f.kind, f.entity_id) for f in _check_parts(state)} if findings else set()
    return [f for f in findings if _holds(state, f, (f.code, f.path, f.kind, f.entity_id) in parts)]


def _check_parts(state: StoreState) -> Iterator[Finding]:
    yield from _check_superblock(state)
    yield from obstacle_findings(state.backend)
    yield from _check_vectors(state)
    yield from _check_views(state)
    yield from _check_text(state)
    yield from _check_journal(state)


def _holds(state: StoreState, finding: Finding, among_parts: bool) -> bool:
    if finding.kind is None or finding.entity_id is None or among_parts:
        return among_parts
    key: Key = (finding.kind, finding.entity_id)
    slot = state.vectors.slot_hash(key)
    again = _check_vector_value(state, key, slot) if finding.code == "vector_wrong" else check_entity(state, key)
    return again is not None and again.code == finding.code
