"""A workload for processes that get killed: what each of its steps changes follows from a seed, here and there.

It kills nothing and verifies nothing: whoever started it reads which steps were acknowledged, and knows the rest.

As a program it forks a child for each request, a JSON object a line on standard input, and answers in lines of JSON:
    pid             the child has begun
    open            it has opened the store
    done            number of the task whose next step was acknowledged
    locked          whether it got the lock that it was asked to try
    error, message  the library's error that ended it, or another's; errno where the error has one
    ended           the child is gone; its exit code, or the negative number of the signal
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Literal

from synthians_memory.config import StoreConfig
from synthians_memory.engine.persistence import Persistence
from synthians_memory.engine.records import Key
from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.store_scenarios import assembly, memory

__all__ = ["KILLED_STORE", "TASKS", "Change", "Step", "entity_of", "serve", "steps_of", "task_of"]

# Small segments and frequent checkpoints, so that a kill is never far from one.
KILLED_STORE: Final = StoreConfig(
    embedding_dimension=4,
    segment_bytes=32 * 1024,
    checkpoint_interval=0.05,
    index_backup_count=2,
    backup_interval=0.2,
    allow_network_filesystem=True,
)
TASKS: Final = 3
_MEMORIES: Final = 24
_ASSEMBLIES: Final = 4
_LENGTHS: Final = (0, 40, 400, 4_000)
_EDITIONS_PER_LIFE: Final = 1_000_000

# An entity, and the edition that it is in afterwards; None: it is deleted.
Change = tuple[Key, int | None]
Work = Literal["save", "batch", "delete", "transaction", "checkpoint"]
_WORKS: Final[tuple[Work, ...]] = ("save", "batch", "delete", "transaction", "checkpoint")
_WEIGHTS: Final = (12, 4, 4, 4, 1)


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the store that is acknowledged as a whole.

    Attributes:
        work: which call.
        changes: what it changes; nothing for a checkpoint.
    """

    work: Work
    changes: tuple[Change, ...]


def entity_of(key: Key, edition: int) -> Entity:
    """That edition of the entity, the same in every process."""
    kind, name = key
    if kind == "assembly":
        return assembly(name, f"member of edition {edition}", edition=edition)
    return memory(name, edition, length=_LENGTHS[edition % len(_LENGTHS)], embedded=edition % 5 != 0)


def task_of(key: Key) -> int | None:
    """The task that alone changes the entity; None where the workload has no such entity."""
    number = key[1].removeprefix("task").partition("-")[0]
    task = int(number) if number.isdecimal() else -1
    return task if key in _keys_of(task) else None


def steps_of(seed: int, life: int, task: int) -> Iterator[Step]:
    """The steps of one task in one life of the store, in order and without an end."""
    rng = Random(f"{seed} {life} {task}")  # noqa: S311 - repeatable, not secret
    memories = [key for key in _keys_of(task) if key[0] == "memory"]
    assemblies = [key for key in _keys_of(task) if key[0] == "assembly"]
    edition = life * _EDITIONS_PER_LIFE
    while True:
        edition += 1
        work = rng.choices(_WORKS, _WEIGHTS)[0]
        some = rng.sample(memories, rng.choice((2, 3, 5, 20)))
        yield Step(work, _changes(work, some, rng.choice(assemblies), edition))


def _keys_of(task: int) -> list[Key]:
    if not 0 <= task < TASKS:
        return []
    memories: list[Key] = [("memory", f"task{task}-{number}") for number in range(_MEMORIES)]
    return [*memories, *(("assembly", f"task{task}-{number}") for number in range(_ASSEMBLIES))]


def _changes(work: Work, memories: list[Key], group: Key, edition: int) -> tuple[Change, ...]:
    if work == "save":
        return ((memories[0], edition),)
    if work == "batch":
        return tuple((key, edition) for key in memories)
    if work == "delete":
        return tuple((key, None) for key in memories[:3])
    if work == "transaction":
        return (*((key, edition) for key in memories[:2]), *((key, None) for key in memories[2:5]), (group, edition))
    return ()


# In the child


async def _take(store: Persistence, step: Step) -> None:
    entities = [entity_of(key, edition) for key, edition in step.changes if edition is not None]
    memories = [entity for entity in entities if isinstance(entity, MemoryEntry)]
    deleted = [name for (_, name), edition in step.changes if edition is None]
    if step.work == "save":
        await store.save_memory(memories[0])
    elif step.work == "batch":
        await store.save_memories_batch(memories)
    elif step.work == "delete":
        await store.delete_memories_batch(deleted)
    elif step.work == "checkpoint":
        await store.checkpoint()
    else:
        async with store.transaction() as transaction:
            for entity in entities:
                if isinstance(entity, MemoryAssembly):
                    transaction.save_assembly(entity)
            for saved in memories:
                transaction.save_memory(saved)
            for name in deleted:
                transaction.delete_memory(name)


async def _work(path: str, seed: int, life: int) -> None:
    async with Persistence(path, KILLED_STORE) as store:
        _say(open=True)

        async def run(task: int) -> None:
            for step in steps_of(seed, life, task):
                await _take(store, step)
                _say(done=task)

        await asyncio.gather(*(run(task) for task in range(TASKS)))


def _try_lock(path: str) -> None:
    backend = LocalBackend(path)
    try:
        _say(locked=backend.lock("", exclusive=True) is not None)
    finally:
        backend.close()


def _say(**line: Any) -> None:
    # Short enough for the pipe to take it whole or not at all, wherever the kill comes.
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _run(request: dict[str, Any]) -> None:
    try:
        if request["program"] == "work":
            asyncio.run(_work(request["path"], request["seed"], request["life"]))
        else:
            _try_lock(request["path"])
    except BrokenPipeError:  # nobody listens any more
        return
    except Exception as error:  # noqa: BLE001 - whatever it was, who asked has to hear of it
        message = error.message if isinstance(error, SynthiansMemoryError) else repr(error)
        _say(error=type(error).__name__, message=message[:400], errno=getattr(error, "errno", None))


def serve() -> None:
    """Fork a child for each request on standard input, one after the other, until that ends."""
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                _say(pid=os.getpid())
                _run(request)
            finally:
                os._exit(0)
        status = os.waitpid(child, 0)[1]
        _say(ended=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    try:
        serve()
    except BrokenPipeError:
        # Nobody listens any more; what the interpreter has left to write would fail once more.
        os._exit(1)
