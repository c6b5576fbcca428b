"""A store that nobody has open: opened, examined and mended, or made again from a snapshot where it cannot be opened.

It takes no backup and writes no log (`health`), and keeps no time (`monitor`).

    cut-off restore gone on with -> what the opening would forget noted -> opened -> that brought back -> repair -> files from backups -> closed
    cannot be opened -> facts from a snapshot, or the newest snapshot that can be proved -> opened, and so on
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from synthians_memory.engine.check import Progress
from synthians_memory.engine.rebuild import entity_files
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.engine.superblock_recovery import find_superblock
from synthians_memory.errors import (
    DamagedError,
    DiskError,
    EmbedderMismatchError,
    EntityNotFoundError,
    InvalidValueError,
    NotAStoreError,
    StoreFormatError,
    StoreLockedError,
    StoreMovedError,
    UnsupportedFormatError,
)
from synthians_memory.layout import ENTITY_FOLDERS, HEALTH_LOG, INDEX, INDEX_BACKUPS, REPAIR_PLAN
from synthians_memory.maintenance.copies import Copies
from synthians_memory.maintenance.health_place import HealthPlace, HealthSettings
from synthians_memory.maintenance.lost_changes import (
    LostChanges,
    drop_plan,
    find_lost_changes,
    held_by,
    save_plan,
    saved_plan,
    versions_of,
)
from synthians_memory.maintenance.mending import Mended, Mender
from synthians_memory.maintenance.part_mending import check_parts, gone_databases, mend_part_files, restore_part_files
from synthians_memory.maintenance.restore_plan import is_cut_off
from synthians_memory.maintenance.restore_report import RestoreReport
from synthians_memory.maintenance.rollback import finish_cut_off, give_superblock, roll_back
from synthians_memory.maintenance.sampling import next_share
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.lock import StoreLock
from synthians_memory.times import format_time, from_micros

__all__ = ["Course", "StoreMender", "examined_parts", "is_bad", "mend_open_store", "snapshots_of"]

# Other programs, other places, other versions of the library: no damage.
_NO_DAMAGE: Final = (StoreMovedError, EmbedderMismatchError, UnsupportedFormatError)


@dataclass(slots=True)
class Course(Mended):
    """The course of a pass: what it has found and done so far.

    Attributes:
        rollback: of the whole store; None where none was needed.
        from_backup: whether a restore that was cut off before was completed, or a snapshot said what the store is.
        opened: whether the store could be opened in the end.
        read: whose files a sampled check has read; empty for a full one.
        memories, assemblies: how many the store holds.
        problems: what the pass could not do, a sentence each.
        steps: what is left to a person, a sentence each.
    """

    rollback: RestoreReport | None = None
    from_backup: bool = False
    opened: bool = False
    read: list[Key] = field(default_factory=list)
    memories: int = 0
    assemblies: int = 0
    problems: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    def add(self, mended: Mended) -> None:
        """Take over what a mender has found and done."""
        self.findings += mended.findings
        self.remaining = mended.remaining
        self.actions += mended.actions
        self.restored += mended.restored
        self.lost += mended.lost
        self.given_up += mended.given_up

    def count(self, store: Store) -> None:
        """Note how many entities there are."""
        self.opened = True
        self.memories, self.assemblies = (store.state.index.count(kind) for kind in ENTITY_FOLDERS)


def is_bad(finding: Finding) -> bool:
    """Whether it needs more than to be known."""
    return finding.severity != "note"


@contextmanager
def snapshots_of(place: HealthPlace, problems: list[str]) -> Iterator[SnapshotFolder | None]:
    """The snapshots of a store, held for reading; None where there are none, or none that can be read."""
    folder: SnapshotFolder | None = None
    with ExitStack() as held:
        try:
            folder = held.enter_context(place.snapshots(False))
        except (EntityNotFoundError, NotAStoreError):
            # Nobody has taken any yet, or the store is gone with them.
            folder = None
        except (InvalidValueError, StoreLockedError, DiskError) as error:
            problems.append(f"the snapshots cannot be read: {error.message}")
        yield folder


class StoreMender:
    """Mends one store that nobody has open; used once, by one thread.

    Args:
        place: the store.
        settings: what may be done.
        course: grows.
        progress: as in `check`.
    """

    def __init__(
        self, place: HealthPlace, settings: HealthSettings, course: Course, progress: Progress | None = None
    ) -> None:
        self._place = place
        self._settings = settings
        self._course = course
        self._progress = progress
        self._lost = LostChanges()

    def run(self) -> None:
        """Open, examine and mend; `course` says what came of it.

        Raises:
            StoreLockedError: somebody has the store open.
            NotAStoreError: there is none, nor a snapshot of one.
            StoreMovedError, UnsupportedFormatError, EmbedderMismatchError: it is no work for this; nothing was changed.
            DiskError: the disk refuses; the next pass goes on.
        """
        with snapshots_of(self._place, self._course.problems) as folder:
            self._finish_restore()
            store = self._opened(folder)
            if store is None:
                return
            try:
                self._mend(store, folder)
                self._course.count(store)
                store.close()
            finally:
                store.release()

    # Opening

    def _finish_restore(self) -> None:
        try:
            done = finish_cut_off(self._place.open_store, self._place.clock, self._place.parts)
        except NotAStoreError:
            # A folder of somebody else has the name: nothing was begun.
            return
        except DiskError:
            if self._is_there():
                raise
            return
        self._course.actions += [done] if done else []
        self._course.from_backup = bool(done)

    def _is_there(self) -> bool:
        try:
            self._place.open_store().close()
        except DiskError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    def _opened(self, folder: SnapshotFolder | None) -> Store | None:
        """The store, recovered, or made again; None where it cannot be."""
        try:
            return self._open(folder)
        except (DamagedError, StoreFormatError) as error:
            if isinstance(error, _NO_DAMAGE) and not self._is_cut_off():
                raise
            if folder is None or not folder.listing().manifests:
                if isinstance(error, NotAStoreError) and not self._has_traces():
                    raise
                return self._unopened(error.message, "No snapshot is there to restore: nothing was changed.")
            if not self._settings.auto_rollback:
                return self._unopened(error.message, "Run `synthians-memory restore`: auto_rollback is false.")
            return self._made_again(folder, error)

    def _open(self, folder: SnapshotFolder | None) -> Store:
        if not self._is_there():
            raise NotAStoreError(f"{self._place.config.storage_path} is not there")
        self._note_lost_changes(folder)
        # What is found is mended with backups at hand, not by the opening.
        config = replace(self._place.config, auto_repair=False, startup_check="off")
        return Store.open(self._place.open_store(), config, self._place.clock)

    def _note_lost_changes(self, folder: SnapshotFolder | None) -> None:
        """Find out what the opening would forget, and write that down, before anything is opened for writing."""
        backend = self._place.open_store()
        try:
            superblock = find_superblock(backend, [], None)
            if superblock is None:
                raise NotAStoreError(f"{self._place.config.storage_path} holds no store")
            saved = saved_plan(backend)
            if saved is not None:
                self._lost = saved
                return
            with self._locked(backend):
                copies = Copies(backend, superblock.store_id, folder)
                self._lost = find_lost_changes(self._place.open_store, superblock, copies, self._place.clock)
                if self._lost:
                    save_plan(self._place, self._lost)
        finally:
            backend.close()

    @contextmanager
    def _locked(self, backend: Backend) -> Iterator[None]:
        lock = StoreLock.acquire(backend, clock_text=format_time(from_micros(self._place.clock.micros())))
        try:
            yield
        finally:
            lock.release()

    def _is_cut_off(self) -> bool:
        backend = self._place.open_store()
        try:
            return is_cut_off(backend)
        finally:
            backend.close()

    def _has_traces(self) -> bool:
        """Whether there was a store once."""
        if not self._is_there():
            return False
        backend = self._place.open_store()
        try:
            kept = any(backend.stat(path) is not None for path in (INDEX, HEALTH_LOG, REPAIR_PLAN))
            files = any(next(entity_files(backend, kind), None) is not None for kind in ENTITY_FOLDERS)
            return kept or files or next(backend.scan(INDEX_BACKUPS), None) is not None
        finally:
            backend.close()

    def _unopened(self, problem: str, step: str) -> Store | None:
        self._course.problems.append(f"the store cannot be opened: {problem}")
        self._course.steps.append(step)
        return None

    def _made_again(self, folder: SnapshotFolder, error: DamagedError | StoreFormatError) -> Store | None:
        course, place = self._course, self._place
        course.actions.append(f"the store could not be opened: {error.message}")
        if isinstance(error, NotAStoreError) and self._has_traces():
            given = give_superblock(place.open_store, folder, place.clock)
            if given:
                course.actions.append(given)
                course.from_backup = True
                return self._open(folder)
        course.rollback = roll_back(
            place.make_store, folder, place.clock, config=place.config, parts=place.parts, problems=course.problems
        )
        if course.rollback is None:
            return self._unopened(error.message, "No snapshot is whole enough to be restored: nothing was changed.")
        course.lost += _losses(course.rollback)
        self._forget_plan()
        return self._open(folder)

    def _forget_plan(self) -> None:
        """What was to come back into the store that was replaced is in the snapshot, or in no other place."""
        backend = self._place.open_store()
        try:
            drop_plan(backend)
        finally:
            backend.close()

    # Mending

    def _mend(self, store: Store, folder: SnapshotFolder | None) -> None:
        course = self._course
        notes = [note for note in store.state.notes if is_bad(note)]
        changed = bool(notes or self._lost or course.from_backup or course.rollback)
        if not changed and self._is_healthy(store, folder):
            return
        copies = Copies(store.state.backend, store.state.superblock.store_id, folder)
        course.findings += notes
        give_up = self._settings.auto_rollback and bool(copies.manifests)
        mender = Mender(store, copies, give_up=give_up, progress=self._progress)
        mender.put_back(versions_of(self._lost, copies, held_by(store) if self._lost.entries else {}))
        mended = mender.run()
        # All of it is durable.
        drop_plan(store.state.backend)
        course.lost += self._lost.lost
        course.steps += self._lost.notes
        _mend_parts(store, self._place, copies, mended, give_up=give_up)
        course.add(mended)
        # Recovery has said so, and mended it.
        course.actions += [f"recovered: {note.message}" for note in notes]
        course.problems += dict.fromkeys(copies.problems)
        if any(is_bad(finding) for finding in course.remaining):
            course.steps += _steps(course.remaining, bool(copies.manifests), self._settings.auto_rollback)

    def _is_healthy(self, store: Store, folder: SnapshotFolder | None) -> bool:
        course, state = self._course, store.state
        if state.read_only_reason:
            return False
        share = None
        if self._settings.sample > 1:
            share = next_share(state.backend, state.index.rows, self._settings.sample)
        copies = Copies(state.backend, state.superblock.store_id, folder)
        found = store.check("full", self._progress, share) + examined_parts(store, self._place, copies)
        if any(is_bad(finding) or finding.code == "scratch" for finding in found):
            return False
        course.findings = course.remaining = found
        course.read = share or []
        return True


def mend_open_store(
    store: Store, place: HealthPlace, settings: HealthSettings, course: Course, progress: Progress | None = None
) -> None:
    """Mend what can be mended while the store stays open; called by the thread that may write to it.

    Raises:
        DiskError: a step failed; another pass goes on.
    """
    with snapshots_of(place, course.problems) as folder:
        copies = Copies(store.state.backend, store.state.superblock.store_id, folder)
        give_up = settings.auto_rollback and bool(copies.manifests)
        mended = Mender(store, copies, give_up=give_up, progress=progress).run()
        _mend_open_parts(store, place, copies, mended)
        course.findings = []
        course.add(mended)
        course.problems += dict.fromkeys(copies.problems)
        if any(is_bad(finding) for finding in course.remaining):
            course.steps += _steps(course.remaining, bool(copies.manifests), settings.auto_rollback)


def _mend_parts(store: Store, place: HealthPlace, copies: Copies, mended: Mended, *, give_up: bool) -> None:
    """Of a store that nobody else has open."""
    backend = store.state.backend
    found = examined_parts(store, place, copies)
    mended.findings = [*mended.findings, *found]
    if any(is_bad(finding) for finding in found):
        mend_part_files(backend, place.parts, found, copies, place.clock, mended, give_up=give_up)
        found = examined_parts(store, place, copies)
    mended.remaining = [*mended.remaining, *found]


def examined_parts(store: Store, place: HealthPlace, copies: Copies) -> list[Finding]:
    """What is wrong with the files of the parts, and which of them are gone. Raises DiskError."""
    found = check_parts(store.state.backend, place.parts)
    return [*found, *gone_databases(store.state.backend, copies, store.state.superblock.epoch, found)]


def _mend_open_parts(store: Store, place: HealthPlace, copies: Copies, mended: Mended) -> None:
    """What may be mended while the databases of the parts are open."""
    backend = store.state.backend
    found = examined_parts(store, place, copies)
    mended.findings = [*mended.findings, *found]
    if any(finding.severity == "damage" for finding in found):
        mended.restored += restore_part_files(backend, found, copies, place.clock, mended.lost, databases=False)
        found = examined_parts(store, place, copies)
    mended.remaining = [*mended.remaining, *found]


def _losses(report: RestoreReport) -> list[str]:
    """The window of loss of a rollback, in words."""
    loss = report.loss
    if loss is None:
        return [f"what was written after {format_time(report.moment)} is not to be had, as far as anything was"]
    since = format_time(loss.since)
    if not loss.known:
        return [f"what was written after {since} is not to be had, as far as anything was"]
    until = f" until {format_time(loss.until)}" if loss.until else ""
    if not loss.newer and not loss.returned:
        return []
    newer = f"written after {since}{until}, and only in {report.quarantine}: {loss.newer} entities"
    return [f"{newer}; deleted since, and back: {loss.returned}"]


def _steps(remaining: list[Finding], backups: bool, auto_rollback: bool) -> list[str]:
    steps = []
    if any(finding.severity == "damage" and finding.entity_id for finding in remaining):
        why = "auto_rollback is false" if backups and not auto_rollback else "no copy of them is to be had"
        steps.append(
            f"Files of entities are damaged or missing, and {why}: put them back, `adopt` them, or run `repair`."
        )
    if any(finding.path.startswith("ledger") for finding in remaining):
        steps.append("Run `synthians-memory ledger doctor`.")
    if any(finding.code.startswith("tier_") and is_bad(finding) for finding in remaining):
        steps.append("Run `synthians-memory doctor`: it says what can be done about the databases in tiers/.")
    return steps or ["Run `synthians-memory check`, then `repair`."]
