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

import asyncio
import gc
import itertools
import json
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from random import Random
from typing import Any, cast

from editions import DIMENSION, Change, Key, State, edition_of, entity_of, ids_of

from synthians_memory import MemoryAssembly, MemoryEntry, MemoryPersistence, SynthiansMemoryError
from synthians_memory.codec import encode
from synthians_memory.errors import StoreLockedError
from synthians_memory.layout import Kind
from synthians_memory.models import Entity
from synthians_memory.storage import local
from synthians_memory.testing.store_scenarios import logged_views

_EDITIONS_PER_LIFE = 100_000
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


# A workload without an end


class _RandomTask:
    """One task that does one operation after the other, drawn at random."""

    def __init__(self, operations: Operations, rng: Random) -> None:
        self._operations = operations
        self._rng = rng

    async def step(self) -> None:
        do, rng = self._operations, self._rng
        memory, assembly = rng.choice(do.memories), rng.choice(do.assemblies)
        some = rng.sample(do.memories, rng.choice((2, 3, 5, 20)))
        steps: list[tuple[int, Callable[[], Awaitable[Any]]]] = [
            (12, lambda: do.save(memory)),
            (4, lambda: do.delete(memory)),
            (4, lambda: do.save_batch(some)),
            (1, lambda: do.delete_batch(some[:3])),
            (2, lambda: do.import_chunk(some)),
            (4, lambda: do.transaction(some[:2], some[2:5], assembly)),
            (3, lambda: do.save_assembly(assembly)),
            (1, lambda: do.delete_assembly(assembly)),
            (1, do.flush),
            (1, do.checkpoint),
            (4, lambda: do.look(("memory", memory))),
        ]
        await rng.choices([step for _, step in steps], [weight for weight, _ in steps])[0]()


async def _run_tasks(store: MemoryPersistence, report: Report, settings: dict[str, Any]) -> None:
    report.say(open=[[*key, edition] for key, edition in (await observe(store)).items()])
    next_number = itertools.count(settings["life"] * _EDITIONS_PER_LIFE).__next__

    async def run(task: int) -> None:
        rng = Random(f"{settings['seed']} {settings['life']} {task}")
        random_task = _RandomTask(Operations(store, report, task, next_number), rng)
        for _ in range(settings.get("steps", 1_000_000)):
            await random_task.step()

    await asyncio.gather(*(run(task) for task in range(settings.get("tasks", 3))))


async def _work(settings: dict[str, Any], report: Report) -> None:
    store = MemoryPersistence(settings["path"], **settings["config"])
    try:
        await store.initialize()
        try:
            await _run_tasks(store, report, settings)
            report.say(flush=-1)
        finally:
            await store.close()
        report.say(flushed=-1)
        report.say(closed=True)
    except SynthiansMemoryError as error:
        if not settings.get("faulty"):
            raise
        report.say(failed="open or close", error=type(error).__name__, message=str(error)[:400])


def work(settings: dict[str, Any], report: Report) -> None:
    """Change the store at random, in several tasks at once.

    Settings: path, config (of the store), seed, life (of the store, counted by the caller), tasks, steps of each
    (without it: until killed), logged (whether views append to their logs, however small they are), waits (whether
    to say that it is ready, and wait to be told to go), faulty (whether the disk may refuse to open or close the store,
    without end otherwise), and planted (a mistake, of `MISTAKES`).
    """
    if settings.get("waits"):
        report.say(ready=True)
        report.wait()
    if "planted" in settings:
        MISTAKES[settings["planted"]]()
    with ExitStack() as stack:
        if settings.get("logged"):
            stack.enter_context(logged_views(settings["logged"]))
        asyncio.run(_work(settings, report))


# One life while the disk fails


async def _suffer(settings: dict[str, Any], report: Report) -> None:
    store = MemoryPersistence(settings["path"], **settings["config"])
    try:
        await store.initialize()
    except SynthiansMemoryError as error:
        report.say(failed="open", error=type(error).__name__, message=str(error)[:400])
        return
    try:
        await _do_everything(store, report, settings["life"] * _EDITIONS_PER_LIFE)
    finally:
        try:
            await store.close()
        except SynthiansMemoryError as error:
            report.say(failed="close", error=type(error).__name__, message=str(error)[:400])


async def _do_everything(store: MemoryPersistence, report: Report, first: int) -> None:
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


def suffer(settings: dict[str, Any], report: Report) -> None:
    """Open the store, do everything once, close it; errors of the library end nothing.

    Settings: path, config (of the store), life.
    """
    report.say(ready=True)
    report.wait()
    asyncio.run(_suffer(settings, report))


def name_imports(settings: dict[str, Any], report: Report) -> None:
    """As `suffer`, and the modules that were imported meanwhile are named."""
    before = set(sys.modules)
    asyncio.run(_suffer(settings, report))
    report.say(imported=sorted(sys.modules.keys() - before))


# A full disk


async def fill(operations: Operations, ids: Sequence[str]) -> None:
    """Save until nothing is taken any more, one by one and in batches."""
    refused = at = 0
    while refused < 5:
        some = [ids[(at + n) % len(ids)] for n in range(1 if at % 3 else 4)]
        taken = await (operations.save(some[0]) if len(some) == 1 else operations.save_batch(some))
        refused, at = 0 if taken else refused + 1, at + len(some)


async def _fill_and_wait(settings: dict[str, Any], report: Report) -> None:
    store = MemoryPersistence(settings["path"], **settings["config"])
    await store.initialize()
    operations = Operations(store, report, 0, itertools.count(settings["life"] * _EDITIONS_PER_LIFE).__next__)
    await fill(operations, ids_of(0, settings["ids"]))
    report.say(full=True)
    report.wait()


def fill_and_wait(settings: dict[str, Any], report: Report) -> None:
    """Open the store, fill its disk, and wait to be killed. Settings: path, config, life, ids (how many)."""
    asyncio.run(_fill_and_wait(settings, report))


# Few descriptors


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _leave_descriptors(spare: int) -> None:
    """From here on only so many more can be open at once."""
    # The one that lists them is among them.
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (_open_descriptors() - 1 + spare, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )


async def _run_out(settings: dict[str, Any], report: Report) -> None:
    before, limits = _open_descriptors(), resource.getrlimit(resource.RLIMIT_NOFILE)
    opened, loads = False, "were not tried"
    store = MemoryPersistence(settings["path"], **settings["config"])
    try:
        if settings["when"] == "before":
            _leave_descriptors(settings["spare"])
        await store.initialize()
        opened = True
        _leave_descriptors(settings["spare"])
        await _do_everything(store, report, settings["life"] * _EDITIONS_PER_LIFE)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await observe(store)
        loads = "went on"
    except SynthiansMemoryError as error:
        report.say(failed="open", error=type(error).__name__, message=str(error))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await store.close()
    report.say(opened=opened, loads=loads, descriptors=await _left_open(before))


async def _left_open(before: int) -> int:
    """Descriptors beyond those before, once all is let go: errors refer to frames, and these to directories."""
    for _ in range(100):
        gc.collect()
        if _open_descriptors() == before:
            break
        await asyncio.sleep(0.01)
    return _open_descriptors() - before


def run_out_of_descriptors(settings: dict[str, Any], report: Report) -> None:
    """Open the store, do everything once, and close it, with few descriptors until just before the end.

    Settings: path, config, life, spare (descriptors that may be open beside those before), and when: "before" the
    opening, or "after" it.
    """
    asyncio.run(_run_out(settings, report))


def _no_content_is_synced() -> None:
    local.sync_content = lambda descriptor: None
    local.LocalBackend.sync_filesystem = lambda self: True  # type: ignore[method-assign]


# What a test must see, if it sees anything: each changes this process for good.
MISTAKES: dict[str, Callable[[], None]] = {"no content is synced": _no_content_is_synced}


# Racing for one store


def race(settings: dict[str, Any], report: Report) -> None:
    """In each round: when told to go, open the store; who gets it saves one memory, and closes when told again.

    Settings: path (with the round's number in the place of {}), rounds, name.
    """

    async def round_(number: int) -> None:
        store = MemoryPersistence(settings["path"].format(number))
        try:
            await store.initialize()
        except StoreLockedError as error:
            report.say(locked=error.holder)
            report.wait()
            return
        await store.save_memory(MemoryEntry(memory_id=f"{settings['name']} {number}", content="I won"))
        report.say(won=True)
        report.wait()
        await store.close()
        report.say(released=True)

    for number in range(settings["rounds"]):
        report.wait()
        asyncio.run(round_(number))


PROGRAMS: dict[str, Callable[[dict[str, Any], Report], None]] = {
    program.__name__: program for program in (fill_and_wait, name_imports, race, run_out_of_descriptors, suffer, work)
}
