"""The calls of StoreService that save, load, delete and list single entities and many.

It is not the store: each call is one of the facade's, between a message and a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final, TypeVar

from synthians_memory.engine.transaction import Transaction
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2 as wire
from synthians_memory.entrypoints.grpc_server.records import (
    assembly_from,
    assembly_message,
    expected_from,
    memory_from,
    memory_message,
    stamp_message,
)
from synthians_memory.entrypoints.grpc_server.statuses import detail_of
from synthians_memory.errors import (
    BatchTooLargeError,
    EntityNotFoundError,
    InvalidValueError,
    ServiceBusyError,
    SynthiansMemoryError,
    UsageError,
)
from synthians_memory.facade import MemoryPersistence
from synthians_memory.models import Entity

__all__ = ["AssemblyCalls", "MemoryCalls", "in_thread_if_large"]

Value = TypeVar("Value")

# A message from this size on is turned into entities, or made of them, in a thread.
_LARGE: Final = 64 << 10
# How much of a list goes into one message.
_LISTED_BYTES: Final = 256 << 10
_LISTED_IDS: Final = 4096
_LOADED: Final = 256


async def in_thread_if_large(size: int, work: Callable[[], Value]) -> Value:
    """What `work` makes of a message of `size` bytes, without keeping the event loop from others for long."""
    return work() if size < _LARGE else await asyncio.to_thread(work)


class _Room:
    """Bytes that unfinished batches of all calls may hold together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    def take(self, size: int) -> bool:
        """Hold so many bytes more; whether there is room for them."""
        if self._held + size > self._most:
            return False
        self._held += size
        return True

    def give_back(self, size: int) -> None:
        """Hold so many bytes less."""
        self._held -= size


class _Parts:
    """Requests that make one batch; where there is no room they are counted and dropped, so that all of them are read.

    A refusal in the middle of a stream may cross the client's next request, and then gets lost on its way.
    """

    def __init__(self, most: int, room: _Room) -> None:
        self._most = most
        self._room = room
        self._requests: list[Any] = []
        self._held = 0
        self._crowded = False
        self.size = 0

    def add(self, request: Any) -> None:
        """One more request."""
        size = request.ByteSize()
        self.size += size
        if self.size > self._most or self._crowded or not self._room.take(size):
            self._crowded = True
            self._drop()
        else:
            self._held += size
            self._requests.append(request)

    def whole(self) -> list[Any]:
        """All requests. Raises BatchTooLargeError, or ServiceBusyError where other calls hold the room."""
        if self.size > self._most:
            raise BatchTooLargeError(f"the batch has {self.size} bytes, over max_batch_bytes ({self._most})")
        if self._crowded:
            raise ServiceBusyError("other calls hold all the room that there is for unfinished batches")
        return list(self._requests)

    def clear(self) -> None:
        """Begin another batch."""
        self._drop()
        self._crowded, self.size = False, 0

    def _drop(self) -> None:
        self._room.give_back(self._held)
        self._held = 0
        self._requests.clear()


class _Filling:
    """Messages of a list, each filled up to a bound."""

    def __init__(self, make: Callable[[], Any], entities: str, ids: str) -> None:
        self._make, self._entities, self._ids = make, entities, ids
        self._message = make()
        self._bytes = 0

    @property
    def full(self) -> bool:
        return self._bytes >= _LISTED_BYTES or len(getattr(self._message, self._ids)) >= _LISTED_IDS

    def take(self) -> Any:
        """What there is so far; an empty message follows it."""
        full, self._message, self._bytes = self._message, self._make(), 0
        return full

    def add(self, message: Any) -> None:
        """One more entity."""
        getattr(self._message, self._entities).append(message)
        self._bytes += message.ByteSize()

    def add_ids(self, ids: Iterable[str]) -> None:
        """More ids."""
        getattr(self._message, self._ids).extend(ids)

    def add_damaged(self, error: SynthiansMemoryError) -> None:
        """One that cannot be served."""
        self._message.damaged.append(detail_of(error))


class MemoryCalls:
    """Calls about memories, and about both kinds together.

    Args:
        store: open; its event loop is that of the calls.
    """

    def __init__(self, store: MemoryPersistence) -> None:
        self.store = store
        self._room = _Room(2 * store.config.max_batch_bytes)

    async def SaveMemory(self, request: wire.SaveMemoryRequest, _context: Any) -> wire.SaveMemoryResponse:
        """Store one memory; raises as `save_memory`."""
        expected = expected_from(request)
        entry = await in_thread_if_large(request.ByteSize(), lambda: memory_from(request.memory))
        stored = await self.store.save_memory(entry, expected_updated_at=expected)
        return wire.SaveMemoryResponse(memory=memory_message(stored))

    async def SaveMemories(
        self, requests: AsyncIterator[wire.SaveMemoriesRequest], _context: Any
    ) -> AsyncIterator[wire.SaveMemoriesResponse]:
        """Store chunks as they come, each as one batch; an unfinished one at the end is dropped with an error."""
        parts = _Parts(self.store.config.max_batch_bytes, self._room)
        try:
            async for request in requests:
                parts.add(request)
                if not request.more:
                    yield await self._save_chunk(parts)
                    parts.clear()
            if parts.size:
                raise UsageError("the last chunk was not finished, and nothing of it stored", hint="Send it whole.")
        finally:
            parts.clear()

    async def _save_chunk(self, parts: _Parts) -> wire.SaveMemoriesResponse:
        messages, size = parts.whole(), parts.size
        entries = await in_thread_if_large(size, lambda: [memory_from(m) for part in messages for m in part.memories])
        stored = await self.store.save_memories_batch(entries)
        stamps = await in_thread_if_large(size, lambda: [stamp_message(entry) for entry in stored])
        return wire.SaveMemoriesResponse(stored=stamps)

    async def LoadMemory(self, request: wire.LoadMemoryRequest, _context: Any) -> wire.LoadMemoryResponse:
        """One memory; EntityNotFoundError where it is not there."""
        entry = await self.store.load_memory(request.memory_id)
        if entry is None:
            raise _missing("memory", request.memory_id)
        return wire.LoadMemoryResponse(memory=memory_message(entry))

    async def LoadMemories(
        self, request: wire.LoadMemoriesRequest, _context: Any
    ) -> AsyncIterator[wire.LoadMemoriesResponse]:
        """Those that exist, in the order asked for."""
        ids = list(dict.fromkeys(request.memory_ids))
        for start in range(0, len(ids), _LOADED):
            found = await self.store.load_memories(ids[start : start + _LOADED])
            for part in _pieces(found.values()):
                yield wire.LoadMemoriesResponse(memories=part)

    async def DeleteMemory(self, request: wire.DeleteMemoryRequest, _context: Any) -> wire.DeleteMemoryResponse:
        """Delete one memory; raises as `delete_memory`."""
        deleted = await self.store.delete_memory(request.memory_id, expected_updated_at=expected_from(request))
        return wire.DeleteMemoryResponse(deleted=deleted)

    async def DeleteMemories(self, request: wire.DeleteMemoriesRequest, _context: Any) -> wire.DeleteMemoriesResponse:
        """Delete many as one batch."""
        return wire.DeleteMemoriesResponse(deleted=await self.store.delete_memories_batch(request.memory_ids))

    async def ListMemories(
        self, request: wire.ListMemoriesRequest, _context: Any
    ) -> AsyncIterator[wire.ListMemoriesResponse]:
        """All memories, or their ids, behind `after`."""
        filling = _Filling(wire.ListMemoriesResponse, "memories", "memory_ids")
        if request.ids_only:
            for message in _listed_ids(filling, await self.store.list_memories(), request.after):
                yield message
            return
        on_damaged = filling.add_damaged if request.skip_damaged else None
        entries = self.store.iter_memories(on_damaged=on_damaged, expired=request.expired)
        async for message in _listed(filling, entries, request.after, memory_message):
            yield message

    async def Commit(self, requests: AsyncIterator[wire.CommitRequest], _context: Any) -> wire.CommitResponse:
        """Many changes as one batch; raises as `transaction`, and UsageError for a stream that ends early."""
        parts = _Parts(self.store.config.max_batch_bytes, self._room)
        try:
            if not await _complete(requests, parts):
                raise UsageError(
                    "the changes were not sent to their end, and none was made", hint="Set complete at last."
                )
            changes = [change for request in parts.whole() for change in request.changes]
            async with self.store.transaction() as transaction:
                await in_thread_if_large(parts.size, lambda: _add_all(transaction, changes))
        finally:
            parts.clear()
        return wire.CommitResponse()


class AssemblyCalls:
    """Calls about assemblies.

    Args:
        store: open; its event loop is that of the calls.
    """

    def __init__(self, store: MemoryPersistence) -> None:
        self.store = store

    async def SaveAssembly(self, request: wire.SaveAssemblyRequest, _context: Any) -> wire.SaveAssemblyResponse:
        """Store one assembly; raises as `save_assembly`."""
        expected = expected_from(request)
        assembly = await in_thread_if_large(request.ByteSize(), lambda: assembly_from(request.assembly))
        stored = await self.store.save_assembly(assembly, expected_updated_at=expected)
        return wire.SaveAssemblyResponse(assembly=assembly_message(stored))

    async def LoadAssembly(self, request: wire.LoadAssemblyRequest, _context: Any) -> wire.LoadAssemblyResponse:
        """One assembly; EntityNotFoundError where it is not there."""
        assembly = await self.store.load_assembly(request.assembly_id)
        if assembly is None:
            raise _missing("assembly", request.assembly_id)
        return wire.LoadAssemblyResponse(assembly=assembly_message(assembly))

    async def DeleteAssembly(self, request: wire.DeleteAssemblyRequest, _context: Any) -> wire.DeleteAssemblyResponse:
        """Delete one assembly; raises as `delete_assembly`."""
        deleted = await self.store.delete_assembly(request.assembly_id, expected_updated_at=expected_from(request))
        return wire.DeleteAssemblyResponse(deleted=deleted)

    async def ListAssemblies(
        self, request: wire.ListAssembliesRequest, _context: Any
    ) -> AsyncIterator[wire.ListAssembliesResponse]:
        """All assemblies, or their ids, behind `after`."""
        filling = _Filling(wire.ListAssembliesResponse, "assemblies", "assembly_ids")
        if request.ids_only:
            for message in _listed_ids(filling, await self.store.list_assemblies(), request.after):
                yield message
            return
        on_damaged = filling.add_damaged if request.skip_damaged else None
        async for message in _listed(
            filling, self.store.iter_assemblies(on_damaged=on_damaged), request.after, assembly_message
        ):
            yield message


async def _complete(requests: AsyncIterator[wire.CommitRequest], parts: _Parts) -> bool:
    """Gather requests up to the one that completes them; whether it came."""
    async for request in requests:
        parts.add(request)
        if request.complete:
            return True
    return False


def _missing(kind: str, entity_id: str) -> EntityNotFoundError:
    return EntityNotFoundError(f"there is no {kind} {entity_id!r}")


def _pieces(entries: Iterable[Any]) -> Iterable[list[wire.Memory]]:
    part: list[wire.Memory] = []
    size = 0
    for entry in entries:
        message = memory_message(entry)
        part.append(message)
        size += message.ByteSize()
        if size >= _LISTED_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _listed_ids(filling: _Filling, ids: Iterable[str], after: str) -> Iterable[Any]:
    # Every id lies behind the empty text.
    wanted = [entity_id for entity_id in ids if entity_id > after]
    for start in range(0, len(wanted), _LISTED_IDS):
        filling.add_ids(wanted[start : start + _LISTED_IDS])
        yield filling.take()


async def _listed(
    filling: _Filling, entities: AsyncIterator[Entity], after: str, message_of: Callable[[Any], Any]
) -> AsyncIterator[Any]:
    async for entity in entities:
        if entity.entity_id <= after:
            continue
        filling.add(message_of(entity))
        if filling.full:
            yield filling.take()
    yield filling.take()


def _add_all(transaction: Transaction, changes: Iterable[wire.Change]) -> None:
    for change in changes:
        _add(transaction, change)


def _add(transaction: Transaction, change: wire.Change) -> None:
    expected = expected_from(change)
    which = change.WhichOneof("change")
    if which == "save_memory":
        transaction.save_memory(memory_from(change.save_memory), expected_updated_at=expected)
    elif which == "save_assembly":
        transaction.save_assembly(assembly_from(change.save_assembly), expected_updated_at=expected)
    elif which == "delete_memory":
        transaction.delete_memory(change.delete_memory, expected_updated_at=expected)
    elif which == "delete_assembly":
        transaction.delete_assembly(change.delete_assembly, expected_updated_at=expected)
    else:
        raise InvalidValueError("a change changes nothing", hint="Set what to save or to delete.")
