"""A trial of the disk that a store will live on: what it can do, and a crash suite over one store on it.

It cuts no power, so that what a disk loses then stays unseen; and it touches nothing beside a folder of its own.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from random import Random
from typing import Any, Final

from synthians_memory.codec import encode
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.errors import DiskFullError, SynthiansMemoryError
from synthians_memory.models import Entity
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.disk_facts import DiskFact, DiskPlace, Finding, drop_cached, find_fact, look_at
from synthians_memory.testing.killed_processes import KilledProcesses, can_kill_processes
from synthians_memory.testing.killed_workload import KILLED_STORE, TASKS, entity_of, steps_of, task_of
from synthians_memory.testing.store_history import State, StoreHistory, observe, require
from synthians_memory.testing.store_verifier import StoreVerifier, require_agreeing_files
from synthians_memory.testing.stored_files import all_files
from synthians_memory.times import SystemClock, to_micros

__all__ = ["UNSEEN", "CrashSuite", "DiskReport", "Progress", "try_disk"]

# Called after each kill: how many there were, of how many.
Progress = Callable[[int, int], None]
# Which edition of each entity is stored.
Editions = dict[Key, int]

UNSEEN: Final = (
    "A killed process loses nothing that the kernel already has. Whether the disk keeps what it calls synced when the "
    "power goes can be tested only by cutting the power; see docs/guarantees.md."
)
_FOLDER: Final = "synthians-memory-verify-disk"
_STORE: Final = "store"
_VERIFIER: Final = StoreVerifier(KILLED_STORE, lambda backend: backend, lambda backend: backend)


@dataclass(frozen=True, slots=True)
class DiskReport:
    """What a trial found.

    Attributes:
        directory: where the trial took place.
        facts: one for each test, in order.
        kills: how many processes were killed.
        acknowledged: how many calls of the store had been acknowledged to them.
        seconds: how long the trial took.
    """

    directory: str
    facts: tuple[DiskFact, ...]
    kills: int
    acknowledged: int
    seconds: float

    @property
    def warnings(self) -> int:
        """How many tests warn."""
        return sum(fact.result == "warning" for fact in self.facts)

    @property
    def suitable(self) -> bool:
        """Whether nothing failed or was lost; warnings are for the user to judge."""
        return not self.has("failed", "lost")

    def has(self, *results: str) -> bool:
        """Whether some test had one of these results."""
        return any(fact.result in results for fact in self.facts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "directory": self.directory,
            "suitable": self.suitable,
            "results": [fact.to_dict() for fact in self.facts],
            "kills": self.kills,
            "acknowledged": self.acknowledged,
            "unseen": UNSEEN,
            "seconds": round(self.seconds, 3),
        }


def try_disk(directory: str, *, kills: int, seed: int, progress: Progress | None = None) -> DiskReport:
    """Try the disk that `directory` lies on, in a fresh folder there that is gone afterwards, whatever happens.

    Args:
        directory: exists; nothing else in it is read or changed.
        kills: how many processes to kill; 0 for none.
        seed: of what they do and when they are killed.
        progress: called after each kill.

    Raises:
        DiskFullError: there is not enough room for a trial.
        DiskError: the folder cannot be made or removed.
    """
    started = time.monotonic()
    try:
        with _fresh_folder(directory) as path:
            facts, suite = _try_in(path, kills, seed, progress)
    except DiskFullError as error:
        hint = "Free some space there, 20 MiB or more, and try again."
        raise DiskFullError(
            f"no room for a trial: {error.message}", path=directory, hint=hint, errno=error.errno or 0
        ) from error
    return DiskReport(path, facts, suite.kills, suite.acknowledged, time.monotonic() - started)


def _try_in(path: str, kills: int, seed: int, progress: Progress | None) -> tuple[tuple[DiskFact, ...], CrashSuite]:
    backend = LocalBackend(path)
    try:
        place = DiskPlace(path, backend, Random(seed))  # noqa: S311 - repeatable, not secret
        suite = CrashSuite(place, kills, seed)
        return (*look_at(place), *suite.run(progress)), suite
    finally:
        backend.close()


@contextmanager
def _fresh_folder(directory: str) -> Iterator[str]:
    above = LocalBackend(directory)
    try:
        name = next(name for number in count(1) if above.make_folder(name := f"{_FOLDER}-{number}"))
        try:
            yield os.path.join(above.location, name)
        finally:
            _remove(above, name)
    finally:
        above.close()


def _remove(backend: Backend, folder: str) -> None:
    for name, stat in list(backend.scan(folder)):
        path = f"{folder}/{name}"
        if stat.kind == "folder":
            _remove(backend, path)
        else:
            backend.unlink(path)
    backend.remove_folder(folder)


@dataclass
class CrashSuite:
    """Processes that are killed while they work with one store, and what they leave.

    Attributes:
        place: an empty directory.
        wanted: how many processes to kill.
        seed: of what they do, and when they are killed.
        kills: how many were killed so far.
        acknowledged: how many calls were acknowledged to them.
    """

    place: DiskPlace
    wanted: int
    seed: int
    kills: int = 0
    acknowledged: int = 0
    _held: Editions = field(default_factory=dict)
    _opening: float = 0.05

    def run(self, progress: Progress | None = None) -> list[DiskFact]:
        """Kill them all; what was found. Raises DiskFullError."""
        if not can_kill_processes():
            return [DiskFact("killed processes", "skipped", "this platform cannot fork and kill processes")]
        with KilledProcesses() as processes:
            facts = [find_fact("locks", lambda: self._locks(processes))]
            if self.wanted:
                facts.append(_crash_fact("killed processes", lambda: self._kill_all(processes, progress)))
        if self.wanted and facts[-1].result == "ok":
            facts.append(_crash_fact("what is stored", self._read_back))
        return facts

    def _locks(self, processes: KilledProcesses) -> Finding:
        """Whether a lock keeps another process out, and only as long as it is held."""
        lock = self.place.backend.lock("", exclusive=True)
        if lock is None:
            return "failed", "a folder that nobody else knows is locked"
        kept_out = not self._other_locks(processes)
        lock.release()
        if not kept_out:
            return "failed", "two processes got one lock: two writers could destroy a store"
        if not self._other_locks(processes):
            return "failed", "a lock that was given up is held still"
        return "ok", "they keep a second process out"

    def _other_locks(self, processes: KilledProcesses) -> bool:
        processes.start(program="lock", path=self.place.path)
        locked = bool(processes.wait_for("locked"))
        for _ in processes.lines():
            continue
        return locked

    def _kill_all(self, processes: KilledProcesses, progress: Progress | None) -> Finding:
        self.place.backend.make_folder(_STORE)
        for life in range(1, self.wanted + 1):
            acknowledged = self._live_and_die(processes, life)
            self.kills += 1
            self.acknowledged += acknowledged.total()
            self._require_kept(life, acknowledged)
            if progress is not None:
                progress(self.kills, self.wanted)
        return "ok", f"{self.kills} killed, {self.acknowledged:,} calls acknowledged, none lost, none in part"

    def _live_and_die(self, processes: KilledProcesses, life: int) -> Counter[int]:
        """How many steps of each task were acknowledged before the process was killed."""
        rng, started = self.place.rng, time.monotonic()
        acknowledged: Counter[int] = Counter()
        processes.start(program="work", path=self._store_path, seed=self.seed, life=life)
        if life % 3 == 0:  # while it opens the store, or soon after
            seconds = rng.uniform(0, 2 * self._opening)
        else:
            processes.wait_for("open")
            self._opening = max(self._opening, time.monotonic() - started)
            seconds = rng.uniform(0, 0.25)
        for lines in (processes.lines(seconds), processes.kill()):
            acknowledged.update(line["done"] for line in lines if "done" in line)
        return acknowledged

    @property
    def _store_path(self) -> str:
        return os.path.join(self.place.path, _STORE)

    def _require_kept(self, life: int, acknowledged: Counter[int]) -> None:
        """Open what is left, and hold it against what was acknowledged; AssertionError where they differ."""
        store = Store.open(LocalBackend(self._store_path), KILLED_STORE, SystemClock())
        try:
            observed = observe(store)
            self._held = self._settled(observed, life, acknowledged)
            _VERIFIER.require_recovered(store, _versions(self._held, observed))
            # Half of the time the next process finds a store that was not closed.
            if self.place.rng.random() < 0.5:
                store.close()
        finally:
            store.release()

    def _settled(self, observed: dict[Key, Entity], life: int, acknowledged: Counter[int]) -> Editions:
        """The editions that are there: of each task what was acknowledged, and its next step in full or not at all."""
        settled: Editions = {}
        strangers = [key for key in observed if task_of(key) is None]
        require(not strangers, f"{strangers} were never saved")
        for task in range(TASKS):
            before = {key: edition for key, edition in self._held.items() if task_of(key) == task}
            possible = _possible(before, self.seed, life, task, acknowledged[task])
            part = {key: entity for key, entity in observed.items() if task_of(key) == task}
            found = StoreHistory([_versions(editions, part) for editions in possible]).match(part)
            settled |= possible[found]
        return settled

    def _read_back(self) -> Finding:
        """Close the store, and read its files from the disk."""
        Store.open(LocalBackend(self._store_path), KILLED_STORE, SystemClock()).close()
        backend = LocalBackend(self._store_path)
        try:
            paths = [os.path.join(self._store_path, path) for path, data in all_files(backend).items() if data]
            # What no sync has asked for yet stays in memory otherwise.
            backend.sync_filesystem()
            dropped = sum(map(drop_cached, paths))
            store = Store.open(LocalBackend(self._store_path), KILLED_STORE, SystemClock(), read_only=True)
            try:
                observed = observe(store)
            finally:
                store.release()
            require(observed.keys() == self._held.keys(), "the closed store holds other entities")
            require_agreeing_files(backend, _versions(self._held, observed))
        finally:
            backend.close()
        return (
            "ok",
            f"{len(self._held)} entities agree with indexes; {dropped} of {len(paths)} files read from the disk",
        )


def _crash_fact(name: str, look: Callable[[], Finding]) -> DiskFact:
    """As `find_fact`; a store that is not as it was acknowledged, or does not open, has lost something."""
    try:
        return find_fact(name, look)
    except AssertionError as error:
        return DiskFact(name, "lost", str(error))
    except DiskFullError:
        raise
    except SynthiansMemoryError as error:
        return DiskFact(name, "lost", error.message)


def _possible(before: Editions, seed: int, life: int, task: int, acknowledged: int) -> Sequence[Editions]:
    """After the steps that were acknowledged, and after the next one."""
    states, held = [], dict(before)
    for done, step in enumerate(islice(steps_of(seed, life, task), acknowledged + 1)):
        if done == acknowledged:
            states.append(dict(held))
        for key, edition in step.changes:
            if edition is None:
                held.pop(key, None)
            else:
                held[key] = edition
    return [*states, held]


def _versions(editions: Editions, observed: dict[Key, Entity]) -> State:
    """The versions that these editions are, updated when those observed say that they were."""
    found: dict[Key, Any] = {}
    for key, edition in editions.items():
        updated_at = observed[key].__dict__["updated_at"] if key in observed else None
        found[key] = encode(entity_of(key, edition)).stamp(to_micros(updated_at) if updated_at else 0)
    return found
