"""The ledger: what ran, what is trusted because of it, and which files came of it, in one folder.

It is not the store of memories: a ledger needs none, and is written beside a program that has the store open.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

from synthians_memory.config import CheckLevel
from synthians_memory.engine.documents import write_whole
from synthians_memory.errors import EntityNotFoundError, InvalidTypeError, InvalidValueError
from synthians_memory.json_values import JsonObject, checked_object, checked_text
from synthians_memory.layout import cut_log_name, path_in
from synthians_memory.ledger.artifacts import ArtifactTable, hashes_of_tracked
from synthians_memory.ledger.capsules import Capsule, make_durable_folder, require_new_run
from synthians_memory.ledger.comparison import RunDifference, compare_runs
from synthians_memory.ledger.entries import CAPSULE_HASHES, Entry, checked_event, identified, seal_entry
from synthians_memory.ledger.examination import examine
from synthians_memory.ledger.facts import FactTable, checked_fact, is_current
from synthians_memory.ledger.log import Log, Tail, free_name
from synthians_memory.ledger.lookup import found_in
from synthians_memory.ledger.timeline import latest_entries
from synthians_memory.models import random_id
from synthians_memory.redaction import redacted
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.lock import lock_folder
from synthians_memory.times import Clock, SystemClock, from_micros

__all__ = ["Ledger", "LedgerHead"]

_LOCK_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """How far a log reaches; kept elsewhere it shows later whether its tail was cut.

    Attributes:
        length: bytes of its whole lines.
        hash_self: of the last entry; None in an empty log.
        run_id: of the last entry; "" in an empty log.
    """

    length: int
    hash_self: str | None
    run_id: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


class Ledger:
    """The ledger in one folder. Synchronous; thread-safe, and safe beside other processes, whose turn it waits for.

    What a call that writes has acknowledged by returning survives a power cut. Where it raises, its entry is not in
    the log, or it is there whole (a disk that fails can leave either).

    Args:
        backend: the medium; given up by `close`.
        folder: where in it, "" for all of it; made at the first write.
        clock: source of time.
        draw: gives a random UUID, for ids.
        wait: how long to wait for the lock, seconds.
        sleep: called between two tries.

    Every method raises DiskError where the operating system refuses; those that write raise StoreLockedError where
    another program holds the ledger for longer than `wait`.
    """

    def __init__(
        self,
        backend: Backend,
        folder: str = "",
        *,
        clock: Clock | None = None,
        draw: Callable[[], str] = random_id,
        wait: float = _LOCK_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._backend = backend
        self._folder = folder
        self._clock = clock or SystemClock()
        self._draw = draw
        self._wait = wait
        self._sleep = sleep
        self._turn = threading.RLock()
        self._prepared = not folder
        self._log = Log(backend, folder, self._clock)
        self._facts = FactTable(backend, folder)
        self._artifacts = ArtifactTable(backend, folder)
        self._set_aside: list[str] = []

    @property
    def set_aside(self) -> tuple[str, ...]:
        """Paths of the torn lines, never acknowledged, that this object found and put beside the log."""
        return tuple(self._set_aside)

    # Recording

    def write_log(self, event: JsonObject) -> str:
        """Append an entry; returns its run_id. The cost does not depend on how long the log is.

        Args:
            event: any JSON object. `ts` and `run_id` are added where it has none; `hash_prev`, `hash_self` and
                `capsule_sha256` are the ledger's own, and ignored here.

        Raises:
            InvalidTypeError, InvalidValueError, InvalidIdError: it cannot be recorded, or its run has a capsule or
                was recorded just now.
            DamagedError: the last entry is not what was written.
        """
        fields = checked_event(event)
        with self._locked():
            return self._record(fields, None)

    def write_run(
        self,
        event: JsonObject,
        *,
        context: JsonObject | None = None,
        inputs: Mapping[str, bytes] | None = None,
        outputs: Mapping[str, bytes] | None = None,
    ) -> str:
        """Append an entry together with its capsule; returns its run_id. Both are there, or neither is acknowledged.

        Args:
            event: as in `write_log`.
            context: what it ran in; secrets in it, told by name and shape, are redacted.
            inputs: file name -> content, kept as they are.
            outputs: likewise.

        Raises:
            As `write_log`. Nothing is logged where the run has its capsule already.
        """
        checked_event(event)
        capsule = self.begin_capsule()
        try:
            capsule.put_context(redacted(checked_object(context or {}, "context")))
            for name, data in (inputs or {}).items():
                capsule.put("inputs", name, data)
            for name, data in (outputs or {}).items():
                capsule.put("outputs", name, data)
            return self.finish_run(event, capsule)
        except BaseException:
            capsule.discard()
            raise

    def begin_capsule(self) -> Capsule:
        """A capsule to be filled while something runs, for `finish_run`. Holds no lock."""
        with self._locked():
            return Capsule(self._backend, self._folder, self._draw())

    def finish_run(self, event: JsonObject, capsule: Capsule) -> str:
        """Append an entry, once `capsule`, filled, is in place as that of its run; returns its run_id.

        Raises:
            As `write_log`.
        """
        fields = checked_event(event)
        with self._locked():
            return self._record(fields, capsule)

    def _record(self, fields: JsonObject, capsule: Capsule | None) -> str:
        tail = self._settled()
        known = identified(fields, self._clock.micros(), self._draw, tail.run_id)
        run_id: str = known["run_id"]
        if run_id == tail.run_id:
            raise InvalidValueError(f"the run {run_id} was recorded just now", hint="Leave the run_id out.")
        require_new_run(self._backend, self._folder, run_id)
        if capsule is not None:
            known[CAPSULE_HASHES] = dict(sorted(capsule.hashes.items()))
        entry = seal_entry(known, tail.hash_self)
        if capsule is not None:
            capsule.finish(entry)
        self._log.append(tail, entry)
        return run_id

    def _settled(self) -> Tail:
        tail, kept = self._log.settle()
        if kept is not None:
            self._set_aside.append(kept)
        return tail

    # Facts and artifacts

    def promote_fact(self, fact: JsonObject, threshold: float = 0.8) -> None:
        """Trust a fact from now on: insert it, or replace the one with its id in its place. Idempotent.

        Args:
            fact: `id`, `statement`, `confidence` (0..1), `source_run` (in the log); `layer`, `evidence`, `expires_at`,
                `reviewed_by` and whatever else is kept as it is.
            threshold: the least confidence that needs no `reviewed_by`, 0..1.

        Raises:
            InvalidTypeError, InvalidValueError: as `checked_fact`.
            EntityNotFoundError: its source_run is not in the log.
            DamagedError: the table of facts is damaged; it stays as it is.
        """
        fields = checked_fact(fact, threshold)
        with self._locked():
            self._facts.put(fields, from_micros(self._clock.micros()), has_run=self._has_run)

    def facts(self, *, expired: bool = False) -> list[JsonObject]:
        """The facts that hold now, in the order of the table.

        Args:
            expired: also those that have expired.

        Raises:
            DamagedError: the table is damaged.
        """
        now = from_micros(self._clock.micros())
        return [fact for fact in self._facts.read() if expired or is_current(fact, now)]

    def index_artifacts(
        self, task: str, paths: Sequence[str], run_id: str, *, directory: str = "."
    ) -> list[JsonObject]:
        """Note files as artifacts of a task; returns those whose hash it did not have yet, as they were added.

        Args:
            task: its name.
            paths: files that git tracks, absolute or relative to the present directory. All are noted, or none.
            run_id: the run that brought them forth; in the log.
            directory: lies in the work tree.

        Raises:
            InvalidValueError: a file is ignored, untracked, outside, missing or no regular file; no task.
            GitFailedError: there is no git, or no work tree.
            EntityNotFoundError: the run is not in the log.
            DamagedError: the table of artifacts is damaged; it stays as it is.
        """
        if not checked_text(task, "task").strip():
            raise InvalidValueError("the task is empty", hint="Name the task that the files belong to.")
        found = hashes_of_tracked(paths, directory)
        with self._locked():
            return self._artifacts.add(task, found, checked_text(run_id, "run_id"), known=self._has_run(run_id))

    def artifacts(self) -> dict[str, list[JsonObject]]:
        """The artifacts of each task. Raises DamagedError where the table is damaged."""
        return self._artifacts.read()

    def _has_run(self, run_id: str) -> bool:
        return self._log.find(run_id) is not None

    # Reading

    def entries(self) -> Iterator[JsonObject]:
        """The fields of every entry that is as it was written, oldest first. Holds no lock; damaged lines are left out."""
        for entry in self._log.entries():
            yield entry.fields

    def entry(self, run_id: str) -> JsonObject:
        """The latest entry of a run. Raises EntityNotFoundError where there is none."""
        found = self._log.find(run_id)
        if found is None:
            raise EntityNotFoundError(f"the run {run_id} is not in the log", hint="`ledger timeline` shows the runs.")
        return found.fields

    def recall(self, query: str, *, limit: int = 5) -> list[JsonObject]:
        """What in the log, the facts that hold and the artifacts speaks of `query`, newest first.

        Args:
            query: looked for in every value, letters large or small; "" finds everything.
            limit: how many at most; 1 or more.

        Returns:
            For each its own members, and its `kind`: "log", "fact" or "artifact" (with its `task`).

        Raises:
            InvalidTypeError, InvalidValueError: an argument is wrong.
            DamagedError: a table is damaged.
        """
        wanted = checked_text(query, "query")
        return found_in(self._log.entries(), self.facts(), self.artifacts(), wanted, _checked_limit(limit))

    def timeline(self, *, task: str | None = None, limit: int = 10) -> list[JsonObject]:
        """The fields of the latest entries, oldest first.

        Args:
            task: only those of this task.
            limit: how many at most; 1 or more.

        Raises:
            InvalidTypeError, InvalidValueError: a wrong limit.
        """
        return latest_entries(self._log.entries(), task, _checked_limit(limit))

    def compare(self, run_id: str, against: str = "latest") -> RunDifference:
        """How a run differs from another, in its fields and its output files.

        Args:
            run_id: the run.
            against: the other; "latest" is that of the last entry.

        Raises:
            EntityNotFoundError: one of them is not in the log.
            DamagedError: the last entry is not what was written.
        """
        other = self.head().run_id if against == "latest" else against
        return compare_runs(self._backend, self._folder, self.entry(run_id), self.entry(other))

    def check(self, level: CheckLevel = "full") -> list[Finding]:
        """What is wrong; changes nothing, and waits for a writer for two seconds at most.

        Args:
            level: "quick" reads the end of the log and the tables, "full" every byte.
        """
        return examine(self._backend, self._folder, level, self._clock)

    # The head, and what a restore cuts off

    def head(self) -> LedgerHead:
        """How far the log reaches now. Raises DamagedError where its last entry is not what was written."""
        tail = self._log.tail()
        return LedgerHead(tail.end, tail.hash_self, tail.run_id)

    def reaches(self, head: LedgerHead) -> bool:
        """Whether the log still holds, where it was, the entry that `head` names: its tail was not cut before it."""
        if self._log.size() < head.length:
            return False
        tail = self._log.tail(head.length)
        return (tail.end, tail.hash_self) == (head.length, head.hash_self)

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the log, some at a time; for `cut_after_restore` of another ledger."""
        return self._log.chunks()

    def cut_after_restore(self, newer: Iterable[bytes]) -> str | None:
        """After a restore put an older log in place: keep the newer one beside it, and record the cut.

        Args:
            newer: the bytes of the log that was there before; kept by the caller until this returns.

        Returns:
            The run_id of the entry that names the cut; None, with nothing done, where the log has all of `newer`.

        Raises:
            DamagedError: the last entry of the log in place is not what was written.
        """
        with self._locked():
            self._settled()
            kept = free_name(
                self._backend, lambda micros: path_in(self._folder, cut_log_name(from_micros(micros))), self._clock
            )
            write_whole(self._backend, kept, newer)
            cut = Log(self._backend, self._folder, self._clock, kept.rpartition("/")[2])
            if self._has_all_of(cut):
                self._backend.unlink(kept)
                return None
            return self._record(self._cut_event(cut), None)

    def _has_all_of(self, other: Log) -> bool:
        return _hash_of(self._log.chunks(min(other.size(), self._log.size()))) == _hash_of(other.chunks())

    def _cut_event(self, cut: Log) -> JsonObject:
        present = {entry.hash_self for entry in self._log.entries()}
        lost = [entry for entry in cut.entries() if entry.hash_self not in present]
        last: Entry | None = lost[-1] if lost else None
        return {
            "task": "restore",
            "outputs": {"summary": f"a restore cut {len(lost)} entries off the log"},
            "cut": {
                "kept_as": cut.path.rpartition("/")[2],
                "sha256": _hash_of(cut.chunks()),
                "entries": len(lost),
                "head": last.hash_self if last else None,
                "head_run": last.run_id if last else None,
            },
        }

    # Life

    def close(self) -> None:
        """Give up the medium; idempotent."""
        self._backend.close()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._turn:
            if not self._prepared:
                make_durable_folder(self._backend, self._folder)
                self._prepared = True
            held = lock_folder(self._backend, self._folder, wait=self._wait, sleep=self._sleep)
            try:
                yield
            finally:
                held.release()


def _checked_limit(limit: object) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise InvalidTypeError(f"limit must be an integer, not {type(limit).__name__}")
    if limit < 1:
        raise InvalidValueError(f"limit is {limit}; it must be 1 or more")
    return limit


def _hash_of(chunks: Iterable[bytes]) -> str:
    hasher = hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.hexdigest()
