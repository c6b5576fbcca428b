"""Watching a store: files that a person, an editor or git changes are adopted while the store is open.

It is not the store's own writing, which it leaves alone, and mends nothing that repair would have to decide about.

    notifications, or a sweep -> settled: twice the same size and time -> check of these few -> embedding, where it is needed
    -> adopted in the writer's thread, if the file is still the same
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Final, Self

from synthians_memory.embedder import Embedder
from synthians_memory.engine.embedding_call import require_embedder
from synthians_memory.engine.persistence import Persistence
from synthians_memory.engine.records import Key
from synthians_memory.engine.session import Session
from synthians_memory.engine.state import StoreState
from synthians_memory.engine.superblock import require_compatible
from synthians_memory.errors import (
    DiskError,
    InvalidValueError,
    MissingExtraError,
    ReadOnlyError,
    SynthiansMemoryError,
    UsageError,
)
from synthians_memory.maintenance.notifications import can_notify, changed_keys, require_watchfiles
from synthians_memory.maintenance.outside_files import Candidate, OutsideFiles, failure, flagged, left
from synthians_memory.maintenance.pending_keys import PendingKeys
from synthians_memory.maintenance.removal_guard import RemovalGuard
from synthians_memory.maintenance.told_changes import ToldChanges
from synthians_memory.maintenance.watched_change import WatchedChange
from synthians_memory.reports import Finding

__all__ = ["Watcher", "watch"]

# Files that are looked at, and that are adopted, in one go: others' saves wait no longer than for these.
_LOOKED_AT: Final = 10_000
_ADOPTED: Final = 64
# A single pass ends after so many looks in a row at files that go on changing.
_MOST_LOOKS: Final = 20
_NAMED: Final = 5


class Watcher:
    """Adopts what changes outside, beside the program's own saves on the same open store.

    Use it as an async context manager, or iterate over `changes`. It belongs to the event loop of the store. Waiting
    names are bounded, and nothing waits for whoever is told of changes but the watch itself.

    Attributes:
        failure: why the watch has ended by itself; None while it has not.
    """

    def __init__(
        self,
        store: Persistence,
        on_change: Callable[[WatchedChange], None] | None = None,
        *,
        embedder: Embedder | None = None,
        adopt_damaged: bool = False,
        interval: float = 60.0,
        settle: float = 0.5,
        most_removed: int | None = None,
        notify: bool | None = None,
    ) -> None:
        """Starts nothing yet.

        Args:
            store: open for writing.
            on_change: called in the event loop with each change, when the watch is used as a context manager.
            embedder: for texts that were edited; without it the store's own, or else their embeddings are marked.
            adopt_damaged: adopt also files whose hash line is wrong, where they validate.
            interval: seconds between two sweeps, which find what nobody told.
            settle: seconds for which a file has to stay the same before it is judged.
            most_removed: removals adopted within a minute; beyond it none is. None: max(10, 1 %) of the entities.
            notify: whether the system is asked to tell of changes; None: where watchfiles is installed.

        Raises:
            ReadOnlyError: the store is read-only.
            MissingExtraError: `notify`, and watchfiles is not installed.
            InvalidValueError, EmbedderMismatchError: an argument is wrong.
        """
        _require_seconds(interval=interval, settle=settle)
        if most_removed is not None and most_removed < 0:
            raise InvalidValueError(f"most_removed is {most_removed}; it must not be negative")
        session, own = _inside(store)
        state = session.store.state
        self._embedder = own if embedder is None else embedder
        _require_usable(state, self._embedder)
        if notify:
            require_watchfiles()
        self._session: Session = session
        self._on_change = on_change
        self._interval, self._settle = interval, settle
        self._files = OutsideFiles(session.store, adopt_damaged=adopt_damaged)
        self._guard = RemovalGuard(lambda: session.store.state, most_removed)
        self._pending = PendingKeys()
        self._told = ToldChanges()
        self._conflicts = self._files.conflicts
        self._notified = can_notify(state.backend.location) if notify is None else notify
        self._deaf: SynthiansMemoryError | None = None
        # What has settled, and is examined next.
        self._due: deque[Key] = deque()
        self._sweep_at = 0.0
        self._looks = 0
        self._running = False
        self._task: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None

    @property
    def notified(self) -> bool:
        """Whether the system tells of changes; where not, they are found by sweeps alone."""
        return self._notified

    # As a context manager

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="synthians-watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the watch. Raises what has ended it before, where the block itself raises nothing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if error is None and self.failure is not None:
            raise self.failure

    async def _run(self) -> None:
        try:
            async with aclosing(self.changes()) as changes:
                async for change in changes:
                    if self._on_change is not None:
                        self._on_change(change)
        except Exception as error:  # noqa: BLE001 - whoever ends the watch is told, whatever it was
            # It is raised where the watch ends; nobody waits for the task.
            self.failure = error

    # The work

    async def changes(self, *, once: bool = False) -> AsyncGenerator[WatchedChange, None]:
        """What was adopted, left or failed, as it happens; while the consumer is busy nothing is adopted.

        Args:
            once: end after one sweep and what it found.

        Raises:
            JournalFailedError: the store cannot be written any more.
            StoreClosedError: it was closed.
            UsageError: this watch is running already.
        """
        if self._running:
            raise UsageError("this watch is running already", hint="Make another Watcher, or end the first.")
        self._running, self._sweep_at = True, _now()
        listening: asyncio.Task[None] | None = None
        try:
            if self._notified and not once:
                listening = await self._begin_to_listen()
            while True:
                for change in [*await self._step(), *await self._noticed_beside()]:
                    if self._told.is_news(change):
                        yield change
                if once and not self._pending and not self._due:
                    return
                if once and self._looks > _MOST_LOOKS:
                    yield self._restless()
                    return
                if listening is not None and listening.done():
                    # Whatever has ended it is told by now, or raised here.
                    listening.result()
        finally:
            self._running = False
            if listening is not None:
                listening.cancel()
                await asyncio.wait([listening])

    def _restless(self) -> WatchedChange:
        keys = [f"{kind} {entity_id!r}" for kind, entity_id in self._pending.first(_NAMED)]
        message = f"{len(self._pending)} files go on changing, and were not adopted: {', '.join(keys)}"
        return WatchedChange("failed", message)

    async def _begin_to_listen(self) -> asyncio.Task[None]:
        """Listen before the first sweep, so that nothing changes unseen between the two."""
        with suppress(MissingExtraError):
            # Importing takes a while; whatever is wrong with it is told by whoever listens.
            await self._session.in_thread(require_watchfiles)
        listening = asyncio.create_task(self._listen())
        # The task runs until it waits, which it does only when the system has been asked.
        await asyncio.sleep(0)
        return listening

    async def _listen(self) -> None:
        try:
            async for keys in changed_keys(self._session.store.state.backend.location):
                self._pending.add(keys)
        except (DiskError, MissingExtraError) as error:
            self._notified = False
            self._deaf = error
            self._pending.add(())

    async def _step(self) -> list[WatchedChange]:
        """The next thing to do; or wait until there is one."""
        if self._due:
            return await self._dealt_with([self._due.popleft() for _ in range(min(_ADOPTED, len(self._due)))])
        if _now() >= self._sweep_at or self._pending.overflown:
            return await self._swept()
        if self._pending:
            await asyncio.sleep(self._settle)
            return await self._looked()
        await self._pending.wait(self._sweep_at - _now())
        return []

    async def _swept(self) -> list[WatchedChange]:
        """Compare every file's size and time with what the store last saw; what differs is looked at next."""
        self._pending.overflown = False
        self._sweep_at = _now() + self._interval
        try:
            findings = await self._session.in_thread(self._files.sweep)
        except DiskError as error:
            return [failure(error)]
        gone = {""} if any(finding.code == "file_missing" for finding in findings) else set[str]()
        self._told.keep(gone | {finding.path for finding in findings})
        self._pending.add(
            ((f.kind, f.entity_id) for f in findings if f.kind is not None and f.entity_id is not None), bounded=False
        )
        return [left(finding) for finding in findings if _concerns_a_person(finding)]

    async def _looked(self) -> list[WatchedChange]:
        """Look at what waits; what has settled is due."""
        self._looks += 1
        keys = self._pending.first(_LOOKED_AT)
        looks = await self._session.in_thread(lambda: self._files.look(keys))
        settled = self._pending.settle(keys, looks)
        self._looks = 0 if settled else self._looks
        removed = {key for key in settled if looks[key].stat is None and looks[key].error is None}
        gone = len(removed) + len(self._pending.gone())
        refused = removed if removed and not self._guard.admits(gone) else set[Key]()
        self._due.extend(key for key in settled if key not in refused)
        return [self._refusal(gone)] if refused else []

    def _refusal(self, gone: int) -> WatchedChange:
        most = self._guard.most
        message = (
            f"{gone} files are gone at once, more than the {most} that are taken for deletions, so none is recorded. "
            f"Put them back; or, if they are meant to be gone, allow so many removals (most_removed), or delete them by their ids."
        )
        return WatchedChange("left", message, "repair_refused")

    async def _dealt_with(self, keys: Sequence[Key]) -> list[WatchedChange]:
        examined = await self._session.in_thread(lambda: self._files.examine(keys))
        changes = [one for one in examined if isinstance(one, WatchedChange)]
        self._pending.add(one for one in examined if isinstance(one, tuple))
        well = [key for key, one in zip(keys, examined, strict=True) if one is None]
        if well:
            changes += await self._remembered(well)
        candidates = await self._embedded([one for one in examined if isinstance(one, Candidate)])
        return changes + (await self._recorded(candidates) if candidates else [])

    async def _remembered(self, keys: Sequence[Key]) -> list[WatchedChange]:
        """Files that are as acknowledged, and were only touched, need not be read again."""
        try:
            await self._session.in_writer(lambda: self._files.note_stats(keys))
        except DiskError as error:
            return [failure(error)]
        return []

    async def _embedded(self, candidates: list[Candidate]) -> list[Candidate]:
        needy = [candidate for candidate in candidates if candidate.need != "nothing"]
        embedder = self._embedder
        if not needy:
            return candidates
        if embedder is None:
            changed = [flagged(candidate) for candidate in needy]
        else:
            changed = await self._session.in_embedding_thread(lambda: self._files.embed(needy, embedder))
        return [candidate for candidate in candidates if candidate.need == "nothing"] + changed

    async def _recorded(self, candidates: Sequence[Candidate]) -> list[WatchedChange]:
        recorded = await self._session.in_writer(lambda: self._files.record(candidates))
        changes = [one for one in recorded if isinstance(one, WatchedChange)]
        self._pending.add(one for one in recorded if isinstance(one, tuple))
        self._guard.count(sum(one.outcome == "adopted" and one.code == "file_missing" for one in changes))
        return changes

    async def _noticed_beside(self) -> list[WatchedChange]:
        """What there is to say besides: versions that the program's own writes set aside, and the end of notifications."""
        changes: list[WatchedChange] = []
        fresh, self._conflicts = self._files.conflicts - self._conflicts, self._files.conflicts
        if fresh:
            changes += [left(note) for note in await self._session.in_writer(lambda: self._files.conflict_notes(fresh))]
        deaf, self._deaf = self._deaf, None
        if deaf is not None:
            message = f"changes are no longer told, and are found by sweeps alone: {deaf}"
            changes.append(WatchedChange("failed", message))
        return changes


def watch(
    store: Persistence,
    *,
    once: bool = False,
    embedder: Embedder | None = None,
    adopt_damaged: bool = False,
    interval: float = 60.0,
    settle: float = 0.5,
    most_removed: int | None = None,
    notify: bool | None = None,
) -> AsyncGenerator[WatchedChange, None]:
    """Adopt what changes outside, and tell of each change, in an `async for` loop.

    Arguments and errors are those of `Watcher` and `Watcher.changes`. Leave the loop with `break`, or cancel it; to have it
    ended at once then, use `contextlib.aclosing`.
    """
    watcher = Watcher(
        store,
        embedder=embedder,
        adopt_damaged=adopt_damaged,
        interval=interval,
        settle=settle,
        most_removed=most_removed,
        notify=notify,
    )
    return watcher.changes(once=once)


def _inside(store: Persistence) -> tuple[Session, Embedder | None]:
    # Both are parts of the library, and neither is any business of the store's users.
    return store._opened(), store._embedder  # noqa: SLF001


def _require_usable(state: StoreState, embedder: Embedder | None) -> None:
    """Refuse a store that cannot be written, and an embedder that did not make its vectors."""
    if state.journal is None or state.read_only_reason:
        raise ReadOnlyError(
            f"the store is read-only: {state.read_only_reason}",
            hint="Watching adopts files, which writes: open the store for writing.",
        )
    if embedder is not None:
        require_embedder(embedder, state.superblock.embedding_dimension)
        require_compatible(state.superblock, state.config, False, embedder.name)


def _require_seconds(**given: float) -> None:
    for name, value in given.items():
        if not (math.isfinite(value) and value > 0):
            raise InvalidValueError(f"{name} is {value}; it must be a finite number of seconds above 0")


def _now() -> float:
    return asyncio.get_running_loop().time()


def _concerns_a_person(finding: Finding) -> bool:
    """Whether it is told although no entity file is concerned that could be adopted."""
    if finding.code == "foreign_name":
        # Editors and systems leave names of their own behind; one that is meant for an entity ends like this.
        name = finding.path.rpartition("/")[2]
        return name.lower().endswith(".json") and not name.startswith(".")
    return finding.entity_id is None and finding.severity != "note"
