"""The programs that the fork server's children run: processes that work with a store until they end or are killed."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from random import Random
from typing import Any

from backup_programs import back_up, restore
from editions import ids_of
from workload import Operations, Report, do_everything, fill, observe

from synthians_memory import MemoryEntry, MemoryPersistence, SynthiansMemoryError
from synthians_memory.errors import StoreLockedError
from synthians_memory.storage import local
from synthians_memory.testing.store_scenarios import logged_views
from synthians_memory.times import SystemClock

# Numbers of operations and editions begin with the life they belong to.
EDITIONS_PER_LIFE = 100_000
_NOBODY = 65534


# A workload without an end


class RandomTask:
    """One task that does one operation after the other, drawn at random."""

    def __init__(self, operations: Operations, rng: Random) -> None:
        self._operations = operations
        self._rng = rng

    async def step(self) -> None:
        """Do one, acknowledged or refused."""
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
    next_number = itertools.count(settings["life"] * EDITIONS_PER_LIFE).__next__

    async def run(task: int) -> None:
        rng = Random(f"{settings['seed']} {settings['life']} {task}")
        random_task = RandomTask(Operations(store, report, task, next_number), rng)
        for _ in range(settings.get("steps", 1_000_000)):
            await random_task.step()

    await asyncio.gather(*(run(task) for task in range(settings.get("tasks", 3))))


class FallingClock(SystemClock):
    """A clock that goes backwards, by a day at each look."""

    def __init__(self) -> None:
        self._looks = itertools.count(1)

    def micros(self) -> int:
        return super().micros() - next(self._looks) * 86_400_000_000


async def _work(settings: dict[str, Any], report: Report) -> None:
    clock = FallingClock() if settings.get("falling") else None
    store = MemoryPersistence(settings["path"], clock=clock, **settings["config"])
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
    to say that it is ready, and wait to be told to go), faulty (whether the disk may refuse to open or close the store),
    falling (whether its clock goes backwards), and planted (a mistake, of `MISTAKES`).
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


# One life in which the system refuses this and that


async def _suffer(settings: dict[str, Any], report: Report) -> None:
    store = MemoryPersistence(settings["path"], read_only=bool(settings.get("read_only")), **settings.get("config", {}))
    try:
        await store.initialize()
    except SynthiansMemoryError as error:
        report.say(failed="open", error=type(error).__name__, message=str(error)[:400])
        return
    try:
        await do_everything(store, report, settings["life"] * EDITIONS_PER_LIFE)
        report.say(pending=store.stats()["pending_files"], held=len(await observe(store)))
    except SynthiansMemoryError as error:
        report.say(failed="read", error=type(error).__name__, message=str(error)[:400])
    finally:
        try:
            await store.close()
        except SynthiansMemoryError as error:
            report.say(failed="close", error=type(error).__name__, message=str(error)[:400])


def suffer(settings: dict[str, Any], report: Report) -> None:
    """Open the store, do everything once, close it; errors of the library end nothing.

    Settings: path, config (of the store), life, read_only, waits (as in `work`), umask, nobody (whether it gives up
    the rights of root first).
    """
    if settings.get("waits"):
        report.say(ready=True)
        report.wait()
    os.umask(settings.get("umask", 0o022))
    if settings.get("nobody"):
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    asyncio.run(_suffer(settings, report))


def name_imports(settings: dict[str, Any], report: Report) -> None:
    """As `suffer`, and the modules that were imported meanwhile are named."""
    before = set(sys.modules)
    asyncio.run(_suffer(settings, report))
    report.say(imported=sorted(sys.modules.keys() - before))


# A full disk


async def _fill_and_wait(settings: dict[str, Any], report: Report) -> None:
    store = MemoryPersistence(settings["path"], **settings["config"])
    await store.initialize()
    operations = Operations(store, report, 0, itertools.count(settings["life"] * EDITIONS_PER_LIFE).__next__)
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
        await do_everything(store, report, settings["life"] * EDITIONS_PER_LIFE)
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
    program.__name__: program
    for program in (back_up, fill_and_wait, name_imports, race, restore, run_out_of_descriptors, suffer, work)
}
