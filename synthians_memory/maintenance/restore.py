"""Restore: a store is made again from a snapshot, and from what was written after it up to a moment.

It takes no snapshot and deletes nothing of a user's: what it replaces goes to the store's quarantine.

    gather, and prove every byte (`staging`) -> switch, by a saved plan (`restore_plan`) -> open once, for the views
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from synthians_memory.codec import inspect, sealed_version, version_of
from synthians_memory.config import StoreConfig
from synthians_memory.engine.part import Part
from synthians_memory.engine.records import Key, Record, decode_record
from synthians_memory.engine.recovery import read_index
from synthians_memory.engine.rows import hash_of, updated_of
from synthians_memory.engine.segment_archive import archive_segment
from synthians_memory.engine.store import Store
from synthians_memory.engine.superblock import Superblock, store_superblock
from synthians_memory.errors import (
    DamagedBackupError,
    DamagedError,
    DiskError,
    InvalidTypeError,
    InvalidValueError,
    NotAStoreError,
    StoreFormatError,
    UsageError,
)
from synthians_memory.layout import (
    ARCHIVE,
    BACKUPS,
    CONFIGURATION,
    ENTITY_FOLDERS,
    INDEX,
    ISSUES,
    JOURNAL,
    LOCK_FILE,
    LOGS,
    MEMORIES,
    PART_FOLDERS,
    QUARANTINE,
    RESTORE,
    SNAPSHOTS,
    SUPERBLOCK,
    entity_path,
    is_scratch,
    key_of_path,
    segment_number,
    segment_path,
)
from synthians_memory.maintenance.manifest import Manifest
from synthians_memory.maintenance.past import Past, Reach
from synthians_memory.maintenance.restore_plan import Plan, carry_out, finish_interrupted, is_cut_off, make_plan
from synthians_memory.maintenance.restore_report import Loss, RestoreReport
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.maintenance.snapshots import choose
from synthians_memory.maintenance.staging import Staging, staged
from synthians_memory.models import Entity, random_id
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.lock import ReaderLock, StoreLock
from synthians_memory.storage.segment import SegmentHeader
from synthians_memory.times import Clock, format_time, from_micros, to_micros

__all__ = ["Progress", "Wanted", "past_version", "restore_store"]

Progress = Callable[[int, int], None]

_MOST_NAMED: Final = 1000
_LEFT: Final = (CONFIGURATION, ISSUES, LOGS, QUARANTINE, *PART_FOLDERS)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which past is wanted.

    Attributes:
        name: of the snapshot, or the beginning of its name; None: the newest, or by `at`.
        at: the moment whose state is wanted; None: that of the snapshot.
    """

    name: str | None = None
    at: datetime | None = None

    @property
    def at_micros(self) -> int | None:
        """`at` in microseconds since 1970."""
        return None if self.at is None else to_micros(self.at)


@dataclass(slots=True)
class _Before:
    """What the store holds before: path -> content hash; None where that cannot be read."""

    rows: dict[str, str] | None
    until_micros: int = 0
    sequence: int = 0
    epoch: str = ""
    store_id: str = ""


@dataclass(slots=True)
class _Selection:
    """The past that was found.

    Attributes:
        problems: why the moment is another one than was asked for.
        archived: whether the journal is archived, so that every moment should be to be had.
    """

    manifest: Manifest
    moment: int
    reach: Reach
    past: Past | None = None
    problems: list[str] = field(default_factory=list)
    archived: bool = False

    def records(self) -> Iterator[Record]:
        """The last change of each entity after the snapshot."""
        return iter(()) if self.past is None else self.past.records(self.manifest.sequence, self.reach)


def restore_store(
    target: Callable[[], Backend],
    folder: SnapshotFolder,
    wanted: Wanted,
    clock: Clock,
    *,
    past_of: Backend | None = None,
    elsewhere: bool = False,
    config: StoreConfig | None = None,
    new_id: Callable[[], str] = random_id,
    parts: Sequence[Part] = (),
    progress: Progress | None = None,
) -> RestoreReport:
    """Make the store in `target` again, as it was.

    A restore that was cut off before is completed first; where it was of the same snapshot, nothing else is done. Until
    everything is gathered and proved, nothing of the store is changed.

    Args:
        target: opens the back end of the store that is made again, or of an empty place.
        folder: the snapshots; held by the caller.
        wanted: which past.
        clock: source of time.
        past_of: the store whose journal, and its archive, tell what was written after the snapshot; None: `target`.
        elsewhere: `target` is a new place, which must be empty.
        config: settings for the opening afterwards.
        new_id: source of epochs.
        parts: are told when their files are in place.
        progress: called with the number of entities gathered so far, and in all.

    Raises:
        StoreLockedError: another process has the store open.
        UsageError: the snapshot is of another store than `target`; or its journal is archived, the moment that was
            asked for is not to be had all the same, and there is something that would be replaced.
        NotAStoreError: `target` is neither a store nor empty, or not empty with `elsewhere`.
        EntityNotFoundError: there is no such snapshot.
        DamagedBackupError: what the snapshot needs is not what was written; nothing was changed.
        DiskError: something could not be read or written; it can be gone on with.
    """
    backend = target()
    try:
        lock = StoreLock.acquire(backend, clock_text=format_time(from_micros(clock.micros())))
        try:
            gone_on = finish_interrupted(backend, parts)
            if gone_on is None:
                _require_place(backend, elsewhere=elsewhere)
            with _journal_kept(past_of):
                restore = _Restore(backend, folder, clock, new_id, parts, progress)
                report = restore.run(wanted, past_of or backend, gone_on)
        finally:
            lock.release()
    finally:
        backend.close()
    # The first opening writes the views; that they are missing is no finding.
    Store.open(target(), config or StoreConfig(), clock).close()
    return report


@contextmanager
def _journal_kept(store: Backend | None) -> Iterator[None]:
    """Have the writer of another store keep its segments while they are read."""
    lock = ReaderLock.acquire(store) if store is not None and store.stat(JOURNAL) is not None else None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _require_place(backend: Backend, *, elsewhere: bool) -> None:
    if is_cut_off(backend):
        return
    is_store = any(backend.stat(path) is not None for path in (SUPERBLOCK, JOURNAL, INDEX, SNAPSHOTS))
    if is_store and not elsewhere:
        return
    staged_only = [f"{BACKUPS}/{name}" for name, _ in backend.scan(BACKUPS)] in ([], [RESTORE])
    # What is left of a store that is lost; nothing of it is touched.
    left = () if elsewhere else _LEFT
    for name, _ in backend.scan(""):
        if name not in (LOCK_FILE, *left) and not is_scratch(name) and not (name == BACKUPS and staged_only):
            what = "is not empty" if elsewhere else "is neither a store nor empty"
            raise NotAStoreError(
                f"{backend.location} {what}: {name[:80]!r} is there",
                path=name,
                hint="Give a directory that is empty or not there yet; nothing was changed. A store in it may come from a "
                "restore that was interrupted after all was in its place: `check` tells.",
            )


class _Restore:
    """One restore into a store that is locked."""

    def __init__(
        self,
        backend: Backend,
        folder: SnapshotFolder,
        clock: Clock,
        new_id: Callable[[], str],
        parts: Sequence[Part],
        progress: Progress | None,
    ) -> None:
        self._backend = backend
        self._folder = folder
        self._clock = clock
        self._new_id = new_id
        self._parts = parts
        self._progress = progress
        self._staging = Staging(backend)

    def run(self, wanted: Wanted, past_of: Backend, gone_on: Plan | None) -> RestoreReport:
        found = _select(self._folder, wanted, past_of)
        # The past that was asked for has ended with that restore, so that its moment need not be to be had once more.
        same = (wanted.at_micros, found.moment)
        if gone_on is not None and gone_on.snapshot == found.manifest.name and gone_on.moment in same:
            moment = from_micros(gone_on.moment)
            return RestoreReport(gone_on.snapshot, moment, quarantine=gone_on.quarantine, went_on=True)
        superblock = self._superblock(found.manifest)
        before = _look_before(self._backend, self._clock)
        if before.store_id not in ("", found.manifest.store_id):
            raise UsageError(
                f"{self._backend.location} is another store than the one that the snapshot {found.manifest.name} is of",
                hint="Restore it into a new place with --to; nothing was changed.",
            )
        if found.problems and found.archived and before.rows:
            raise _out_of_reach(found)
        self._staging.begin()
        entities = self._gather(found)
        for file in found.manifest.files:
            self._staging.put_file(file, self._folder.file_pieces(file))
        header = _header(superblock, max(before.sequence, found.reach.sequence))
        self._staging.put_header(header)
        store_superblock(self._backend, superblock, staged(SUPERBLOCK))
        self._staging.harden([segment_path(header.number), SUPERBLOCK])
        _archive_journal(self._backend, before.epoch)
        plan = make_plan(
            self._backend, self._clock, found.manifest.name, found.moment, _coming(found.manifest), found.manifest.parts
        )
        carry_out(self._backend, plan, superblock, parts=self._parts)
        return _report(found, entities, before, plan.quarantine)

    def _superblock(self, manifest: Manifest) -> Superblock:
        """The facts of the store in a new epoch, since its history is cut here.

        Raises:
            DamagedBackupError: they are none.
            UnsupportedFormatError: of a newer store.
        """
        try:
            superblock = Superblock.from_facts({**manifest.facts, "epoch": self._new_id()})
            StoreConfig(embedding_dimension=superblock.embedding_dimension, metric=superblock.metric)
            if not isinstance(superblock.embedder, str | None):
                raise InvalidTypeError("its embedder has no name")
        except (DamagedError, InvalidTypeError, InvalidValueError) as error:
            raise DamagedBackupError(f"the snapshot {manifest.name} is of no store: {error.message}") from error
        return superblock

    def _gather(self, found: _Selection) -> dict[str, str]:
        """Stage every entity; returns path -> content hash of each."""
        manifest, entities = found.manifest, {}
        replaced = {entity_path(*key) for key in found.reach.last}
        total, listed = manifest.memories + manifest.assemblies, 0
        for path, digest in self._folder.entities(manifest):
            listed += 1
            if path not in replaced:
                self._staging.put_entity(path, digest, self._folder.entity(digest))
                entities[path] = digest
            if self._progress is not None:
                self._progress(listed, total)
        if listed != total:
            raise DamagedBackupError(f"the snapshot {manifest.name} lists {listed} entities and should have {total}")
        for record in found.records():
            if record.data is not None:
                path, digest = _addressed(record)
                self._staging.put_entity(path, digest, record.data)
                entities[path] = digest
        return entities


def _addressed(record: Record) -> tuple[str, str]:
    path, version = entity_path(*record.key), version_of(record.data or b"")
    if version is None:
        raise DamagedBackupError(f"the journal has no intact version of {path}", path=path)
    return path, version.hex()


def _coming(manifest: Manifest) -> list[str]:
    tops = (file.path.split("/")[0] for file in manifest.files)
    return list(dict.fromkeys((*ENTITY_FOLDERS.values(), JOURNAL, *tops)))


def _header(superblock: Superblock, sequence: int) -> SegmentHeader:
    """Of a journal in which nothing stands yet, and whose numbers go on above every number that was seen."""
    return SegmentHeader(
        number=1,
        store_id=superblock.store_id,
        epoch=superblock.epoch,
        first_sequence=sequence + 1,
        last_sequence=sequence,
        checkpointed_through=sequence,
        facts=superblock.facts(),
    )


# Choosing


def _select(folder: SnapshotFolder, wanted: Wanted, past_of: Backend) -> _Selection:
    """The snapshot, and what is to be replayed on top of it.

    Raises:
        EntityNotFoundError, InvalidValueError: as `choose`.
        DiskError: the journal cannot be read.
    """
    at = wanted.at_micros
    manifest = choose(folder.listing().manifests, name=wanted.name, at_micros=at)
    if at is None:
        return _Selection(manifest, manifest.taken_micros, Reach(manifest.sequence))
    model = (manifest.facts.get("embedder"), manifest.facts.get("embedding_dimension"))
    past = Past(past_of, manifest.store_id, manifest.epoch, model)
    reach = past.reach(manifest.sequence, at)
    problems = [reach.gap] if reach.gap else []
    if not reach.gap and not reach.passed and not past.goes_on:
        problems.append("the journal of that time ends before, or is not to be had")
    moment = at if not problems else max(reach.wall_micros, manifest.taken_micros)
    return _Selection(manifest, moment, reach, past, problems, past_of.stat(ARCHIVE) is not None)


def past_version(folder: SnapshotFolder, key: Key, wanted: Wanted, past_of: Backend) -> tuple[Entity | None, datetime]:
    """One entity as it was, and the moment; None where it was not there.

    Args:
        folder: the snapshots; held by the caller.
        key: whose.
        wanted: which past.
        past_of: the store whose journal tells what was written after the snapshot.

    Raises:
        UsageError: the journal is archived, and the moment is not to be had all the same.
        EntityNotFoundError, DamagedBackupError, DiskError: as `restore_store`.
    """
    found = _select(folder, wanted, past_of)
    if found.problems and found.archived:
        raise _out_of_reach(found)
    path = entity_path(*key)
    if key in found.reach.last:
        data = next(record.data for record in found.records() if record.key == key)
    else:
        digest = folder.find(found.manifest, path)
        data = None if digest is None else folder.entity(digest)
    if data is None:
        return None, from_micros(found.moment)
    inspected = inspect(*key, data)
    if inspected.state != "sealed" or inspected.entity is None:
        raise DamagedBackupError(f"what is stored as {path} is no file of that entity", path=path)
    return sealed_version(key[0], data).stored_entity(), from_micros(found.moment)


def _out_of_reach(found: _Selection) -> UsageError:
    """Nothing is replaced by another past than the one that was asked for."""
    moment = format_time(from_micros(found.moment))
    return UsageError(
        f"that moment is not to be had: {found.problems[0]}; the last one before it that is, is {moment}",
        hint="Give --to a new place to get that, or --at that moment; nothing was changed. A restore begins another "
        "past, which needs a backup of its own before moments of it can be had.",
    )


# What is replaced


def _look_before(backend: Backend, clock: Clock) -> _Before:
    """What the store holds; nothing, and that unknown, where it is too damaged to tell."""
    try:
        state, contents = read_index(backend, StoreConfig(), clock)
    except NotAStoreError:
        there = (SUPERBLOCK, JOURNAL, INDEX, *ENTITY_FOLDERS.values())
        return _Before(None if any(backend.stat(path) is not None for path in there) else {})
    except (DamagedError, StoreFormatError, DiskError):
        return _Before(None)
    rows = {
        entity_path(kind, i): hash_of(row).hex() for kind, found in state.index.rows.items() for i, row in found.items()
    }
    until = max((updated_of(row) for found in state.index.rows.values() for row in found.values()), default=0)
    for record in (decode_record(body) for entry in contents.entries for body in entry.records):
        rows.pop(entity_path(*record.key), None)
        if record.data is not None:
            path, digest = _addressed(record)
            rows[path] = digest
        until = max(until, record.updated_micros)
    sequence = max(contents.highest_sequence, state.index.position.sequence)
    return _Before(rows, until, sequence, state.superblock.epoch, state.superblock.store_id)


def _archive_journal(backend: Backend, epoch: str) -> None:
    """Where the journal is archived, what is still in it belongs there as well, since it ends here."""
    if epoch and backend.stat(ARCHIVE) is not None:
        for number in sorted(n for n in (segment_number(name) for name, _ in backend.scan(JOURNAL)) if n is not None):
            archive_segment(backend, epoch, number)


def _report(found: _Selection, entities: dict[str, str], before: _Before, quarantine: str) -> RestoreReport:
    memories = sum(path.startswith(f"{MEMORIES}/") for path in entities)
    replayed = sum(entity_path(*key) in entities for key in found.reach.last)
    return RestoreReport(
        snapshot=found.manifest.name,
        moment=from_micros(found.moment),
        memories=memories,
        assemblies=len(entities) - memories,
        files=len(found.manifest.files),
        replayed=replayed,
        quarantine=quarantine,
        loss=_loss(found.moment, entities, before),
        missing=found.manifest.missing,
        problems=tuple(found.problems),
    )


def _loss(moment: int, entities: dict[str, str], before: _Before) -> Loss | None:
    since = from_micros(moment)
    if before.rows is None:
        return Loss(since, known=False)
    if not before.rows:
        return None
    newer = sorted(path for path, digest in before.rows.items() if entities.get(path) != digest)
    returned = sorted(entities.keys() - before.rows.keys())
    ids = tuple(" ".join(key_of_path(path) or (path,)) for path in (*newer, *returned)[:_MOST_NAMED])
    return Loss(since, from_micros(before.until_micros), len(newer), len(returned), ids)
