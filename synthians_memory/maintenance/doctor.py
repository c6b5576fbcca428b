"""The doctor: every check there is of a store and of what is around it, in one pass that changes nothing.

It mends nothing: it names the commands that do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from synthians_memory.config import StoreConfig
from synthians_memory.engine.part import Part
from synthians_memory.engine.store import Store
from synthians_memory.engine.superblock import require_compatible
from synthians_memory.errors import (
    DiskError,
    EmbedderMismatchError,
    NotAStoreError,
    PermissionDeniedError,
    SynthiansMemoryError,
)
from synthians_memory.layout import (
    BACKUPS,
    FAISS_FILE,
    INDEX,
    JOURNAL,
    MAPPING,
    MEMORIES,
    MOVED,
    RESTORE_PLAN,
    SNAPSHOTS,
    SUPERBLOCK,
)
from synthians_memory.maintenance.configuration import Configuration, load_configuration
from synthians_memory.maintenance.diagnosis import Diagnosis, Examined, trouble, with_copies_first
from synthians_memory.maintenance.examinations import (
    Progress,
    examine_alerts,
    examine_interrupted,
    examine_lock,
    examine_parked,
    examine_part,
    examine_passes,
    examine_snapshots,
    examine_store,
    examined_findings,
    own_snapshots,
    unopened,
)
from synthians_memory.maintenance.surroundings import examine_disk, examine_permissions, examine_software
from synthians_memory.reports import Finding
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.permissions import owner_of
from synthians_memory.times import Clock, SystemClock

__all__ = ["FurtherCheck", "diagnose"]

# A check that needs more than the store's files; raises errors of the library.
FurtherCheck = Callable[[], Sequence[Finding]]

_HOURS: Final = 1.0
_TRACES: Final = (SUPERBLOCK, INDEX, MOVED, JOURNAL, MEMORIES, BACKUPS)


def diagnose(
    path: str | os.PathLike[str],
    parts: Sequence[Part] = (),
    *,
    snapshots: str | os.PathLike[str] | None = None,
    further: Mapping[str, FurtherCheck] | None = None,
    environment: Mapping[str, str] = os.environ,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Examine a store, whatever state it is in, and all that is around it; nothing at all is changed.

    Works beside a program that writes to it, on a store that cannot be opened, on a newer format, and where there is no
    store. Reads every byte of the store and of its snapshots, in the calling thread.

    Args:
        path: the store's directory.
        parts: what lies beside the memories and assemblies: `facade.PARTS`.
        snapshots: the directory of the snapshots; None: the store's own.
        further: checks besides, by name; made where the store could be opened.
        environment: as for `load_configuration`.
        clock: source of time.
        progress: called with what is examined, how many steps are done, and of how many (0: not known).

    Returns:
        What was found. What cannot be examined is told in it, and raises nothing.
    """
    given = os.fspath(snapshots) if snapshots is not None else None
    doctor = _Doctor(os.path.abspath(path), clock or SystemClock(), environment, progress or _unseen)
    return doctor.examine(parts, given, further or {})


def _unseen(name: str, done: int, total: int) -> None:
    """Nobody looks."""


class _Doctor:
    """One examination of one store."""

    def __init__(self, location: str, clock: Clock, environment: Mapping[str, str], progress: Progress) -> None:
        self._location = location
        self._clock = clock
        self._environment = environment
        self._progress = progress
        self._examined: list[Examined] = []
        self._configuration: Configuration | None = None
        self._embedder: str | None = None
        # Number of the store's last change; None where nobody knows.
        self._changed: int | None = None

    def examine(self, parts: Sequence[Part], snapshots: str | None, further: Mapping[str, FurtherCheck]) -> Diagnosis:
        started = self._clock.monotonic()
        self._examine("configuration", self._configure)
        holder = ""
        try:
            backend = self._backend()
        except SynthiansMemoryError as error:
            self._examined.append(self._unopened(_as_missing(error, self._location)))
        else:
            try:
                holder = self._examine_directory(backend, parts, snapshots, further)
            finally:
                backend.close()
        self._examine("software", lambda: examine_software(self._location, self._embedder))
        errors = (one.error for one in self._examined if one.error is not None)
        seconds = self._clock.monotonic() - started
        examined = with_copies_first(self._examined, self._location, snapshots)
        return Diagnosis(self._location, examined, holder, next(errors, None), seconds)

    def _backend(self) -> LocalBackend:
        return LocalBackend(self._location)

    def _examine(self, name: str, look: Callable[[], Examined]) -> None:
        """Add what `look` sees; where that is refused, the refusal."""
        self._progress(name, 0, 0)
        try:
            self._examined.append(look())
        except SynthiansMemoryError as error:
            found = trouble("unexamined", error.message, self._location, advice=error.hint)
            self._examined.append(Examined.of(name, "it cannot be looked at", [found]))

    def _configure(self) -> Examined:
        try:
            self._configuration = load_configuration(self._location, self._environment)
        except SynthiansMemoryError as error:
            found = trouble("configuration_wrong", error.message, self._location, advice=error.hint)
            return Examined.of("configuration", "it cannot be used", [found])
        given = sorted(key for key in self._configuration.origins if key != "storage.path")
        return Examined.of("configuration", f"given: {', '.join(given)}" if given else "defaults throughout")

    def _examine_directory(
        self, backend: LocalBackend, parts: Sequence[Part], snapshots: str | None, further: Mapping[str, FurtherCheck]
    ) -> str:
        location, now = self._location, self._clock.micros()
        if not _has_traces(backend):
            # Whatever else is there is none of a store's.
            self._examine_memories()
            return ""
        self._examine("permissions", lambda: examine_permissions(location))
        self._examine("disk", lambda: examine_disk(location, _room_needed(backend)))
        holder = self._examine_holder(backend)
        self._examine("interrupted work", lambda: examine_interrupted(backend, location, held=bool(holder)))
        is_open = self._examine_memories()
        for part in parts:
            self._examine(part.name, partial(examine_part, part, backend, location))
        for name, check in further.items() if is_open else ():
            self._examine(name, partial(self._examine_further, name, check))
        self._examine("backups", lambda: self._examine_backups(backend, snapshots))
        self._examine("parked memories", lambda: examine_parked(self._backend, location))
        self._examine("alerts", lambda: examine_alerts(backend, location))
        hours = self._configuration.check_interval_hours if self._configuration else _HOURS
        self._examine("health passes", lambda: examine_passes(backend, location, now=now, hours=hours))
        return holder

    def _examine_holder(self, backend: LocalBackend) -> str:
        holders: list[str] = []

        def look() -> Examined:
            holder, examined = examine_lock(backend)
            holders.append(holder)
            return examined

        self._examine("lock", look)
        return "".join(holders)

    def _examine_further(self, name: str, check: FurtherCheck) -> Examined:
        return examined_findings(name, check(), self._location)

    def _examine_backups(self, backend: LocalBackend, directory: str | None) -> Examined:
        return examine_snapshots(
            directory if directory is not None else own_snapshots(backend),
            self._location,
            now=self._clock.micros(),
            changed=self._changed,
            progress=self._progress,
        )

    def _examine_memories(self) -> bool:
        """Whether the store could be opened for reading."""
        self._progress("memories", 0, 0)
        # Settings that contradict the store must not keep anybody from looking at it.
        config = StoreConfig(storage_path=self._location, target_recall=1.0)
        try:
            store = Store.open(self._backend(), config, self._clock, read_only=True)
        except SynthiansMemoryError as error:
            self._examined.append(self._unopened(error))
            return False
        try:
            self._embedder = store.state.superblock.embedder
            self._changed = store.state.index.position.sequence or store.state.index.count("memory")
            self._examine("memories", lambda: examine_store(store, self._location, self._progress))
            self._compare_settings(store)
        finally:
            store.release()
        return True

    def _unopened(self, error: SynthiansMemoryError) -> Examined:
        can_restore = os.path.isdir(os.path.join(self._location, SNAPSHOTS))
        restoring = os.path.lexists(os.path.join(self._location, RESTORE_PLAN))
        owner = owner_of(self._location) if os.path.exists(self._location) else None
        return unopened(error, self._location, can_restore=can_restore, restoring=restoring, owner=owner)

    def _compare_settings(self, store: Store) -> None:
        if self._configuration is None:
            return
        config, metric_given = self._configuration.store_config, "metric" in self._configuration.settings
        try:
            require_compatible(store.state.superblock, config, metric_given, None)
        except EmbedderMismatchError as error:
            found = trouble("settings_refused", error.message, self._location, advice=error.hint)
            self._examined.append(Examined.of("settings", "the store is of another kind", [found]))


def _as_missing(error: SynthiansMemoryError, location: str) -> SynthiansMemoryError:
    """Why a directory cannot be opened, as an opening says it."""
    if isinstance(error, PermissionDeniedError):
        return error
    what = f"{location} is no directory" if os.path.lexists(location) else f"there is no directory {location}"
    return NotAStoreError(what, path=location)


def _has_traces(backend: LocalBackend) -> bool:
    """Whether a directory has anything that a store's has, or does not let anybody see."""
    try:
        return any(backend.stat(path) is not None for path in _TRACES)
    except DiskError:
        return True


def _room_needed(backend: LocalBackend) -> int:
    """Bytes that writing the indexes anew takes, beside those that there are. Raises DiskError."""
    stats = (backend.stat(path) for path in (INDEX, FAISS_FILE, MAPPING))
    return 2 * sum(stat.size for stat in stats if stat is not None)
