"""What a remote store does with single entities and batches of them.

It decides nothing about them: the service does, and its store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

from synthians_memory.engine.commit import Expected, Operation
from synthians_memory.engine.records import Key
from synthians_memory.engine.transaction import Transaction, checked_expected, require_assembly, require_memory
from synthians_memory.entrypoints.grpc_client.connection import Connection
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2 as wire
from synthians_memory.entrypoints.grpc_server.records import (
    assembly_from,
    assembly_message,
    expectation,
    memory_from,
    memory_message,
    stamped,
)
from synthians_memory.entrypoints.grpc_server.statuses import restored
from synthians_memory.errors import EntityNotFoundError, SynthiansMemoryError
from synthians_memory.layout import validate_id
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry
from synthians_memory.times import Clock

__all__ = ["RemoteAssemblies", "RemoteMemories", "pieces"]

OnDamaged = Callable[[SynthiansMemoryError], None] | None

_PIECE_BYTES: Final = 1 << 20
_PIECE_IDS: Final = 20_000
_LARGE_BATCH: Final = 100


class RemoteMemories:
    """Memories of a remote store, and changes of both kinds.

    Attributes:
        connection: to the service.
        clock: for what has expired within a transaction.
    """

    connection: Connection
    clock: Clock

    async def save_memory(self, entry: MemoryEntry, *, expected_updated_at: Expected = None) -> MemoryEntry:
        """As `Persistence.save_memory`; repeated while the service is away only without an expectation."""
        checked, expected = require_memory(entry).rechecked(), checked_expected(expected_updated_at)
        request = wire.SaveMemoryRequest(memory=memory_message(checked), expected=expectation(expected))
        response = await self.connection.ask("SaveMemory", request, repeat=expected is None)
        return memory_from(response.memory)

    async def save_memories_batch(self, entries: Iterable[MemoryEntry]) -> list[MemoryEntry]:
        """As `Persistence.save_memories_batch`; repeated while the service is away."""
        checked = [require_memory(entry).rechecked() for entry in entries]
        self.connection.require()
        if not checked:
            return []
        messages = await _maybe_in_thread(checked, lambda: [memory_message(entry) for entry in checked])
        parts = list(pieces(messages, lambda message: message.ByteSize(), _PIECE_BYTES))

        async def requests() -> AsyncIterator[wire.SaveMemoriesRequest]:
            for number, part in enumerate(parts, 1):
                yield wire.SaveMemoriesRequest(memories=part, more=number < len(parts))

        response = await self.connection.exchanged("SaveMemories", requests)
        return [stamped(entry, stamp) for entry, stamp in zip(checked, response.stored, strict=True)]

    async def load_memory(self, memory_id: str) -> MemoryEntry | None:
        """As `Persistence.load_memory`."""
        request = wire.LoadMemoryRequest(memory_id=validate_id(memory_id, "memory_id"))
        try:
            return memory_from((await self.connection.ask("LoadMemory", request, repeat=True)).memory)
        except EntityNotFoundError:
            return None

    async def load_memories(self, memory_ids: Iterable[str]) -> dict[str, MemoryEntry]:
        """As `Persistence.load_memories`."""
        ids = list(dict.fromkeys(validate_id(i, "memory_id") for i in memory_ids))
        self.connection.require()
        found: dict[str, MemoryEntry] = {}
        for start in range(0, len(ids), _PIECE_IDS):
            request = wire.LoadMemoriesRequest(memory_ids=ids[start : start + _PIECE_IDS])
            responses = await self.connection.gathered("LoadMemories", request)
            messages = [message for response in responses for message in response.memories]
            loaded = await _maybe_in_thread(messages, lambda messages=messages: list(map(memory_from, messages)))  # type: ignore[misc]
            found.update((entry.memory_id, entry) for entry in loaded)
        return found

    async def delete_memory(self, memory_id: str, *, expected_updated_at: Expected = None) -> bool:
        """As `Persistence.delete_memory`; never repeated, since the second answer would be another."""
        expected = expectation(checked_expected(expected_updated_at))
        request = wire.DeleteMemoryRequest(memory_id=validate_id(memory_id, "memory_id"), expected=expected)
        return bool((await self.connection.ask("DeleteMemory", request, repeat=False)).deleted)

    async def delete_memories_batch(self, memory_ids: Iterable[str]) -> int:
        """As `Persistence.delete_memories_batch`; never repeated."""
        request = wire.DeleteMemoriesRequest(memory_ids=[validate_id(i, "memory_id") for i in memory_ids])
        return int((await self.connection.ask("DeleteMemories", request, repeat=False)).deleted)

    async def list_memories(self) -> list[str]:
        """As `Persistence.list_memories`."""
        self.connection.require()
        found: list[str] = []
        responses = self.connection.resumed(
            "ListMemories",
            lambda after: wire.ListMemoriesRequest(after=after, ids_only=True),
            lambda response: response.memory_ids[-1] if response.memory_ids else "",
        )
        async for response in responses:
            found += response.memory_ids
        return found

    async def iter_memories(self, *, on_damaged: OnDamaged = None, expired: bool = False) -> AsyncIterator[MemoryEntry]:
        """As `Persistence.iter_memories`; gone on with where the connection broke."""
        responses = self.connection.resumed(
            "ListMemories",
            lambda after: wire.ListMemoriesRequest(after=after, expired=expired, skip_damaged=on_damaged is not None),
            lambda response: response.memories[-1].memory_id if response.memories else "",
        )
        async with aclosing(responses) as listed:
            async for response in listed:
                _tell(response.damaged, on_damaged)
                for message in response.memories:
                    yield memory_from(message)

    async def load_all(self) -> list[MemoryEntry]:
        """As `Persistence.load_all`."""
        return [entry async for entry in self.iter_memories()]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """As `Persistence.transaction`; its commit is never repeated."""
        self.connection.require()
        transaction = Transaction(self._load, self.clock)
        try:
            yield transaction
        finally:
            operations = transaction.end()
        if operations:
            await self._commit(operations)

    async def _load(self, key: Key) -> Entity | None:
        if key[0] == "memory":
            return await self.load_memory(key[1])
        return await self.load_assembly(key[1])

    async def load_assembly(self, assembly_id: str) -> MemoryAssembly | None:
        """As `Persistence.load_assembly`."""
        request = wire.LoadAssemblyRequest(assembly_id=validate_id(assembly_id, "assembly_id"))
        try:
            return assembly_from((await self.connection.ask("LoadAssembly", request, repeat=True)).assembly)
        except EntityNotFoundError:
            return None

    async def _commit(self, operations: list[Operation]) -> None:
        changes = await _maybe_in_thread(operations, lambda: [_change(operation) for operation in operations])
        parts = list(pieces(changes, lambda change: change.ByteSize(), _PIECE_BYTES))

        async def requests() -> AsyncIterator[wire.CommitRequest]:
            for number, part in enumerate(parts, 1):
                yield wire.CommitRequest(changes=part, complete=number == len(parts))

        await self.connection.ask("Commit", requests, repeat=False)


class RemoteAssemblies:
    """Assemblies of a remote store.

    Attributes:
        connection: to the service.
    """

    connection: Connection

    async def save_assembly(self, assembly: MemoryAssembly, *, expected_updated_at: Expected = None) -> MemoryAssembly:
        """As `Persistence.save_assembly`; repeated as `save_memory`."""
        checked, expected = require_assembly(assembly).rechecked(), checked_expected(expected_updated_at)
        request = wire.SaveAssemblyRequest(assembly=assembly_message(checked), expected=expectation(expected))
        response = await self.connection.ask("SaveAssembly", request, repeat=expected is None)
        return assembly_from(response.assembly)

    async def delete_assembly(self, assembly_id: str, *, expected_updated_at: Expected = None) -> bool:
        """As `Persistence.delete_assembly`; never repeated."""
        expected = expectation(checked_expected(expected_updated_at))
        request = wire.DeleteAssemblyRequest(assembly_id=validate_id(assembly_id, "assembly_id"), expected=expected)
        return bool((await self.connection.ask("DeleteAssembly", request, repeat=False)).deleted)

    async def list_assemblies(self) -> list[str]:
        """As `Persistence.list_assemblies`."""
        self.connection.require()
        found: list[str] = []
        responses = self.connection.resumed(
            "ListAssemblies",
            lambda after: wire.ListAssembliesRequest(after=after, ids_only=True),
            lambda response: response.assembly_ids[-1] if response.assembly_ids else "",
        )
        async for response in responses:
            found += response.assembly_ids
        return found

    async def iter_assemblies(self, *, on_damaged: OnDamaged = None) -> AsyncIterator[MemoryAssembly]:
        """As `Persistence.iter_assemblies`; gone on with where the connection broke."""
        responses = self.connection.resumed(
            "ListAssemblies",
            lambda after: wire.ListAssembliesRequest(after=after, skip_damaged=on_damaged is not None),
            lambda response: response.assemblies[-1].assembly_id if response.assemblies else "",
        )
        async with aclosing(responses) as listed:
            async for response in listed:
                _tell(response.damaged, on_damaged)
                for message in response.assemblies:
                    yield assembly_from(message)


def pieces(items: Iterable[Any], size_of: Callable[[Any], int], most: int) -> Iterator[list[Any]]:
    """`items` in order, in lists of about `most` bytes; one that is larger stands alone."""
    part: list[Any] = []
    size = 0
    for item in items:
        item_size = size_of(item)
        if part and size + item_size > most:
            yield part
            part, size = [], 0
        part.append(item)
        size += item_size
    if part:
        yield part


async def _maybe_in_thread(items: list[Any], work: Callable[[], list[Any]]) -> list[Any]:
    return work() if len(items) < _LARGE_BATCH else await asyncio.to_thread(work)


def _change(operation: Operation) -> wire.Change:
    expected = expectation(operation.expected)
    entity = operation.draft.entity if operation.draft is not None else None
    if isinstance(entity, MemoryEntry):
        return wire.Change(save_memory=memory_message(entity), expected=expected)
    if isinstance(entity, MemoryAssembly):
        return wire.Change(save_assembly=assembly_message(entity), expected=expected)
    if operation.kind == "memory":
        return wire.Change(delete_memory=operation.entity_id, expected=expected)
    return wire.Change(delete_assembly=operation.entity_id, expected=expected)


def _tell(damaged: Iterable[wire.ErrorDetail], on_damaged: OnDamaged) -> None:
    if on_damaged is not None:
        for detail in damaged:
            on_damaged(restored(detail))
