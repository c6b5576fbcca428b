"""What children of the tests do with a store; every operation is announced before it begins and when it is acknowledged.

Lines of a workload, each a JSON object:
    open            all that the store holds at the start: [kind, id, edition] each
    begin           number of an operation, its task, and the changes [kind, id, edition or null] it makes
    done, refused   the same number again: acknowledged, or the library's error; of deletes, how many were there
    flush, flushed  everything acknowledged before the first is durable at the second
    failed          a flush, a load, an opening or a closing ended with the library's error
    wrong           something that must never be seen
    closed          the store was closed, and nothing follows
"""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, cast

from editions import DIMENSION, Change, Key, State, edition_of, entity_of, ids_of

from synthians_memory import MemoryAssembly, MemoryEntry, MemoryPersistence, SynthiansMemoryError
from synthians_memory.codec import encode
from synthians_memory.layout import Kind
from synthians_memory.models import Entity

_OWN_MEMORIES = 24
_OWN_ASSEMBLIES = 4


class Report:
    """The child's end of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def say(self, **line: Any) -> None:
        """Send one line."""
        self._connection.sendall(json.dumps(line).encode() + b"\n")

    def wait(self) -> None:
        """Until the other side says go."""
        self._connection.recv(1)


# Observing


async def observe(store: MemoryPersistence) -> State:
    """The editions that `store` holds, each loaded and found whole. Raises as `load_memory`."""
    found: State = {}
    async for memory in store.iter_memories():
        found["memory", memory.memory_id] = edition_of(memory)
    async for assembly in store.iter_assemblies():
        found["assembly", assembly.assembly_id] = edition_of(assembly)
    return found


async def load(store: MemoryPersistence, key: Key) -> int | None:
    """The edition of one entity; None where it is not there."""
    entity = await (store.load_memory(key[1]) if key[0] == "memory" else store.load_assembly(key[1]))
    return None if entity is None else edition_of(entity)


# Operations


class Operations:
    """One task's operations on a store, announced and acknowledged.

    Args:
        store: open.
        report: gets the lines.
        task: its number; ids are its own.
        next_number: numbers every operation, and every edition, of a life.
    """

    def __init__(self, store: MemoryPersistence, report: Report, task: int, next_number: Callable[[], int]) -> None:
        self._store = store
        self._report = report
        self._task = task
        self._next_number = next_number
        self.memories = ids_of(task, _OWN_MEMORIES)
        self.assemblies = ids_of(task, _OWN_ASSEMBLIES)
        # What the loads of this task must find.
        self.seen: dict[Key, int | None] = {}

    async def _do(self, changes: Sequence[Change], call: Callable[[], Awaitable[Any]], *, counts: bool = False) -> bool:
        """Announce, call, acknowledge; whether it was acknowledged."""
        number = self._next_number()
        self._report.say(begin=number, task=self._task, changes=changes)
        try:
            outcome = await call()
        except SynthiansMemoryError as error:
            refusal = {"error": type(error).__name__, "message": str(error)[:400]}
            self._report.say(refused=number, task=self._task, **refusal)
            return False
        asked = {"was": int(outcome), "asked": [change[:2] for change in changes]} if counts else {}
        self._report.say(done=number, task=self._task, **asked)
        self.seen.update({(kind, entity_id): edition for kind, entity_id, edition in changes})
        return True

    def edition(self, kind: Kind, entity_id: str) -> Change:
        """A change to an edition that never was."""
        return kind, entity_id, self._next_number()

    async def save(self, entity_id: str) -> bool:
        change = self.edition("memory", entity_id)
        return await self._do([change], lambda: self._store.save_memory(_memory(change)))

    async def save_assembly(self, entity_id: str) -> bool:
        change = self.edition("assembly", entity_id)
        return await self._do([change], lambda: self._store.save_assembly(_assembly(change)))

    async def delete(self, entity_id: str) -> bool:
        change: Change = ("memory", entity_id, None)
        return await self._do([change], lambda: self._store.delete_memory(entity_id), counts=True)

    async def delete_assembly(self, entity_id: str) -> bool:
        change: Change = ("assembly", entity_id, None)
        return await self._do([change], lambda: self._store.delete_assembly(entity_id), counts=True)

    async def save_batch(self, ids: Sequence[str]) -> bool:
        changes = [self.edition("memory", entity_id) for entity_id in ids]
        return await self._do(changes, lambda: self._store.save_memories_batch([_memory(c) for c in changes]))

    async def delete_batch(self, ids: Sequence[str]) -> bool:
        changes: list[Change] = [("memory", entity_id, None) for entity_id in ids]
        return await self._do(changes, lambda: self._store.delete_memories_batch(ids), counts=True)

    async def import_chunk(self, ids: Sequence[str]) -> bool:
        changes = [self.edition("memory", entity_id) for entity_id in ids]
        lines = [_line(_memory(change)) for change in changes]
        return await self._do(changes, lambda: self._store.import_memories(_chunk(lines), overwrite=True))

    async def transaction(self, saved: Sequence[str], deleted: Sequence[str], assembly: str) -> bool:
        changes = [self.edition("memory", entity_id) for entity_id in saved]
        changes += [("memory", entity_id, None) for entity_id in deleted]
        changes.append(self.edition("assembly", assembly))

        async def call() -> None:
            async with self._store.transaction() as transaction:
                for change in changes:
                    if change[2] is None:
                        transaction.delete_memory(change[1])
                    elif change[0] == "memory":
                        transaction.save_memory(_memory(change))
                    else:
                        transaction.save_assembly(_assembly(change))

        return await self._do(changes, call)

    async def flush(self) -> None:
        """Make everything durable, with or without a checkpoint."""
        self._report.say(flush=self._task)
        try:
            await self._store.flush()
        except SynthiansMemoryError as error:
            self._report.say(failed="flush", error=type(error).__name__)
            return
        self._report.say(flushed=self._task)

    async def checkpoint(self) -> None:
        """As `flush`, with a checkpoint."""
        self._report.say(flush=self._task)
        try:
            await self._store.checkpoint()
        except SynthiansMemoryError as error:
            self._report.say(failed="checkpoint", error=type(error).__name__)
            return
        self._report.say(flushed=self._task)

    async def look(self, key: Key) -> None:
        """Load one entity: what this task was told is there, or the library's error where the disk fails."""
        try:
            found = await load(self._store, key)
        except SynthiansMemoryError as error:
            self._report.say(failed="load", error=type(error).__name__, message=str(error)[:400])
            return
        if key in self.seen and found != self.seen[key]:
            self._report.say(wrong=f"{key} is of edition {found}, not {self.seen[key]}")


def _memory(change: Change) -> MemoryEntry:
    return cast(MemoryEntry, _entity(change))


def _assembly(change: Change) -> MemoryAssembly:
    return cast(MemoryAssembly, _entity(change))


def _entity(change: Change) -> Entity:
    kind, entity_id, edition = change
    assert edition is not None
    return entity_of(kind, entity_id, edition)


def _line(memory: MemoryEntry) -> bytes:
    return json.dumps(json.loads(encode(memory).stamp(0).data)).encode()


async def _chunk(lines: list[bytes]) -> AsyncIterator[list[bytes]]:
    yield lines


# Many of them


async def do_everything(store: MemoryPersistence, report: Report, first: int) -> None:
    """Each kind of operation once or twice, whether or not those before succeeded."""
    do = Operations(store, report, 0, itertools.count(first).__next__)
    await do.save(do.memories[0])
    await do.save_batch(do.memories[1:4])
    await do.delete(do.memories[0])
    await do.save_assembly(do.assemblies[0])
    await do.transaction(do.memories[4:6], do.memories[2:3], do.assemblies[1])
    await do.checkpoint()
    await do.save(do.memories[0])
    await do.import_chunk(do.memories[6:8])
    await do.delete_assembly(do.assemblies[0])
    await do.save_batch(do.memories[8:])
    for key in list(do.seen):
        await do.look(key)
    await do.flush()
    await do.delete_batch(do.memories[1:3])
    for call in (lambda: store.search([1.0] * DIMENSION, 3), store.verify_consistency, store.load_all):
        try:
            await call()
        except SynthiansMemoryError as error:
            report.say(failed="read", error=type(error).__name__, message=str(error)[:400])


async def fill(operations: Operations, ids: Sequence[str]) -> None:
    """Save until nothing is taken any more, one by one and in batches."""
    refused = at = 0
    while refused < 5:
        some = [ids[(at + n) % len(ids)] for n in range(1 if at % 3 else 4)]
        taken = await (operations.save(some[0]) if len(some) == 1 else operations.save_batch(some))
        refused, at = 0 if taken else refused + 1, at + len(some)
