"""The bridge between one event loop and one open store: batches go to the writer, answers come back.

It is not the public facade, which is `persistence`; it knows no memory from an assembly.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

from synthians_memory.codec import Version
from synthians_memory.engine.commit import Batch, Operation
from synthians_memory.engine.expiry import unexpired
from synthians_memory.engine.ownership import Ownership
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.engine.vectors import VectorView
from synthians_memory.engine.writer import Writer
from synthians_memory.errors import ReadOnlyError, StoreClosedError, UsageError
from synthians_memory.models import Entity

__all__ = ["Session", "release_opened"]

T = TypeVar("T")

_READERS: Final = 4

Outcomes = list[Version | bool]


class Session:
    """One store, used from the event loop it was opened in; everything here is called in that loop.

    Batches that wait for the writer are bounded: beyond `queue_bytes` callers wait their turn.
    """

    def __init__(self, store: Store, ownership: Ownership) -> None:
        self.store = store
        self._ownership = ownership
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="synthians-read")
        # A slow embedder must not keep loads waiting, and is called by one thread at a time.
        self._embedding = ThreadPoolExecutor(1, thread_name_prefix="synthians-embed")
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._turns: deque[asyncio.Future[None]] = deque()
        self._queued_bytes = 0
        self._bound = store.state.config.queue_bytes
        # Set while nothing may be committed, and done when it may again.
        self._held: asyncio.Future[None] | None = None
        self._is_reembedding = False
        writable = store.state.journal is not None
        self._writer = Writer(store, self._deliver, ownership.alive) if writable else None

    def require(self) -> None:
        """As `Ownership.require`."""
        self._ownership.require()

    # Reading

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Run something that may wait for the disk, off the event loop."""
        return await self._run(self._readers, function)

    async def in_embedding_thread(self, function: Callable[[], T]) -> T:
        """Run something that calls the embedder, off the event loop, one after the other."""
        return await self._run(self._embedding, function)

    def _run(self, threads: ThreadPoolExecutor, function: Callable[[], T]) -> asyncio.Future[T]:
        try:
            return self._ownership.loop.run_in_executor(threads, function)
        except RuntimeError as error:
            raise StoreClosedError("the store was closed meanwhile") from error

    async def load(self, key: Key) -> Entity | None:
        """As `Store.load`; without a thread where no file is needed."""
        found = self.store.state.at_hand(key)
        if found is not None:
            return unexpired(found[0], self.store.state.clock)
        return await self.in_thread(lambda: self.store.load(key))

    # Writing

    async def commit(self, operations: Sequence[Operation], made_for: VectorView | None = None) -> Outcomes:
        """Have one batch committed; its error is raised.

        A caller that is cancelled leaves the batch to its own, whole outcome.

        Args:
            operations: of the batch.
            made_for: the vector index that its vectors were made for; default the present one.
        """
        if not operations:
            return []
        batch = Batch(operations, made_for=made_for or self.store.state.vectors)
        writer = self._require_writer()
        while self._held is not None:
            await asyncio.shield(self._held)
        if self._queued_bytes and self._queued_bytes + batch.size > self._bound:
            await self._turn(batch.size)
        waiter: asyncio.Future[None] = self._ownership.loop.create_future()
        writer.submit(batch)
        self._queued_bytes += batch.size
        self._waiting[id(batch)] = waiter
        # Cancelling the caller cancels the waiter alone.
        await waiter
        if batch.error is not None:
            raise batch.error
        return batch.outcomes

    @contextmanager
    def reembedding(self) -> Iterator[None]:
        """Admit one change of the model at a time: UsageError for another."""
        self._require_writer()
        if self._is_reembedding:
            raise UsageError("the model of this store is being changed already", hint="Wait for that.")
        self._is_reembedding = True
        try:
            yield
        finally:
            self._is_reembedding = False

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Let batches wait until the block ends; one such block at a time."""
        held = self._held = self._ownership.loop.create_future()
        try:
            yield
        finally:
            self._held = None
            held.set_result(None)

    async def _turn(self, size: int) -> None:
        """Wait until the queue has room for `size` bytes."""
        while self._queued_bytes and self._queued_bytes + size > self._bound:
            turn: asyncio.Future[None] = self._ownership.loop.create_future()
            self._turns.append(turn)
            try:
                await turn
            finally:
                if turn in self._turns:
                    self._turns.remove(turn)

    def _free(self, size: int) -> None:
        self._queued_bytes -= size
        for turn in self._turns:
            if not turn.done():
                turn.set_result(None)
        self._turns.clear()

    def _require_writer(self) -> Writer:
        if self._writer is None:
            raise ReadOnlyError(
                f"the store is read-only: {self.store.state.read_only_reason}", hint="Open it without read_only."
            )
        return self._writer

    def _deliver(self, group: list[Batch]) -> None:
        """Called by the writer; one wake-up of the loop for a whole group."""
        try:
            self._ownership.loop.call_soon_threadsafe(self._wake, group)
        except RuntimeError:
            # The loop is closed: nobody waits for the answer any more, and the batches are durable.
            return

    def _wake(self, group: list[Batch]) -> None:
        self._free(sum(batch.size for batch in group))
        for batch in group:
            waiter = self._waiting.pop(id(batch), None)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    async def in_writer(self, function: Callable[[], T]) -> T:
        """Run something that changes the store, in the writer's thread, behind what was submitted before."""
        future: Future[T] = self._require_writer().call(function)
        return await asyncio.shield(asyncio.wrap_future(future))

    async def close(self) -> None:
        """Finish everything and close the store; raises what closing raised."""
        try:
            if self._writer is not None:
                await asyncio.shield(asyncio.wrap_future(self._writer.stop()))
            else:
                await self.in_thread(self.store.release)
        finally:
            self._readers.shutdown(wait=False)
            self._embedding.shutdown(wait=False)


def release_opened(opening: asyncio.Future[Store]) -> None:
    """Release a store that was opened for a caller who was cancelled: nobody will use it."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().release()
