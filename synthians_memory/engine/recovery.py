"""Recovery: what open does to a store, after a clean stop or after anything else.

It is not repair: it brings back what was acknowledged; files changed outside are left to check and repair.

    superblock -> journal -> memory index, or its rebuild -> replay -> the tail made durable
    -> the other views catch up -> scratch removed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from synthians_memory.config import StoreConfig
from synthians_memory.engine.checkpoint import Checkpointer
from synthians_memory.engine.commit import Committer
from synthians_memory.engine.conversion import take_up_conversion
from synthians_memory.engine.documents import read_file
from synthians_memory.engine.entity_files import EntityFiles
from synthians_memory.engine.expiry import judge_expiry
from synthians_memory.engine.index import MemoryIndex
from synthians_memory.engine.index_backup import IndexBackups, index_backups
from synthians_memory.engine.journal_findings import (
    damage_findings,
    headless_findings,
    loss_findings,
    unreadable_findings,
)
from synthians_memory.engine.obstacles import set_obstacles_aside
from synthians_memory.engine.overlay import Overlay
from synthians_memory.engine.quarantine import Quarantine
from synthians_memory.engine.rebuild import entity_files, rebuild_index, reconcile_vectors
from synthians_memory.engine.records import Key
from synthians_memory.engine.replay import Tail, gather, replay, show
from synthians_memory.engine.state import StoreState
from synthians_memory.engine.superblock import Superblock, store_superblock
from synthians_memory.engine.superblock_recovery import find_superblock
from synthians_memory.engine.training import Approximation
from synthians_memory.engine.vector_rows import RowStorage
from synthians_memory.engine.vectors import VectorView
from synthians_memory.engine.view import NOWHERE, Position
from synthians_memory.errors import DiskError, DiskFullError, NotAStoreError
from synthians_memory.layout import (
    ENTITY_FOLDERS,
    INDEX,
    INDEX_BACKUPS,
    INDEX_LOG,
    INITIAL_FOLDERS,
    JOURNAL,
    MAPPING,
    REPAIR_PLAN,
    SUPERBLOCK,
    VECTORS,
    VECTORS_LOG,
    is_scratch,
    scratch_path,
    segment_path,
)
from synthians_memory.models import random_id
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.journal import Journal
from synthians_memory.storage.lru import ByteLRU
from synthians_memory.storage.segment import JournalContents, read_journal
from synthians_memory.times import Clock

__all__ = ["OpenedStore", "open_for_reading", "open_for_writing", "read_index"]

_MOST_ATTEMPTS: Final = 5
_MOST_NAMED: Final = 20


@dataclass(slots=True)
class OpenedStore:
    """A store that has been recovered.

    Attributes:
        state: all of it.
        committer, checkpointer: what changes it; None where it is open read-only.
    """

    state: StoreState
    committer: Committer | None
    checkpointer: Checkpointer | None


def open_for_writing(
    backend: Backend, config: StoreConfig, clock: Clock, new_id: Callable[[], str] = random_id
) -> OpenedStore:
    """Make or recover the store; the caller holds its lock.

    Idempotent, also when it is interrupted at any point.

    Raises:
        NotAStoreError: the directory is not empty and holds no store.
        UnsupportedFormatError: a newer store.
        DiskError: something could not be read or written; nothing was lost by it.
    """
    notes: list[Finding] = []
    superblock = find_superblock(backend, notes, Quarantine(backend, clock))
    if superblock is None:
        superblock = _initialise(backend, config, clock, new_id)
    _make_folders(backend, [path for path in INITIAL_FOLDERS if path not in ENTITY_FOLDERS.values()])
    contents = read_journal(backend, (superblock.store_id, superblock.epoch))
    state = _new_state(backend, config, clock, superblock)
    state.notes.extend(notes)
    state.notes.extend(set_obstacles_aside(backend, state.quarantine))
    _set_journal_aside(state, contents)
    with state.vectors.reading_ahead():
        index_trusted = _load_index(state, contents)
        vectors_trusted = _load_vectors(state, contents)
    if not vectors_trusted:
        # A log goes on from where its snapshot stands in the journal; here that is nowhere.
        state.vectors.forget_files()
    committer = Committer(state)
    missing = [] if index_trusted else rebuild_index(state)
    changed_model = _take_up_model(state, rebuilt=not index_trusted)
    state.notes.extend(loss_findings(state, contents))
    tails = gather(contents.entries)
    _note_missing(state, [key for key in missing if key not in tails])
    _look_for_vanished(state, tails)
    replay(state, committer, tails)
    if contents.newest is None:
        # Nothing says how far the journal had come: its numbers start a new life. Frames that still
        # could be read are in files by now, and durable there before their epoch ends.
        state.files.begin_interval().sync()
        state.change_superblock(epoch=new_id())
    state.journal = _journal(state, contents)
    backups = IndexBackups(backend, clock, config.index_backup_count, config.backup_interval)
    checkpointer = Checkpointer(state, committer, backups)
    _catch_up(state, contents, changed_model=changed_model)
    judge_expiry(state)
    clean = index_trusted and vectors_trusted and not changed_model
    _settle(state, contents, checkpointer, clean=clean)
    return OpenedStore(state, committer, checkpointer)


def read_index(backend: Backend, config: StoreConfig, clock: Clock) -> tuple[StoreState, JournalContents]:
    """What a store holds without its tail and its vectors, and the tail; as `open_for_reading`."""
    notes: list[Finding] = []
    superblock = find_superblock(backend, notes, None)
    if superblock is None:
        raise NotAStoreError(
            f"{backend.location} holds no store", path=SUPERBLOCK, hint="Give the path of a store, or make one first."
        )
    state = _new_state(backend, config, clock, superblock, read_only=True)
    state.read_only_reason = "it was opened with read_only=True"
    state.notes.extend(notes)
    return state, _read_beside_writer(state)


def open_for_reading(backend: Backend, config: StoreConfig, clock: Clock) -> OpenedStore:
    """Open a store without changing anything on disk, beside a writer or alone.

    Raises:
        NotAStoreError: there is no store.
        UnsupportedFormatError, DiskError: as `open_for_writing`.
    """
    opened = _open_for_reading(backend, config, clock)
    for _ in range(_MOST_ATTEMPTS):
        if find_superblock(backend, [], None) == opened.state.superblock:
            break
        # The writer changed what the store is meanwhile: index and vectors may be of before or after that.
        opened = _open_for_reading(backend, config, clock)
    return opened


def _open_for_reading(backend: Backend, config: StoreConfig, clock: Clock) -> OpenedStore:
    state, contents = read_index(backend, config, clock)
    changed_model = _take_up_model(state, rebuilt=any(note.code == "index_damaged" for note in state.notes))
    _load_vectors(state, contents)
    tails = gather(contents.entries)
    state.overlay.publish({key: tail.version for key, tail in tails.items()})
    show(state, tails)
    wrong = reconcile_vectors(state)
    _note_vectors(state, contents, [] if changed_model else wrong)
    judge_expiry(state)
    return OpenedStore(state, None, None)


def _take_up_model(state: StoreState, *, rebuilt: bool) -> bool:
    """Bring in the versions that a change of the model has staged; whether they were not in the memory index yet."""
    taken_up = take_up_conversion(state.backend, state.superblock, state.index, rebuilt=rebuilt)
    state.conversion, changed, findings = taken_up
    state.notes.extend(findings)
    return changed > 0


def _read_beside_writer(state: StoreState) -> JournalContents:
    """Index and journal that fit each other: a checkpoint may fall between the two, so it is tried again."""
    identity = (state.superblock.store_id, state.superblock.epoch)
    problem, contents = "", JournalContents()
    for _ in range(_MOST_ATTEMPTS):
        problem = state.index.load()
        contents = read_journal(state.backend, identity)
        if not problem and _reaches(state.index.position, state.superblock.epoch, contents):
            return contents
    _note_index(state, contents, problem)
    _take_hint(state)
    missing = rebuild_index(state)
    contents = read_journal(state.backend, identity)
    tails = gather(contents.entries)
    _note_missing(state, [key for key in missing if key not in tails])
    return contents


def _new_state(
    backend: Backend, config: StoreConfig, clock: Clock, superblock: Superblock, *, read_only: bool = False
) -> StoreState:
    def facts() -> dict[str, Any]:
        return state.superblock.facts()

    index = MemoryIndex(backend, facts, clock.micros)
    approximation = Approximation(config.exact_below, config.target_recall)
    facts_of_vectors = superblock.store_id, superblock.metric, superblock.embedding_dimension
    storage = RowStorage(config.vector_storage, scratch=not read_only)
    vectors = VectorView(backend, *facts_of_vectors, approximation, storage)
    state = StoreState(
        backend=backend,
        config=config,
        clock=clock,
        superblock=superblock,
        index=index,
        vectors=vectors,
        files=EntityFiles(backend),
        quarantine=Quarantine(backend, clock),
        overlay=Overlay(),
        cache=ByteLRU(config.cache_bytes),
        opened_micros=clock.micros(),
    )
    vectors.source = state.embedding
    return state


# A new store


def _initialise(backend: Backend, config: StoreConfig, clock: Clock, new_id: Callable[[], str]) -> Superblock:
    """Make an empty store: the superblock first, the journal's first header last."""
    _make_folders(backend)
    for parent in dict.fromkeys(path.rpartition("/")[0] for path in INITIAL_FOLDERS):
        # They may have been made by an attempt that was interrupted before it synced them.
        backend.sync_folder(parent)
    superblock = Superblock(new_id(), new_id(), config.embedding_dimension, config.metric)
    store_superblock(backend, superblock)
    journal = _journal_of(backend, clock, superblock, config, JournalContents(), 0)
    journal.start_empty()
    journal.close()
    return superblock


def _look_for_vanished(state: StoreState, tails: Mapping[Key, Tail]) -> None:
    """Make entity folders that are missing, but those that lost everything are more likely not mounted.

    Nothing is written into the place where such a folder belongs, and the store turns read-only: what is
    acknowledged stays in the journal until it is back, or until a repair by hand says that it will not be.
    """
    for kind, folder in ENTITY_FOLDERS.items():
        if next(entity_files(state.backend, kind), None) is not None:
            continue
        # What the tail speaks of need not have had a file.
        lost = sum((kind, entity_id) not in tails for entity_id in state.index.rows[kind])
        if lost > state.most_dropped:
            state.vanished |= {kind}
            what = f"{folder} has lost all its {lost} files"
            state.read_only_reason = f"{what}; put it back and open the store again, or run `repair`"
    _make_folders(state.backend, [ENTITY_FOLDERS[kind] for kind in ENTITY_FOLDERS if kind not in state.vanished])


def _make_folders(backend: Backend, paths: Iterable[str] = INITIAL_FOLDERS) -> None:
    """Make what is missing of the layout, each durable in its parent."""
    for path in paths:
        if backend.make_folder(path):
            backend.sync_folder(path.rpartition("/")[0])


# The journal


def _set_journal_aside(state: StoreState, contents: JournalContents) -> None:
    for torn in contents.torn:
        kept = state.quarantine.keep(torn.path, torn.data, f"unacknowledged bytes behind offset {torn.offset}")
        message = f"{len(torn.data)} bytes behind offset {torn.offset} were never acknowledged; kept as {kept}"
        state.notes.append(Finding("journal_torn", message, torn.path))
    for path in {damage.path for damage in contents.damage}:
        state.quarantine.keep(path, state.backend.read(path) or b"", "durable frames are not intact")
    state.notes.extend(damage_findings(contents))
    for path in contents.foreign:
        kept = state.quarantine.move(path, "it belongs to another life of the store")
        state.notes.append(Finding("journal_foreign", f"a segment of another epoch was set aside as {kept}", path))
    for finding in headless_findings(contents):
        state.quarantine.keep(finding.path, state.backend.read(finding.path) or b"", finding.message)
        state.notes.append(finding)
    for finding in unreadable_findings(contents):
        kept = state.quarantine.move(finding.path, finding.message)
        state.notes.append(replace(finding, message=f"{finding.message}; it is kept as {kept}"))


def _journal(state: StoreState, contents: JournalContents) -> Journal:
    seen = max(contents.highest_sequence, state.index.position.sequence, state.vectors.position.sequence)
    # In a new life everything seen is in files, durably, but for what could not be written there.
    settled = 0 if state.overlay.stuck else seen
    return _journal_of(state.backend, state.clock, state.superblock, state.config, contents, seen, settled)


def _journal_of(
    backend: Backend,
    clock: Clock,
    superblock: Superblock,
    config: StoreConfig,
    contents: JournalContents,
    seen: int,
    settled: int = 0,
) -> Journal:
    alive = contents.newest is not None
    return Journal(
        backend,
        clock,
        store_id=superblock.store_id,
        epoch=superblock.epoch,
        facts=superblock.facts(),
        next_number=contents.highest_number + 1,
        last_counted=contents.last_sequence if alive else seen,
        next_sequence=seen + 1,
        checkpointed_through=contents.checkpointed_through if alive else settled,
        segments=contents.segments,
        segment_bytes=config.segment_bytes,
    )


# The views


def _load_index(state: StoreState, contents: JournalContents) -> bool:
    """Whether the memory index on disk can be trusted; where not, it is a hint for its rebuild."""
    problem = state.index.load()
    if not problem and _reaches(state.index.position, state.superblock.epoch, contents):
        return True
    _note_index(state, contents, problem)
    _take_hint(state)
    return False


def _take_hint(state: StoreState) -> None:
    """Where the memory index cannot be read at all, the newest of its copies that can."""
    if any(state.index.rows.values()):
        return
    for name in reversed(index_backups(state.backend)):
        data = read_file(state.backend, f"{INDEX_BACKUPS}/{name}")
        if data is not None and state.index.load_hint(data):
            return


def _note_missing(state: StoreState, missing: Sequence[Key]) -> None:
    """Name the entities of an earlier memory index that have no file; nothing else may tell that they were there."""
    if missing:
        what = f"{len(missing)} entities that were in an earlier one have no file, deleted since or lost"
        message = f"{what}: {_names(missing)}"
        known = [note for note in state.notes if note.code == "index_damaged"]
        state.notes.extend([Finding("index_damaged", message, INDEX)] if not known else ())
        for note in known:
            state.notes[state.notes.index(note)] = replace(note, message=f"{note.message}; {message}")


def _note_index(state: StoreState, contents: JournalContents, problem: str) -> None:
    promised = contents.checkpointed_through or contents.newest is None or state.backend.stat(INDEX) is not None
    if contents.highest_sequence and promised:
        problem = problem or f"{INDEX} does not reach what was checkpointed, or is ahead of the journal"
        state.notes.append(Finding("index_damaged", f"{problem}; it was rebuilt from the entity files", INDEX))


def _load_vectors(state: StoreState, contents: JournalContents) -> bool:
    """Whether the vector index on disk can be trusted; where not, it is reconciled by id and hash."""
    problem = state.vectors.load()
    staged = state.superblock.staged
    if staged is not None:
        state.vectors.raise_ids(staged.next_vector_id)
        if state.vectors.outlived:
            # The files are of the model before: they are not at fault.
            return False
    reaches = _reaches(state.vectors.position, state.superblock.epoch, contents)
    if not problem and not reaches and contents.highest_sequence and state.vectors.position != NOWHERE:
        problem = f"{MAPPING} does not reach what was checkpointed, or is ahead of the journal"
    if problem:
        state.notes.append(Finding("vectors_damaged", f"{problem}; it was rebuilt from the entity files", MAPPING))
        return False
    if state.superblock.embedding_dimension is None and state.vectors.dimension is None:
        # Before the first vector there are no files to trust or to distrust.
        return True
    return reaches


def _reaches(position: Position, epoch: str, contents: JournalContents) -> bool:
    within = contents.checkpointed_through <= position.sequence <= contents.last_sequence
    return contents.newest is not None and position.epoch == epoch and within


def _catch_up(state: StoreState, contents: JournalContents, *, changed_model: bool) -> None:
    wrong = reconcile_vectors(state)
    if wrong:
        # No sequence stands for what was mended, so it cannot be a group of the log.
        state.vectors.forget_files()
    _note_vectors(state, contents, [] if changed_model else wrong)
    if state.superblock.embedding_dimension is None and state.vectors.dimension is not None:
        state.change_superblock(embedding_dimension=state.vectors.dimension)


def _note_vectors(state: StoreState, contents: JournalContents, wrong: Sequence[Key]) -> None:
    known = any(note.code == "vectors_damaged" for note in state.notes)
    if wrong and not known and not contents.damage:
        message = f"{len(wrong)} vectors did not belong to the acknowledged embeddings, and were indexed anew"
        state.notes.append(Finding("vectors_damaged", f"{message}: {_names(wrong)}", MAPPING))


def _names(keys: Sequence[Key]) -> str:
    return ", ".join(f"{kind} {entity_id!r}" for kind, entity_id in keys[:_MOST_NAMED])


# The end


def _settle(state: StoreState, contents: JournalContents, checkpointer: Checkpointer, *, clean: bool) -> None:
    """Make the replayed tail durable before anything new is acknowledged, then remove scratch."""
    untouched = clean and not contents.entries and not contents.damage and not state.overlay.stuck
    if not untouched or state.backend.stat(REPAIR_PLAN) is not None:
        # After a crash of the process alone the last move may be in the page cache only, and its file nowhere else.
        state.quarantine.sync()
    if not (untouched and contents.newest is not None and not contents.torn):
        _sync_leftovers(state.backend, contents)
        # Behind a new header what was cut or damaged no longer counts, and is set aside once; a view that
        # could not be trusted is written anew, also where nothing is in it.
        checkpointer.wanted = bool(contents.torn or contents.damage) or not clean
        try:
            checkpointer.run()
        except DiskError as error:
            # The journal still has everything, durably; the next checkpoint tries again. Only a full disk is
            # known to have kept what was synced before it filled up; nothing is written on top of other errors.
            checkpointer.abandon()
            state.last_error = str(error)
            _refuse_if_failed(state)
            if not isinstance(error, DiskFullError):
                state.read_only_reason = f"what was replayed could not be made durable: {error.message}"
        _remove_scratch(state.backend)


def _refuse_if_failed(state: StoreState) -> None:
    journal = state.journal
    if journal is not None and journal.failure is not None:
        raise journal.failure


def _sync_leftovers(backend: Backend, contents: JournalContents) -> None:
    """After a crash of the process alone the tail, a log or a new name may be in the page cache only."""
    for path in (
        *(segment_path(number) for number in {entry.number for entry in contents.entries}),
        INDEX_LOG,
        VECTORS_LOG,
    ):
        stat = backend.stat(path)
        if stat is not None and stat.kind == "file":
            file = backend.open_existing(path)
            try:
                file.sync()
            finally:
                file.close()
    for folder in ("", VECTORS, JOURNAL):
        backend.sync_folder(folder)


def _remove_scratch(backend: Backend) -> None:
    """What an interrupted write left; nobody reads it."""
    for folder in ("", *INITIAL_FOLDERS):
        for name, stat in list(backend.scan(folder)):
            if is_scratch(name) and stat.kind != "folder":
                backend.unlink(scratch_path(folder, name.removeprefix(scratch_path("", ""))))
