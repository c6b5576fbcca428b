"""One open store, synchronous: locked, recovered, checked, committed to, checkpointed, closed.

It is not the asynchronous facade (`persistence`) and starts no thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from synthians_memory.codec import Version
from synthians_memory.config import CheckLevel, StoreConfig
from synthians_memory.engine.check import Progress, check, check_share, found_again
from synthians_memory.engine.checkpoint import Checkpointer
from synthians_memory.engine.commit import Batch, Committer
from synthians_memory.engine.converter import Converter
from synthians_memory.engine.deadline import Deadline
from synthians_memory.engine.expiry import expired_now, nearest_live, nearest_live_many, unexpired
from synthians_memory.engine.filter_sql import compile_filter
from synthians_memory.engine.filters import All, Tree, parse_where
from synthians_memory.engine.purge import Eraser, Purger
from synthians_memory.engine.records import Key
from synthians_memory.engine.recovery import OpenedStore, open_for_reading, open_for_writing
from synthians_memory.engine.repair import Repairer
from synthians_memory.engine.state import StoreState
from synthians_memory.engine.superblock import require_compatible
from synthians_memory.engine.text_index import TextIndex
from synthians_memory.engine.text_source import StateSource
from synthians_memory.engine.vectors import VectorView
from synthians_memory.errors import (
    ChangedOutsideError,
    DamagedError,
    DamagedViewError,
    DiskError,
    EmbedderMismatchError,
    JournalFailedError,
    ReadOnlyError,
)
from synthians_memory.layout import JOURNAL, Kind, entity_path
from synthians_memory.models import Entity, Vector, random_id
from synthians_memory.reports import Finding, PurgeReceipt, RepairReport, SearchHit
from synthians_memory.storage.backend import Backend, EntryStat
from synthians_memory.storage.lock import ReaderLock, StoreLock
from synthians_memory.times import Clock, format_time, from_micros

__all__ = ["Store"]

T = TypeVar("T")

_MOST_LOOKS: Final = 5
_CONVERTED_AT_ONCE: Final = 256


class Store:
    """A store held open by this process.

    Reading methods may be called from any thread, all others from one thread, the writer's.

    Attributes:
        state: what it consists of.
        opening_report: what the check at open found and its repair did.
    """

    def __init__(
        self, opened: OpenedStore, lock: StoreLock | ReaderLock | None, erasers: Sequence[Eraser] = ()
    ) -> None:
        self.state: StoreState = opened.state
        self.opening_report = RepairReport()
        self._committer = opened.committer
        self._checkpointer = opened.checkpointer
        self._embedder_name: str | None = None
        self._lock = lock
        self._erasers = erasers
        self._refreshing = threading.Lock()

    @classmethod
    def open(
        cls,
        backend: Backend,
        config: StoreConfig,
        clock: Clock,
        *,
        read_only: bool = False,
        embedder: tuple[str, int] | None = None,
        metric_given: bool = False,
        erasers: Sequence[Eraser] = (),
        new_id: Callable[[], str] = random_id,
    ) -> Store:
        """Lock and recover the store in `backend`; closes the back end where that fails.

        Args:
            backend: the medium; closed where opening fails.
            config: settings.
            clock: source of time.
            read_only: change nothing on disk, and go beside a writer.
            embedder: name and dimension of the embedder that will be used.
            metric_given: whether config.metric was asked for and not just a default.
            erasers: what a purge asks besides, see `purge`.
            new_id: source of store ids and epochs.

        Raises:
            StoreLockedError: another writer holds it.
            EmbedderMismatchError: it holds vectors of another embedder, dimension or metric.
            StoreFormatError, DiskError: it cannot be opened; nothing was lost by the attempt.
        """
        lock: StoreLock | ReaderLock | None = None
        try:
            if read_only:
                lock = _reader_lock(backend)
                store = cls(open_for_reading(backend, config, clock), lock)
            else:
                lock = StoreLock.acquire(backend, clock_text=format_time(from_micros(clock.micros())))
                store = cls(open_for_writing(backend, config, clock, new_id), lock, erasers)
            store._embedder_name = embedder[0] if embedder else None
            store._accept(config, embedder, metric_given)
            if store.state.journal is not None:
                store.state.text.begin(store.state.journal.last_sequence)
            if not read_only:
                store._check_at_open()
        except BaseException:
            try:
                if lock is not None:
                    lock.release()
            finally:
                backend.close()
            raise
        return store

    def _accept(self, config: StoreConfig, embedder: tuple[str, int] | None, metric_given: bool) -> None:
        state = self.state
        require_compatible(state.superblock, config, metric_given, embedder[0] if embedder else None)
        if embedder is None:
            return
        name, dimension = embedder
        held = state.superblock.embedding_dimension
        if held is not None and held != dimension:
            raise EmbedderMismatchError(
                f"the store holds vectors of {held} numbers, the embedder {name!r} makes {dimension}",
                hint="Open it with the embedder that made it, change its model with `reembed`, or put the memories into a new store.",
            )
        fresh = state.vectors.count("memory") + state.vectors.count("assembly") == 0
        if state.superblock.embedder is None and fresh and state.journal is not None:
            state.change_superblock(embedder=name, embedding_dimension=dimension)

    def _check_at_open(self) -> None:
        state = self.state
        repairer = self._repairer()
        auto_repair = state.config.auto_repair and not state.read_only_reason
        resumed: tuple[str, ...] = ()
        if not state.read_only_reason:
            resumed = self._mended(self._finish_purge, resumed)
        if auto_repair:
            resumed += self._mended(repairer.resume, tuple[str, ...]())
        findings = check(state, state.config.startup_check)
        report = RepairReport(findings=tuple(findings), remaining=tuple(findings))
        if state.config.auto_repair and any(finding.severity != "note" for finding in findings):
            report = self._mended(lambda: repairer.repair(findings, automatic=True), report)
        self.opening_report = report
        self.opening_report = self.opening_report.preceded_by(resumed)
        refused = [f for f in self.opening_report.remaining if f.code == "repair_refused"]
        if refused and not state.read_only_reason:
            state.read_only_reason = f"{refused[0].message}; look at the store's files, then run `repair`"

    def _mended(self, mend: Callable[[], T], unmended: T) -> T:
        """What `mend` returns; a disk that is full, say, does not keep what it holds from being read."""
        try:
            return mend()
        except JournalFailedError:
            raise
        except (DiskError, DamagedViewError) as error:
            self.state.last_error = str(error)
            return unmended

    def _finish_purge(self) -> tuple[str, ...]:
        receipt = Purger(self.state, *self._writable(), self._erasers).resume()
        return () if receipt is None else (f"finished a purge that was interrupted; its receipt is {receipt.path}",)

    # Reading

    def load(self, key: Key) -> Entity | None:
        """As `stored`; None also for what has expired."""
        return unexpired(self.stored(key), self.state.clock)

    def stored(self, key: Key) -> Entity | None:
        """As `StoreState.load`, expired or not; a reader beside a writer moves on where it has fallen behind."""
        try:
            return self.state.load(key)
        except (DamagedError, ChangedOutsideError):
            if self.state.journal is not None:
                raise
        self.refresh()
        return self.state.load(key)

    def search(
        self,
        query: Vector,
        k: int,
        kind: Kind,
        where: Mapping[str, Any] | Tree | None = None,
        vectors: VectorView | None = None,
    ) -> list[SearchHit]:
        """The `k` nearest entities of `kind`, best first, of those that match `where`; equal scores by age of the vector.

        Expired memories are not among them. `vectors` are those that the query was made for; default the present ones.

        Raises:
            DimensionError, InvalidValueError, InvalidTypeError: the query or filter cannot be used.
        """
        tree = parse_where(where) if isinstance(where, Mapping) else where
        hits = nearest_live(self.state, query, k, kind, self._allowed(kind, tree), vectors)
        return [SearchHit(entity_id, score, kind) for entity_id, score in hits]

    def search_at_hand(self, query: Vector, k: int, kind: Kind, vectors: VectorView) -> list[SearchHit] | None:
        """As `search` among all, where that neither waits nor takes a millisecond; None where it would."""
        if kind == "memory" and expired_now(self.state):
            return None
        hits = vectors.search_at_hand(query, k, kind)
        return None if hits is None else [SearchHit(entity_id, score, kind) for entity_id, score in hits]

    def search_many(
        self, queries: Sequence[Vector], k: int, kind: Kind, tree: Tree | None, vectors: VectorView
    ) -> list[list[SearchHit]]:
        """As `search` for each of the queries; the filter is asked once."""
        many = nearest_live_many(self.state, queries, k, kind, self._allowed(kind, tree), vectors)
        return [[SearchHit(entity_id, score, kind) for entity_id, score in hits] for hits in many]

    def _allowed(self, kind: Kind, tree: Tree | None) -> list[str] | None:
        """The ids that a filter selects; None for all."""
        if tree is None or tree == All(()):
            return None
        condition = compile_filter(tree)
        deadline = Deadline(None, self.state.clock.monotonic)
        return self.ask_text(deadline, lambda index: index.select(kind, condition))

    def ask_text(self, deadline: Deadline, question: Callable[[TextIndex], T]) -> T:
        """As `TextView.ask`."""
        return self.state.text.ask(StateSource(self.state), deadline, question)

    def check(
        self, level: CheckLevel, progress: Progress | None = None, share: Sequence[Key] | None = None
    ) -> list[Finding]:
        """As `check.check`; a writer in another process may go on beside a store that is open read-only.

        With a `share`, whatever `level` says, as `check_share`.
        """
        findings = check(self.state, level, progress) if share is None else check_share(self.state, share, progress)
        return findings if self.state.journal is not None else self._confirmed(findings)

    def _confirmed(self, findings: list[Finding]) -> list[Finding]:
        """`findings` without what was the work of a writer that had gone on: it is gone, or still moving."""
        sure: set[Finding] = set()
        doubtful = [f for f in findings if f.severity != "note"]
        for _ in range(_MOST_LOOKS):
            if not doubtful:
                break
            before = {f: self._entity_file(f) for f in doubtful}
            self.refresh()
            again = found_again(self.state, doubtful)
            sure.update(f for f in again if self._entity_file(f) == before[f])
            doubtful = [f for f in again if f not in sure]
        return [f for f in findings if f in sure or f.severity == "note"]

    def _entity_file(self, finding: Finding) -> EntryStat | None:
        of_entity = finding.kind is not None and finding.path == entity_path(finding.kind, finding.entity_id or "")
        return self.state.backend.stat(finding.path) if of_entity else None

    def refresh(self) -> None:
        """Move a read-only store on to what the writer has acknowledged; nothing for a writer.

        Raises:
            EmbedderMismatchError: the writer changed the model, and this reader was opened for the one before.
            StoreFormatError, DiskError: as `open`.
        """
        if self.state.journal is None:
            with self._refreshing:
                self._move_on(self.state)

    def _move_on(self, old: StoreState) -> None:
        lock = _reader_lock(old.backend)
        try:
            state = open_for_reading(old.backend, old.config, old.clock).state
            require_compatible(state.superblock, state.config, False, self._embedder_name)
            self.state = state
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        self.state.cache = old.cache
        self.state.text = old.text
        self.state.vectors.trainer.take_over(old.vectors.trainer)
        old.vectors.close()
        self.state.text.compare_all()
        if self._lock is not None:
            self._lock.release()
        self._lock = lock

    # Writing

    def _writable(self) -> tuple[Committer, Checkpointer]:
        if self._committer is None or self._checkpointer is None:
            raise ReadOnlyError(f"the store is read-only: {self.state.read_only_reason}")
        return self._committer, self._checkpointer

    @property
    def committer(self) -> Committer:
        """What commits; ReadOnlyError for a store open read-only."""
        return self._writable()[0]

    @property
    def checkpointer(self) -> Checkpointer:
        """What checkpoints; ReadOnlyError for a store open read-only."""
        return self._writable()[1]

    def commit(self, batches: Sequence[Batch]) -> None:
        """As `Committer.commit`."""
        self.committer.commit(batches)

    def flush(self) -> None:
        """Make everything acknowledged durable, and write its files; raises JournalFailedError."""
        self.committer.force()

    def convert(self, most: int) -> int:
        """As `Converter.convert`."""
        return Converter(self.state, *self._writable()).convert(most)

    def checkpoint(self) -> bool:
        """As `Checkpointer.run`; gives up cleanly where it fails."""
        checkpointer = self.checkpointer
        try:
            return checkpointer.run()
        except DiskError:
            checkpointer.abandon()
            raise

    def _repairer(self) -> Repairer:
        return Repairer(self.state, *self._writable())

    def repair(self, progress: Progress | None = None) -> RepairReport:
        """Check every byte and mend what is found; `progress` is of the check before and the one after.

        Raises:
            DiskError: something could not be read or written.
        """
        repairer = self._repairer()
        self._bring_files_up()
        self.state.read_only_reason = "" if self._is_sound() else self.state.read_only_reason
        repairer.accept_losses()
        resumed = repairer.resume()
        report = repairer.repair(check(self.state, "full", progress), automatic=False, progress=progress)
        return report.preceded_by(resumed)

    def _bring_files_up(self) -> None:
        """A file that is behind must not be taken for what is wanted."""
        if self._is_sound():
            self.flush()

    def _is_sound(self) -> bool:
        journal = self.state.journal
        return journal is not None and journal.failure is None

    def purge(self, ids: Sequence[str], kind: Kind, *, backups: bool, progress: Progress | None) -> PurgeReceipt:
        """As `Purger.purge`."""
        return Purger(self.state, *self._writable(), self._erasers, progress).purge(ids, kind, backups=backups)

    def adopt(self, key: Key) -> Version:
        """As `Repairer.adopt`."""
        self._bring_files_up()
        return self._repairer().adopt(key)

    def close(self) -> None:
        """Checkpoint, leave a journal that is one header, and release everything; idempotent.

        Raises:
            DiskError: the checkpoint failed; everything is released, and the journal still has it all.
            JournalFailedError: the journal had failed before all that was acknowledged was durable.
        """
        if self._lock is None:
            return
        try:
            journal = self.state.journal
            if journal is not None and journal.failure is None:
                self.checkpoint()
                while self.convert(_CONVERTED_AT_ONCE):
                    pass
                journal.leave_header()
                self.checkpointer.drop_segments()
                journal.discard_scratch()
                self.state.text.seal(self.state.superblock.epoch)
            elif journal is not None:
                self._leave_failed(self.committer)
        finally:
            self.release()

    def _leave_failed(self, committer: Committer) -> None:
        """What is durable may reach its files although the journal has failed; raises JournalFailedError for the rest."""
        if committer.unforced:
            committer.force()
        committer.write_files(committer.ready)

    def release(self) -> None:
        """Give up descriptors and the lock without writing anything; idempotent."""
        state = self.state
        for part in (state.files, state.index, state.vectors, state.text, state.journal):
            if part is not None:
                part.close()
        lock, self._lock = self._lock, None
        try:
            if lock is not None:
                lock.release()
        finally:
            state.backend.close()


def _reader_lock(backend: Backend) -> ReaderLock | None:
    """The shared lock on the journal; None where a writer is just dropping segments, or there is no journal."""
    return ReaderLock.acquire(backend) if backend.stat(JOURNAL) is not None else None
