"""Migration: bringing a store from an older format version to that of this library, a step at a time, in place.

It knows no step (`migrations` has one file for each), and it is not the move of a store to another place.

While a step is under way the superblock carries a mandatory feature that no reader knows, so that nobody opens
what is neither of the one version nor of the other; a store without a superblock is opened by nobody anyway. A
step can be repeated, so that an interrupted migration goes on when it is run again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from synthians_memory.config import StoreConfig
from synthians_memory.engine.documents import read_document, write_document
from synthians_memory.engine.index import MemoryIndex
from synthians_memory.engine.moved import is_given_up, moved_error, require_not_moved
from synthians_memory.engine.store import Store
from synthians_memory.engine.superblock import MIGRATING_FEATURE, Superblock
from synthians_memory.errors import NotAStoreError, NotRegularFileError, UnsupportedFormatError
from synthians_memory.layout import FORMAT_VERSION, SUPERBLOCK
from synthians_memory.maintenance.migrations import MIGRATIONS
from synthians_memory.maintenance.migrations.step import Migration, Workplace
from synthians_memory.models import random_id
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.lock import StoreLock
from synthians_memory.storage.segment import read_journal
from synthians_memory.times import Clock, SystemClock, format_time, from_micros

__all__ = ["MigrationReport", "migrate", "migrate_store"]

Progress = Callable[[int, int], None]

# Members of the superblock that the framework keeps.
_OWN: Final = frozenset(("format_version", "mandatory_features"))


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a migration did.

    Attributes:
        start: the format version that the store had; 0 for one without a superblock.
        end: the one that it has now, or would have.
        steps: what was done, in order.
        notes: what a person should know.
        remaining: what a full check finds afterwards; nothing for a dry run.
        dry_run: whether nothing was changed.
    """

    start: int
    end: int
    steps: tuple[str, ...]
    notes: tuple[str, ...] = ()
    remaining: tuple[Finding, ...] = ()
    dry_run: bool = False

    @property
    def clean(self) -> bool:
        """Whether nothing worse than a note remains."""
        return all(finding.severity == "note" for finding in self.remaining)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        remaining = [finding.to_dict() for finding in self.remaining]
        return {**asdict(self), "remaining": remaining, "clean": self.clean}


def migrate_store(
    path: str | os.PathLike[str],
    config: StoreConfig | None = None,
    *,
    dry_run: bool = False,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> MigrationReport:
    """Bring the store in a directory up to date, then open and check it; running it again goes on.

    A store that is up to date is only looked at. What a migration takes out of the way goes to the store's
    quarantine; what it cannot read stays as it is, and is named.

    Args:
        path: the store; no program may have it open.
        config: settings to open it with afterwards.
        dry_run: change nothing, and report what would be done.
        clock: source of time.
        progress: called in this thread with the files that are done, of how many; begins anew with each step.

    Raises:
        NotAStoreError: there is nothing that could be migrated.
        UnsupportedFormatError: it is of a newer format.
        StoreLockedError: a program has it open.
        DiskError: the disk refuses; the migration goes on when it is repeated.
    """
    clock = clock or SystemClock()
    backend = LocalBackend(path)
    try:
        report = migrate(backend, clock, dry_run=dry_run, progress=progress)
    finally:
        backend.close()
    if dry_run or not report.steps:
        return report
    store = Store.open(LocalBackend(path), config or StoreConfig(), clock)
    try:
        remaining = store.check("full", progress)
        store.close()
    finally:
        store.release()
    return MigrationReport(report.start, report.end, report.steps, report.notes, tuple(remaining))


def migrate(
    backend: Backend,
    clock: Clock,
    *,
    migrations: Sequence[Migration] = MIGRATIONS,
    end: int = FORMAT_VERSION,
    new_id: Callable[[], str] = random_id,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> MigrationReport:
    """Bring the files of a store to format version `end`, and nothing more; as `migrate_store`.

    Args:
        backend: the store.
        clock: source of time.
        migrations: the steps that there are.
        end: the version to reach.
        new_id: source of ids.
        dry_run: change nothing: the first step only says what it finds, and the later ones are named.
        progress: as in `migrate_store`.
    """
    # A lock would write its holder's name.
    lock = None if dry_run else StoreLock.acquire(backend, clock_text=format_time(from_micros(clock.micros())))
    try:
        start, facts = _version(backend, end)
        path = [_from(version, migrations) for version in range(start, end)]
        notes: list[str] = []
        for migration in path[:1] if dry_run else path:
            place = Workplace(backend, clock, new_id, facts, notes, dry_run, progress)
            facts = _take(place, migration)
        if not dry_run:
            # A process that was killed at its very end may have left the last name in the cache only.
            backend.sync_folder("")
        return MigrationReport(start, end, tuple(step.what for step in path), tuple(notes), dry_run=dry_run)
    finally:
        if lock is not None:
            lock.release()


def _take(place: Workplace, migration: Migration) -> Mapping[str, Any]:
    """Take one step; the superblock's members after it."""
    features = [name for name in place.facts.get("mandatory_features", ()) if name != MIGRATING_FEATURE]
    if place.facts and not place.dry_run:
        _store(place.backend, {**place.facts, "mandatory_features": [*features, MIGRATING_FEATURE]})
    members = migration.run(place)
    kept = {name: value for name, value in members.items() if name not in _OWN}
    facts = {**kept, "format_version": migration.start + 1, "mandatory_features": features}
    if not place.dry_run:
        _store(place.backend, facts)
    return facts


def _store(backend: Backend, facts: Mapping[str, Any]) -> None:
    lines = (b"  %s: %s" % (orjson.dumps(name), orjson.dumps(value)) for name, value in facts.items())
    write_document(backend, SUPERBLOCK, lines)


def _from(version: int, migrations: Sequence[Migration]) -> Migration:
    for migration in migrations:
        if migration.start == version:
            return migration
    raise UnsupportedFormatError(
        f"there is no migration from format version {version}",
        path=SUPERBLOCK,
        hint="Migrate the store with an earlier version of the library first.",
    )


def _version(backend: Backend, end: int) -> tuple[int, Mapping[str, Any]]:
    """The format version of a store, and what its superblock says: 0 and nothing where it has none.

    Raises:
        NotAStoreError, UnsupportedFormatError: it cannot be migrated.
        StoreMovedError: it was moved away.
        DamagedViewError: its superblock is damaged.
    """
    found = read_document(backend, SUPERBLOCK)
    if found is None:
        require_not_moved(backend)
        _require_no_copies(backend)
        return 0, {}
    if is_given_up(found):
        raise moved_error(backend)
    version = found.get("format_version")
    if type(version) is not int or not 0 <= version <= end:
        raise UnsupportedFormatError(f"the store is of format version {version!r}, newer than {end}", path=SUPERBLOCK)
    features = found.get("mandatory_features", ())
    _require_known(features)
    if MIGRATING_FEATURE in features and version == end:
        what = f"a migration of the store beyond format version {end} was interrupted"
        raise UnsupportedFormatError(what, path=SUPERBLOCK, hint="Go on with the version of the library that began it.")
    return version, found


def _require_known(features: Sequence[str]) -> None:
    """Refuse a feature that this library does not know, whatever the version: UnsupportedFormatError."""
    facts = Superblock("", "", None, "cosine").facts()
    Superblock.from_facts({**facts, "mandatory_features": [name for name in features if name != MIGRATING_FEATURE]})


def _require_no_copies(backend: Backend) -> None:
    """Refuse a store that has only lost its superblock: opening it writes it again, and loses nothing."""
    try:
        copies = read_journal(backend, None).newest is not None or MemoryIndex.read_facts(backend)
    except NotRegularFileError:
        copies = None
    if copies:
        raise NotAStoreError(
            f"{backend.location} is a store that has lost its {SUPERBLOCK}",
            path=SUPERBLOCK,
            hint="Open it: that is written again from its copies. A migration is not needed.",
        )
