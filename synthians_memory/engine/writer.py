"""The writer thread: the only one that changes a store while it is open.

It is not the commit itself (`commit`): it gathers waiting batches into groups, keeps deadlines, and hands
the slow parts of a checkpoint to a second thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from synthians_memory.engine.commit import Batch
from synthians_memory.engine.store import Store
from synthians_memory.errors import DiskError, StoreClosedError, SynthiansMemoryError

__all__ = ["Writer"]

T = TypeVar("T")

_MOST_BATCHES: Final = 1024
_MOST_GROUP_BYTES: Final = 8 * 1024 * 1024
_OWNER_INTERVAL: Final = 0.5
# Files that follow their acknowledgement are written after so many seconds without work, so many of them before
# the queue is looked at again; once they are due, at least so many between two groups.
_PAUSE: Final = 0.002
_FILES_AT_ONCE: Final = 4
_FILES_BETWEEN: Final = 32
# So many times as many files are converted before deadlines are looked at again.
_CONVERSIONS: Final = 16

Deliver = Callable[[list[Batch]], None]


@dataclass(frozen=True, slots=True)
class _Call:
    """Something to be done between two groups."""

    function: Callable[[], Any]
    future: Future[Any]


class _Hardened:
    """The second thread has finished its part of a checkpoint."""


class _Stop:
    """The last item of the queue."""


_Item = Batch | _Call | _Hardened | _Stop


class Writer:
    """Runs one store's writes until `stop`, or until its owner is gone.

    `submit` and `call` may be used from any thread. An owner that dies without closing does not keep
    the lock: the writer notices within a second, finishes what was submitted, and closes the store.
    """

    def __init__(self, store: Store, deliver: Deliver, owner_alive: Callable[[], bool]) -> None:
        """Args:
        store: opened for writing; belongs to the writer from now on.
        deliver: called with each committed group, in the writer's thread; must not raise.
        owner_alive: whether anybody is left to use the store.
        """
        self._store = store
        self._deliver = deliver
        self._owner_alive = owner_alive
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._second = ThreadPoolExecutor(1, thread_name_prefix="synthians-checkpoint")
        self._hardening: Future[None] | None = None
        self._preparing: Future[None] | None = None
        self._now = store.state.clock.monotonic
        self._checkpoint_at: float | None = None
        self._force_at: float | None = None
        # After a failed checkpoint the next one waits, however full the journal is.
        self._not_before = self._now()
        # Changes committed since files were last written between groups.
        self._owed = 0
        self._closing: Future[None] = Future()
        self._gate = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="synthians-writer", daemon=True)
        self._thread.start()

    def submit(self, batch: Batch) -> None:
        """Queue one batch; `deliver` gets it back with outcomes or error. StoreClosedError after the end."""
        self._put(batch)

    def _put(self, item: _Item) -> None:
        with self._gate:
            if self._ended:
                raise StoreClosedError("the store is closed")
            self._queue.put(item)

    def call(self, function: Callable[[], T]) -> Future[T]:
        """Run `function` in the writer's thread, after what was submitted before; nothing else changes files meanwhile."""
        future: Future[T] = Future()
        self._put(_Call(function, future))
        return future

    def stop(self) -> Future[None]:
        """Finish what was submitted, then close the store; the future has the error of closing, if any."""
        with self._gate:
            if not self._ended:
                self._queue.put(_Stop())
        return self._closing

    @property
    def alive(self) -> bool:
        """Whether the store is still open."""
        return self._thread.is_alive()

    # The thread

    def _run(self) -> None:
        try:
            while self._step():
                pass
            self._finish_hardening()
            self._second.shutdown()
            self._store.close()
            self._closing.set_result(None)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the end is told, whatever it was
            self._closing.set_exception(error)
        finally:
            self._second.shutdown()
            self._store.release()
            self._refuse_the_rest()

    def _step(self) -> bool:
        item = self._next(self._timeout())
        if item is None:
            return self._idle()
        if isinstance(item, Batch):
            return self._group(item)
        return self._other(item)

    def _next(self, timeout: float) -> _Item | None:
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return None

    def _timeout(self) -> float:
        deadlines = [at for at in (self._checkpoint_at, self._force_at) if at is not None]
        if self._store.committer.ready or self._converts():
            deadlines.append(self._now() + _PAUSE)
        if not deadlines:
            return _OWNER_INTERVAL
        return min(_OWNER_INTERVAL, max(0.0, min(deadlines) - self._now()))

    def _group(self, first: Batch) -> bool:
        """Commit `first` and everything that waits behind it, up to a bound."""
        group, size = [first], first.size
        follower: _Item | None = None
        while len(group) < _MOST_BATCHES and size < _MOST_GROUP_BYTES:
            try:
                follower = self._queue.get_nowait()
            except queue.Empty:
                break
            if not isinstance(follower, Batch):
                break
            group.append(follower)
            size += follower.size
            follower = None
        self._commit(group)
        self._owed += sum(len(batch.operations) for batch in group)
        self._after_changes()
        return self._other(follower) if follower is not None else True

    def _commit(self, group: list[Batch]) -> None:
        try:
            self._store.commit(group)
        except SynthiansMemoryError as error:
            _fail(group, error)
        except Exception as error:
            _fail(group, SynthiansMemoryError(f"the writer failed unexpectedly: {error!r}", hint="Please report it."))
            raise
        finally:
            self._deliver(group)

    def _other(self, item: _Item) -> bool:
        if isinstance(item, Batch):
            return self._group(item)
        if isinstance(item, _Hardened):
            self._finish_hardening()
            return True
        self._finish_hardening()
        if isinstance(item, _Stop):
            return False
        if self._preparing is not None:
            self._preparing.result()
        _run_call(item)
        self._after_changes()
        return True

    def _idle(self) -> bool:
        self._keep_deadlines()
        while self._queue.empty() and self._store.committer.write_files(_FILES_AT_ONCE):
            pass
        for _ in range(_CONVERSIONS):
            if not self._queue.empty() or not self._converts():
                break
            self._guarded(self._convert)
        return self._owner_alive()

    def _converts(self) -> bool:
        """Whether entity files are to be converted now; not while a checkpoint is under way, which it may end with."""
        state = self._store.state
        waits = state.conversion is None or self._hardening is not None or self._now() < self._not_before
        return not waits and not state.read_only_reason and not state.vanished

    def _convert(self) -> None:
        self._store.convert(_FILES_AT_ONCE)

    # Deadlines

    def _after_changes(self) -> None:
        journal = self._store.state.journal
        if journal is None or journal.failure is not None:
            return
        config = self._store.state.config
        if self._checkpoint_at is None and journal.synced_through != journal.checkpointed_through:
            self._checkpoint_at = self._now() + config.checkpoint_interval
        if self._force_at is None and self._store.committer.unforced:
            self._force_at = self._now() + config.flush_interval
        if journal.spare_wanted and (self._preparing is None or self._preparing.done()):
            self._preparing = self._second.submit(self._prepare_spare)
        self._keep_deadlines()
        self._write_due_files()

    def _prepare_spare(self) -> None:
        state = self._store.state
        try:
            if state.journal is not None:
                state.journal.prepare_spare()
        except DiskError as error:
            # The segment in use is not affected; the save that needs the next one will say so.
            state.last_error = str(error)

    def _keep_deadlines(self) -> None:
        journal = self._store.state.journal
        if journal is None or journal.failure is not None:
            self._checkpoint_at = self._force_at = None
            return
        now = self._now()
        if self._force_at is not None and now >= self._force_at:
            self._force_at = None
            self._guarded(self._store.committer.end_interval)
        if self._checkpoint_due(now):
            self._guarded(self._advance_checkpoint)

    def _checkpoint_due(self, now: float) -> bool:
        journal = self._store.state.journal
        if journal is None or self._hardening is not None or now < self._not_before:
            return False
        full = journal.bytes_since_checkpoint >= self._store.state.config.checkpoint_bytes
        return full or (self._checkpoint_at is not None and now >= self._checkpoint_at)

    def _write_due_files(self) -> None:
        """Between two groups: more files than the groups bring, where some are due, so that they become fewer."""
        now = self._now()
        since = self._store.committer.applier.waiting_since
        late = since is not None and now - since >= self._store.state.config.behind_seconds
        due = late or self._checkpoint_due(now)
        if not due or self._store.committer.write_files(max(_FILES_BETWEEN, 2 * self._owed)):
            self._owed = 0

    def _guarded(self, step: Callable[[], None]) -> None:
        """A failure that no caller waits for stands in stats(), and the next attempt is due later."""
        try:
            step()
        except DiskError as error:
            self._note_failure(error)

    def _note_failure(self, error: DiskError) -> None:
        state = self._store.state
        state.last_error = str(error)
        self._store.committer.note_journal_failure()
        self._checkpoint_at = self._not_before = self._now() + state.config.checkpoint_interval

    # Checkpoints in the background

    def _advance_checkpoint(self) -> None:
        """Start a checkpoint where it finds but few files left to write; the others are due then, between groups."""
        self._store.committer.end_interval()
        if self._store.committer.ready <= _FILES_BETWEEN:
            self._start_checkpoint()

    def _start_checkpoint(self) -> None:
        self._checkpoint_at = None
        if self._store.checkpointer.freeze():
            self._hardening = self._second.submit(self._store.checkpointer.harden)
            self._hardening.add_done_callback(lambda _: self._queue.put(_Hardened()))

    def _finish_hardening(self) -> None:
        hardening, self._hardening = self._hardening, None
        if hardening is None:
            return
        try:
            hardening.result()
            self._store.checkpointer.finish()
        except DiskError as error:
            self._store.checkpointer.abandon()
            self._note_failure(error)

    def _refuse_the_rest(self) -> None:
        error = StoreClosedError("the store was closed before this was written")
        with self._gate:
            self._ended = True
        while (item := self._next(0)) is not None:
            if isinstance(item, Batch):
                _fail([item], error)
                self._deliver([item])
            elif isinstance(item, _Call):
                item.future.set_exception(error)


def _fail(group: list[Batch], error: SynthiansMemoryError) -> None:
    for batch in group:
        batch.error = batch.error or error


def _run_call(call: _Call) -> None:
    if not call.future.set_running_or_notify_cancel():
        return
    try:
        call.future.set_result(call.function())
    except BaseException as error:  # noqa: BLE001 - it is raised where the call was made
        call.future.set_exception(error)
