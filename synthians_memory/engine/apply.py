"""Acknowledged changes reach their entity files: written, removed, or held where that fails.

It is not the acknowledgement (`commit`), and it makes nothing durable (`checkpoint`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from synthians_memory.codec import Version, inspect, unseal
from synthians_memory.engine.overlay import Layer, Stuck
from synthians_memory.engine.records import NO_HASH, Key, Record
from synthians_memory.engine.rows import hash_of, stat_of
from synthians_memory.engine.state import StoreState
from synthians_memory.errors import DiskError
from synthians_memory.layout import ENTITY_FOLDERS, Kind, entity_path
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import EntryStat

__all__ = ["Applier"]


class _Before(NamedTuple):
    """What an entity's file may hold while changes of the entity wait for it.

    Attributes:
        known: content hashes that are not foreign: of the version before the first of these changes, and of
            an adopted file. The versions between that one and the latest never reach the file.
        seen: size and mtime_ns of the file when it was last seen to hold the first of them.
        since: when the first of these changes became visible, on the monotonic clock.
    """

    known: frozenset[bytes]
    seen: tuple[int, int] | None
    since: float


# Files that are written in one call of the back end.
_AT_ONCE: Final = 64
_NOTHING: Final[frozenset[bytes]] = frozenset()


class Applier:
    """Writes the files of published changes, each entity's latest, in the order in which they came to wait.

    Used by one thread, the writer.
    """

    def __init__(self, state: StoreState) -> None:
        self._state = state
        self._before: OrderedDict[Key, _Before] = OrderedDict()
        # The computed hashes of files that are being adopted: the versions they hold are not foreign.
        self.adopting: frozenset[bytes] = _NOTHING

    @property
    def waiting(self) -> int:
        """Entities with a change that waits for its file."""
        return len(self._before)

    @property
    def waiting_since(self) -> float | None:
        """When the change that has waited longest became visible, on the monotonic clock; None where none waits."""
        return next(iter(self._before.values())).since if self._before else None

    def publish(self, layer: Layer) -> None:
        """Make changes visible to loads, all of them at once; they wait for their files from here on.

        Called before the memory index is told of them: it says what the files hold until then.
        """
        now = self._state.clock.monotonic()
        for key in layer:
            before = self._before.get(key)
            if before is None:
                before = self._before[key] = self._present(key, now)
            if self.adopting:
                self._before[key] = before._replace(known=before.known | self.adopting)
        self._state.overlay.publish(layer)

    def _present(self, key: Key, now: float) -> _Before:
        row = self._state.index.packed(key)
        return _Before(_NOTHING, None, now) if row is None else _Before(frozenset((hash_of(row),)), stat_of(row), now)

    def write(self, most: int) -> int:
        """Write the files of up to `most` waiting changes, the oldest first; returns how many.

        What cannot be written is stuck then, and waits no more.
        """
        due = [key for key, _ in zip(self._before, range(most), strict=False)]
        for start in range(0, len(due), _AT_ONCE):
            part = due[start : start + _AT_ONCE]
            written = self._write_many(part) if self._state.files.takes_many(len(part)) else set()
            for key in part:
                if key not in written:
                    self._write_one(key)
                del self._before[key]
                self._state.overlay.settle(key)
        return len(due)

    def _write_one(self, key: Key) -> None:
        before, stuck = self._before[key], self._state.overlay.stuck.get(key)
        known = before.known | stuck.known if stuck else before.known
        self.apply_file(key, self._state.overlay.get(key)[1], known, before.seen)

    def _write_many(self, keys: Sequence[Key]) -> set[Key]:
        """Write those of the files that replace what they are expected to, in few calls; returns whose it wrote.

        Whatever else there is about a file, an error or a stranger's, is left to `apply_file`.
        """
        state = self._state
        written: set[Key] = set()
        for kind in ENTITY_FOLDERS.keys() - state.vanished:
            versions = [(key, state.overlay.get(key)[1]) for key in keys if key[0] == kind]
            plain = [(key, version) for key, version in versions if version and self._is_plain(key)]
            files = [(key[1], version.data, self._before[key].seen) for key, version in plain]
            outcomes = state.files.write_many(kind, files) if files else []
            for (key, version), outcome in zip(plain, outcomes, strict=True):
                if isinstance(outcome, EntryStat):
                    state.index.note_stat(key, version.hash, outcome)
                    written.add(key)
        return written

    def _is_plain(self, key: Key) -> bool:
        """Whether the file of a change is expected to be the one that was there before it, or none."""
        before = self._before[key]
        return key not in self._state.overlay.stuck and (before.seen is None) == (not before.known)

    def apply_file(
        self, key: Key, version: Version | None, known: frozenset[bytes], seen: tuple[int, int] | None = None
    ) -> bool:
        """Write or remove the file of one entity; what fails is kept in the overlay and reported.

        Args:
            key: whose.
            version: what the file shall hold; None for none.
            known: content hashes that the present file may have without being foreign.
            seen: size and mtime_ns of the present file when it last held one of them.

        Returns:
            Whether it succeeded.
        """
        state = self._state
        known = known | state.staged_hashes(key)
        try:
            self.place(key, version, known, seen)
        except DiskError as error:
            if version is not None:
                known = known | {version.hash}
            state.overlay.hold(key, Stuck(version, known, error))
            state.counters.apply_failures += 1
            state.last_error = str(error)
            return False
        if key in state.overlay.stuck:
            state.overlay.release(key)
        return True

    def place(
        self, key: Key, version: Version | None, known: frozenset[bytes], seen: tuple[int, int] | None = None
    ) -> None:
        """As `apply_file`; raises DiskError, and keeps nothing."""
        state = self._state
        self._require_folder(key[0])
        stat = self._write_new(key, version) if not known else None
        if stat is None:
            self._set_foreign_aside(key, version, known, seen)
            if version is None:
                state.files.remove(*key)
            else:
                stat = state.files.write(*key, version.data)
        if version is not None and stat is not None:
            state.index.note_stat(key, version.hash, stat)

    def _write_new(self, key: Key, version: Version | None) -> EntryStat | None:
        """Write the first version of an entity, where nothing has its name yet."""
        return None if version is None else self._state.files.write_new(*key, version.data)

    def _require_folder(self, kind: Kind) -> None:
        if kind in self._state.vanished:
            path = ENTITY_FOLDERS[kind]
            raise DiskError(f"{path} has lost all its files", path=path, hint="Put it back, or run `repair`.")

    def _set_foreign_aside(
        self, key: Key, version: Version | None, known: frozenset[bytes], seen: tuple[int, int] | None
    ) -> None:
        path = entity_path(*key)
        stat = self._state.backend.stat(path)
        if stat is None:
            return
        if stat.kind != "file":
            self._quarantine(key, path, "something that is no regular file stood in the place of an entity file")
            return
        data = None if seen == (stat.size, stat.mtime_ns) else self._state.backend.read(path)
        if data is None:
            return
        computed = unseal(data)[1]
        if computed in known or (version is not None and computed == version.hash):
            return
        if inspect(*key, data).entity is not None:
            self._quarantine(key, path, "a version written outside stood where an acknowledged one was written")

    def _quarantine(self, key: Key, path: str, reason: str) -> None:
        target = self._state.set_aside(path, reason)
        self._state.counters.conflicts += 1
        self._state.notes.append(Finding("conflict", f"{reason}; it is kept as {target}", path, *key))

    def retry_stuck(self) -> None:
        """Try again to apply what could not be written."""
        for key, stuck in self._state.overlay.pending():
            self.apply_file(key, stuck.version, stuck.known)

    def records_again(self) -> list[list[Record]]:
        """What is still stuck, as records of one batch for each entity, to be appended again."""
        return [self._records_of(key, stuck) for key, stuck in self._state.overlay.pending()]

    def _records_of(self, key: Key, stuck: Stuck) -> list[Record]:
        """The stuck change, once for each version that its file may hold meanwhile: recovery is to know them all."""
        now = self._state.clock.micros()
        data = None if stuck.version is None else stuck.version.data
        updated = now if stuck.version is None else stuck.version.updated_micros
        return [Record(*key, data, updated, predecessor) for predecessor in self._predecessors(key, stuck)]

    def _predecessors(self, key: Key, stuck: Stuck) -> list[bytes]:
        try:
            self._require_folder(key[0])
            data = self._state.backend.read(entity_path(*key))
        except DiskError:
            return sorted(stuck.known) or [NO_HASH]
        present = NO_HASH if data is None else unseal(data)[1]
        return [present if present in stuck.known else NO_HASH]
