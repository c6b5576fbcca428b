"""A store that nobody has open: opened, examined and mended, or made again from a snapshot where it cannot be opened.

It takes no backup and writes no log (`health`), and keeps no time (`monitor`).

    cut-off restore gone on with -> opened -> what a damaged journal has lost -> repair -> files from backups -> closed
    cannot be opened -> facts from a snapshot, or the newest snapshot that can be proved -> opened, and so on
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from synthians_memory.engine.check import Progress
from synthians_memory.engine.index import MemoryIndex
from synthians_memory.engine.rebuild import entity_files
from synthians_memory.engine.records import Key, decode_record
from synthians_memory.engine.rows import updated_of
from synthians_memory.engine.store import Store
from synthians_memory.engine.superblock import Superblock
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
from synthians_memory.layout import ENTITY_FOLDERS, Kind
from synthians_memory.maintenance.copies import Copies, Copy
from synthians_memory.maintenance.health_place import HealthPlace, HealthSettings
from synthians_memory.maintenance.manifest import Manifest
from synthians_memory.maintenance.mending import Mended, Mender
from synthians_memory.maintenance.part_mending import check_parts, restore_part_files
from synthians_memory.maintenance.restore_plan import is_cut_off
from synthians_memory.maintenance.restore_report import RestoreReport
from synthians_memory.maintenance.rollback import finish_cut_off, give_superblock, roll_back
from synthians_memory.maintenance.sampling import next_share
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.segment import read_journal
from synthians_memory.times import Clock, format_time

__all__ = ["Course", "StoreMender", "is_bad", "mend_open_store", "snapshots_of"]

# Other programs, other places, other versions of the library: no damage.
_NO_DAMAGE: Final = (StoreMovedError, EmbedderMismatchError, UnsupportedFormatError)

_MOST_NAMED: Final = 20


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
    try:
        opening = place.snapshots(False)
        folder = opening.__enter__()
    except (EntityNotFoundError, NotAStoreError):
        yield None
        return
    except (InvalidValueError, StoreLockedError, DiskError) as error:
        problems.append(f"the snapshots cannot be read: {error.message}")
        yield None
        return
    try:
        yield folder
    finally:
        opening.__exit__(None, None, None)


@dataclass(slots=True)
class _Before:
    """What a store says of its journal before it is recovered.

    Attributes:
        epoch: "" where nothing says.
        spoken: entity -> number of the last intact frame that speaks of it.
        suspect: whether frames may be missing that had been there.
        settled: every change up to this one is in files and views, whatever the journal has lost.
        last: the last change that it had; None where nobody knows.
        problem: what was lost of it, in a sentence; "" for nothing.
    """

    epoch: str = ""
    spoken: dict[Key, int] = field(default_factory=dict)
    suspect: bool = False
    settled: int = 0
    last: int | None = 0
    problem: str = ""


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
        self._facts_given = False

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
            before = self._look_before()
            store = self._opened(folder)
            if store is None:
                return
            try:
                self._mend(store, folder, before)
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
        except DiskError:
            return False
        return True

    def _look_before(self) -> _Before:
        if not self._is_there():
            return _Before()
        backend = self._place.open_store()
        try:
            superblock = find_superblock(backend, [], None)
            return _Before() if superblock is None else _before(backend, superblock, self._place.clock)
        except (DamagedError, StoreFormatError):
            return _Before()
        finally:
            backend.close()

    def _opened(self, folder: SnapshotFolder | None) -> Store | None:
        """The store, recovered, or made again; None where it cannot be."""
        try:
            return self._open()
        except (DamagedError, StoreFormatError) as error:
            if isinstance(error, _NO_DAMAGE) and not self._is_cut_off():
                raise
            if folder is None or not folder.listing().manifests:
                if isinstance(error, NotAStoreError) and not self._holds_anything():
                    raise
                return self._unopened(error.message, "No snapshot is there to restore: nothing was changed.")
            if not self._settings.auto_rollback:
                return self._unopened(error.message, "Run `synthians-memory restore`: auto_rollback is false.")
            return self._made_again(folder, error)

    def _open(self) -> Store:
        if not self._is_there():
            raise NotAStoreError(f"{self._place.config.storage_path} is not there")
        backend = self._place.open_store()
        try:
            if find_superblock(backend, [], None) is None:
                raise NotAStoreError(f"{self._place.config.storage_path} holds no store")
        except BaseException:
            backend.close()
            raise
        # What is found is mended with backups at hand, not by the opening.
        config = replace(self._place.config, auto_repair=False, startup_check="off")
        return Store.open(backend, config, self._place.clock)

    def _is_cut_off(self) -> bool:
        backend = self._place.open_store()
        try:
            return is_cut_off(backend)
        finally:
            backend.close()

    def _holds_anything(self) -> bool:
        if not self._is_there():
            return False
        backend = self._place.open_store()
        try:
            return any(next(entity_files(backend, kind), None) is not None for kind in ENTITY_FOLDERS)
        finally:
            backend.close()

    def _unopened(self, problem: str, step: str) -> Store | None:
        self._course.problems.append(f"the store cannot be opened: {problem}")
        self._course.steps.append(step)
        return None

    def _made_again(self, folder: SnapshotFolder, error: DamagedError | StoreFormatError) -> Store | None:
        course, place = self._course, self._place
        course.actions.append(f"the store could not be opened: {error.message}")
        if isinstance(error, NotAStoreError) and self._holds_anything():
            given = give_superblock(place.open_store, folder, place.clock)
            if given:
                course.actions.append(given)
                self._facts_given = course.from_backup = True
                return self._open()
        course.rollback = roll_back(
            place.make_store, folder, place.clock, config=place.config, parts=place.parts, problems=course.problems
        )
        if course.rollback is None:
            return self._unopened(error.message, "No snapshot is whole enough to be restored: nothing was changed.")
        course.lost += _losses(course.rollback)
        return self._open()

    # Mending

    def _mend(self, store: Store, folder: SnapshotFolder | None, before: _Before) -> None:
        course = self._course
        notes = [note for note in store.state.notes if is_bad(note)]
        made_anew = self._facts_given or course.rollback is not None
        if not notes and not made_anew and not before.suspect and self._is_healthy(store):
            return
        copies = Copies(store.state.backend, store.state.superblock.store_id, folder)
        course.findings += notes
        give_up = self._settings.auto_rollback and bool(copies.manifests)
        mender = Mender(store, copies, give_up=give_up, progress=self._progress)
        mender.put_back(self._lost_changes(store, copies, before))
        mender.put_back(self._absent(store, copies))
        mended = mender.run()
        _mend_parts(store, self._place, copies, mended, databases=True)
        course.add(mended)
        # Recovery has said so, and mended it.
        course.actions += [f"recovered: {note.message}" for note in notes]
        course.problems += dict.fromkeys(copies.problems)
        if any(is_bad(finding) for finding in course.remaining):
            course.steps += _steps(course.remaining, bool(copies.manifests), self._settings.auto_rollback)

    def _is_healthy(self, store: Store) -> bool:
        course, state = self._course, store.state
        if state.read_only_reason:
            return False
        share = None
        if self._settings.sample > 1:
            share = next_share(state.backend, state.index.rows, self._settings.sample)
            course.read = share
        found = store.check("full", self._progress, share) + check_parts(state.backend, self._place.parts)
        if any(is_bad(finding) or finding.code == "scratch" for finding in found):
            return False
        course.findings = course.remaining = found
        return True

    def _lost_changes(self, store: Store, copies: Copies, before: _Before) -> dict[Key, Copy]:
        """What a damaged journal has lost, and a snapshot holds that was taken after it had been written."""
        manifests = [manifest for manifest in copies.manifests if manifest.epoch == before.epoch]
        reaches = manifests[0].sequence if manifests else 0
        if before.problem and (before.last is None or reaches < before.last):
            self._course.lost.append(before.problem)
        # Up to `settled` the store knows better than any snapshot, deletions included.
        if not before.suspect or reaches <= before.settled:
            return {}
        known, held = _updates(store), copies.held(manifests[0])
        later = {key for key, sequence in before.spoken.items() if sequence > reaches}
        until = manifests[0].taken_micros
        back = [key for key in known.keys() - held.keys() - later if known[key] <= until]
        if back:
            names = ", ".join(f"{kind} {entity_id!r}" for kind, entity_id in sorted(back)[:_MOST_NAMED])
            self._course.steps.append(f"Deleted before, as the snapshot {manifests[0].name} says, and back: {names}.")
        wanted = {key: digest for key, digest in held.items() if key not in later}
        found = copies.newer(manifests[0], wanted, known)
        if not before.settled:
            self._note_returned(manifests[0], len(found.keys() - known.keys()))
        return found

    def _absent(self, store: Store, copies: Copies) -> dict[Key, Copy]:
        """What a snapshot holds of the kinds of which nothing is left, nor anything that tells what was deleted."""
        kinds = _kinds_without_trace(store, everything=self._facts_given)
        manifest = _newest_whole(copies.manifests)
        if manifest is None or not kinds:
            return {}
        known = _updates(store)
        held = {key: digest for key, digest in copies.held(manifest).items() if key[0] in kinds and key not in known}
        found = copies.newer(manifest, held, known)
        self._note_returned(manifest, len(found))
        return found

    def _note_returned(self, manifest: Manifest, count: int) -> None:
        if count:
            what = f"nothing tells what was deleted since the snapshot {manifest.name}"
            self._course.lost.append(f"{what}: {count} entities that it holds are back")


def _before(backend: Backend, superblock: Superblock, clock: Clock) -> _Before:
    contents = read_journal(backend, (superblock.store_id, superblock.epoch))
    spoken = {decode_record(body).key: entry.sequence for entry in contents.entries for body in entry.records}
    lost = contents.damage or contents.unreadable or contents.newest is None
    before = _Before(superblock.epoch, spoken, suspect=bool(lost or contents.torn or contents.headless))
    if not before.suspect:
        return before
    index = MemoryIndex(backend, superblock.facts, clock.micros)
    reached = 0 if index.load() or index.position.epoch != superblock.epoch else index.position.sequence
    before.settled = max(contents.checkpointed_through, reached)
    if contents.unreadable or contents.newest is None:
        before.last = None
        before.problem = (
            f"changes numbered above {before.settled} that no snapshot holds may have been lost with the journal"
        )
    elif contents.damage:
        before.last = max(damage.last for damage in contents.damage)
        numbers = ", ".join(f"{damage.first} to {damage.last}" for damage in contents.damage)
        before.problem = f"changes numbered {numbers} of the journal are not to be had, but for what proves itself"
    return before


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
        _mend_parts(store, place, copies, mended, databases=False)
        course.findings = []
        course.add(mended)
        course.problems += dict.fromkeys(copies.problems)
        if any(is_bad(finding) for finding in course.remaining):
            course.steps += _steps(course.remaining, bool(copies.manifests), settings.auto_rollback)


def _mend_parts(store: Store, place: HealthPlace, copies: Copies, mended: Mended, *, databases: bool) -> None:
    backend = store.state.backend
    found = check_parts(backend, place.parts)
    mended.findings = [*mended.findings, *found]
    if any(finding.severity == "damage" for finding in found):
        mended.restored += restore_part_files(backend, found, copies, place.clock, mended.lost, databases=databases)
        found = check_parts(backend, place.parts)
    mended.remaining = [*mended.remaining, *found]


def _updates(store: Store) -> dict[Key, int]:
    rows = store.state.index.rows
    return {(kind, entity_id): updated_of(row) for kind, found in rows.items() for entity_id, row in found.items()}


def _kinds_without_trace(store: Store, *, everything: bool) -> Collection[Kind]:
    state = store.state
    if everything:
        return tuple(ENTITY_FOLDERS)
    if not any(note.code == "index_damaged" for note in state.notes):
        return ()
    return tuple(kind for kind in ENTITY_FOLDERS if next(entity_files(state.backend, kind), None) is None)


def _newest_whole(manifests: tuple[Manifest, ...]) -> Manifest | None:
    return next((manifest for manifest in manifests if not manifest.missing), next(iter(manifests), None))


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
    return steps or ["Run `synthians-memory check`, then `repair`."]
