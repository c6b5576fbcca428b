"""The life of a MemoryPersistence: who may use it, who holds the lock, and what opening refuses."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from other_processes import fork, holder

from synthians_memory import MemoryAssembly, MemoryEntry, MemoryPersistence, StoreConfig, SynthiansMemoryError
from synthians_memory.errors import (
    DiskError,
    EmbedderMismatchError,
    ForkedStoreError,
    InvalidTypeError,
    InvalidValueError,
    NotAStoreError,
    StoreClosedError,
    StoreLockedError,
    UsageError,
    WrongLoopError,
)

OPENS_AND_CLOSES = 60


def memory(memory_id: str = "m", content: str = "text", **fields: Any) -> MemoryEntry:
    return MemoryEntry(memory_id=memory_id, content=content, **fields)


async def eventually(path: Path) -> MemoryPersistence:
    """The store at `path`, opened as soon as its lock is free."""
    while True:
        store = MemoryPersistence(path)
        try:
            await store.initialize()
        except StoreLockedError:
            continue
        return store


async def contents(path: Path) -> dict[str, str]:
    store = await eventually(path)
    try:
        return {entry.memory_id: entry.content for entry in await store.load_all()}
    finally:
        await store.close()


def our_threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("synthians"))


def await_the_end_of_our_threads() -> None:
    while our_threads():
        time.sleep(0.01)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def in_transaction(store: MemoryPersistence) -> None:
    async with store.transaction() as transaction:
        transaction.save_memory(memory())


async def all_of(store: MemoryPersistence) -> list[MemoryEntry]:
    return [entry async for entry in store.iter_memories()]


async def statistics(store: MemoryPersistence) -> dict[str, Any]:
    return store.stats()


async def report(store: MemoryPersistence) -> Any:
    return store.opening_report


CALLS: dict[str, Callable[[MemoryPersistence], Awaitable[Any]]] = {
    "save_memory": lambda store: store.save_memory(memory()),
    "save_memories_batch": lambda store: store.save_memories_batch([memory()]),
    "load_memory": lambda store: store.load_memory("m"),
    "load_memories": lambda store: store.load_memories(["m"]),
    "delete_memory": lambda store: store.delete_memory("m"),
    "delete_memories_batch": lambda store: store.delete_memories_batch(["m"]),
    "list_memories": lambda store: store.list_memories(),
    "iter_memories": all_of,
    "load_all": lambda store: store.load_all(),
    "save_assembly": lambda store: store.save_assembly(MemoryAssembly(assembly_id="a")),
    "load_assembly": lambda store: store.load_assembly("a"),
    "delete_assembly": lambda store: store.delete_assembly("a"),
    "list_assemblies": lambda store: store.list_assemblies(),
    "transaction": in_transaction,
    "import_memories": lambda store: store.import_memories("no such file"),
    "search": lambda store: store.search([1.0]),
    "verify_consistency": lambda store: store.verify_consistency(),
    "verify_and_repair_consistency": lambda store: store.verify_and_repair_consistency(),
    "adopt": lambda store: store.adopt("m"),
    "flush": lambda store: store.flush(),
    "checkpoint": lambda store: store.checkpoint(),
    "refresh": lambda store: store.refresh(),
    "stats": statistics,
    "opening_report": report,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


# Open and closed


async def answers(store: MemoryPersistence) -> dict[str, str]:
    """The error that each call raises, by name; "none" where it raises none."""

    async def answer(call: Callable[[MemoryPersistence], Awaitable[Any]]) -> str:
        try:
            await call(store)
        except SynthiansMemoryError as error:
            return type(error).__name__
        return "none"

    return {name: await answer(call) for name, call in CALLS.items()}


async def test_nothing_works_before_opening_and_after_closing(path: Path) -> None:
    store = MemoryPersistence(path)
    refused = dict.fromkeys(CALLS, StoreClosedError.__name__)
    assert await answers(store) == refused
    assert os.listdir(path.parent) == []
    await store.initialize()
    assert await answers(store) == {**dict.fromkeys(CALLS, "none"), "import_memories": DiskError.__name__}
    await store.close()
    assert await answers(store) == refused


async def test_opening_and_closing_are_idempotent(path: Path) -> None:
    store = MemoryPersistence(path)
    await store.close()
    await store.initialize()
    await store.initialize()
    await store.save_memory(memory())
    await store.close()
    await store.close()
    await store.initialize()
    assert await store.list_memories() == ["m"]
    await store.close()


async def test_tasks_may_open_and_close_it_at_once(path: Path) -> None:
    store = MemoryPersistence(path)
    await asyncio.gather(*(store.initialize() for _ in range(5)))
    await store.save_memory(memory())
    await asyncio.gather(*(store.close() for _ in range(5)))
    assert await contents(path) == {"m": "text"}


async def test_the_block_gives_the_store_up_when_it_raises(path: Path) -> None:
    async def use() -> None:
        async with MemoryPersistence(path) as store:
            await store.save_memory(memory())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await use()
    assert await contents(path) == {"m": "text"}


async def test_opens_and_closes_leave_no_descriptor_and_no_thread(path: Path) -> None:
    for n in range(OPENS_AND_CLOSES):
        async with MemoryPersistence(path, read_only=n % 5 == 4) as store:
            if n % 5 != 4:
                await store.save_memory(memory(f"m{n % 3}", f"{n}", embedding=[n, 1.0]))
            await store.load_all()
        if n == 4:
            before = descriptors()
    await_the_end_of_our_threads()
    assert descriptors() == before


async def test_a_failed_open_leaves_no_descriptor_and_no_thread(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("not a store")
    for n in range(10):
        with pytest.raises(NotAStoreError):
            await MemoryPersistence(tmp_path).initialize()
        if n == 0:
            before = descriptors()
    assert our_threads() == []
    assert descriptors() == before
    assert os.listdir(tmp_path) == ["thesis.txt"]


# Another loop, another process


def from_another_thread(call: Callable[[], Any]) -> Any:
    """What `call` returns or raises in a thread without a loop."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(call())
        except SynthiansMemoryError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome[0]


async def test_another_loop_is_refused(path: Path) -> None:
    async with MemoryPersistence(path) as store:
        found = from_another_thread(lambda: asyncio.run(answers(store)))
        assert found == dict.fromkeys(CALLS, WrongLoopError.__name__)
        assert await store.list_memories() == []


async def test_another_loop_cannot_close_it(path: Path) -> None:
    async with MemoryPersistence(path) as store:
        assert isinstance(from_another_thread(lambda: asyncio.run(store.close())), WrongLoopError)
        assert isinstance(from_another_thread(lambda: asyncio.run(store.initialize())), WrongLoopError)
        assert isinstance(from_another_thread(store.stats), WrongLoopError)
        await store.save_memory(memory())
    assert await contents(path) == {"m": "text"}


async def test_a_forked_child_is_refused_and_the_parent_goes_on(path: Path) -> None:
    async with MemoryPersistence(path) as store:
        await store.save_memory(memory("before"))
        child = fork(lambda: " ".join(set(asyncio.run(answers(store)).values())))
        assert child.report() == ForkedStoreError.__name__
        await store.save_memory(memory("beside"))
        assert child.end() == 0
        await store.save_memory(memory("after"))
    assert await contents(path) == {"before": "text", "beside": "text", "after": "text"}


async def test_a_forked_child_does_not_hold_the_lock(path: Path) -> None:
    async with MemoryPersistence(path) as store:
        await store.save_memory(memory())
        child = fork(lambda: "forked")
        assert child.report() == "forked"
    try:
        async with MemoryPersistence(path) as store:
            assert await store.list_memories() == ["m"]
    finally:
        assert child.end() == 0


async def test_a_forked_child_cannot_open_what_the_parent_holds(path: Path) -> None:
    def attempt() -> str:
        try:
            asyncio.run(MemoryPersistence(path).initialize())
        except StoreLockedError as error:
            return error.holder
        return "opened"

    async with MemoryPersistence(path):
        child = fork(attempt)
        assert child.report().startswith(f"pid {os.getpid()} on ")
        child.end()


# The lock


async def test_a_second_writer_in_the_process_is_refused(path: Path) -> None:
    async with MemoryPersistence(path) as store:
        with pytest.raises(StoreLockedError) as raised:
            await MemoryPersistence(path).initialize()
        assert raised.value.holder.startswith(f"pid {os.getpid()} on ")
        assert raised.value.holder in str(raised.value)
        await store.save_memory(memory())
    assert await contents(path) == {"m": "text"}


async def test_a_writer_in_another_process_is_named_and_its_death_frees_the_store(path: Path) -> None:
    with holder(path) as process:
        with pytest.raises(StoreLockedError) as raised:
            await MemoryPersistence(path).initialize()
        assert raised.value.holder.startswith(f"pid {process.pid} on ")
        process.kill()
        process.wait()
        assert await contents(path) == {"of the other": "acknowledged"}


def test_a_dead_loop_does_not_keep_the_lock(path: Path) -> None:
    loop = asyncio.new_event_loop()
    store = MemoryPersistence(path)
    loop.run_until_complete(store.initialize())
    loop.run_until_complete(store.save_memory(memory()))
    loop.close()
    assert asyncio.run(contents(path)) == {"m": "text"}
    assert isinstance(from_another_thread(store.stats), WrongLoopError)


def test_a_dead_loop_does_not_keep_other_processes_out(path: Path) -> None:
    loop = asyncio.new_event_loop()
    store = MemoryPersistence(path)
    loop.run_until_complete(store.initialize())
    loop.close()
    await_the_end_of_our_threads()
    with holder(path):
        pass
    assert asyncio.run(contents(path)) == {"of the other": "acknowledged"}


def test_a_loop_that_dies_with_saves_under_way_loses_none_that_it_acknowledged(path: Path) -> None:
    loop = asyncio.new_event_loop()
    store = MemoryPersistence(path)
    loop.run_until_complete(store.initialize())
    saves = [loop.create_task(store.save_memory(memory(f"m{n}"))) for n in range(50)]
    done, pending = loop.run_until_complete(asyncio.wait(saves, return_when=asyncio.FIRST_COMPLETED))
    acknowledged = {task.result().memory_id for task in done}
    for task in pending:
        task.cancel()
    if pending:
        loop.run_until_complete(asyncio.wait(pending))
    loop.close()
    assert asyncio.run(contents(path)).keys() >= acknowledged


async def test_a_forgotten_store_does_not_keep_the_lock(path: Path) -> None:
    store = MemoryPersistence(path)
    await store.initialize()
    await store.save_memory(memory())
    del store
    gc.collect()
    assert await contents(path) == {"m": "text"}
    await_the_end_of_our_threads()


async def test_a_forgotten_reader_does_not_hold_the_journal(path: Path) -> None:
    async with MemoryPersistence(path) as store:
        await store.save_memory(memory())
        reader = MemoryPersistence(path, read_only=True)
        await reader.initialize()
        del reader
        segments = 2
        # The thread that opened it may remember it for a moment.
        while segments > 1:
            gc.collect()
            await store.save_memory(memory())
            await store.checkpoint()
            segments = store.stats()["journal_segments"]


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
async def test_a_cancelled_open_gives_the_lock_up(path: Path, steps: int) -> None:
    opening = asyncio.create_task(MemoryPersistence(path).initialize())
    for _ in range(steps):
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert await contents(path) == {}


def test_an_open_that_is_cut_short_by_the_end_of_the_loop_gives_the_lock_up(path: Path) -> None:
    async def begin() -> None:
        opening = asyncio.create_task(MemoryPersistence(path).initialize())
        await asyncio.sleep(0)
        opening.cancel()

    asyncio.run(begin())
    assert asyncio.run(contents(path)) == {}


# What opening refuses


@pytest.mark.parametrize(
    "settings",
    [
        {"no_such_setting": 1},
        {"metric": "euclid"},
        {"durability": "never"},
        {"startup_check": "deep"},
        {"embedding_dimension": 0},
        {"embedding_dimension": True},
        {"embedding_dimension": 1.5},
        {"flush_threshold": 0},
        {"flush_interval": float("nan")},
        {"index_backup_count": -1},
        {"backup_interval": "1h"},
        {"cache_bytes": -1},
        {"auto_repair": 1},
        {"storage_path": ""},
        {"storage_path": 7},
        {"embedder": "wordllama"},
    ],
    ids=repr,
)
def test_a_wrong_setting_is_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises((InvalidValueError, InvalidTypeError)):
        MemoryPersistence(**settings)


def test_settings_come_from_the_config_and_single_ones_on_top(tmp_path: Path) -> None:
    config = StoreConfig(storage_path=str(tmp_path / "config"), cache_bytes=1, auto_repair=False)
    store = MemoryPersistence(tmp_path / "given", config, cache_bytes=2)
    assert (store.config.storage_path, store.config.cache_bytes, store.config.auto_repair) == (
        str(tmp_path / "given"),
        2,
        False,
    )
    assert MemoryPersistence(config=config).config == config
    assert MemoryPersistence().config.storage_path == "./storage"


class Embedder:
    def __init__(self, name: str, dimension: int) -> None:
        self.name = name
        self.dimension = dimension

    def embed(self, texts: Any) -> Any:
        return np.ones((len(texts), self.dimension), dtype=np.float32)


async def refused(path: Path, **settings: Any) -> None:
    with pytest.raises(EmbedderMismatchError):
        await MemoryPersistence(path, **settings).initialize()


async def test_a_store_is_opened_with_what_it_was_made_with(path: Path) -> None:
    async with MemoryPersistence(path, embedder=Embedder("one", 3), metric="l2") as store:
        await store.save_memory(memory(embedding=[1.0, 2.0, 3.0]))
    await refused(path, embedder=Embedder("two", 3))
    await refused(path, embedder=Embedder("one", 4))
    await refused(path, embedding_dimension=4)
    await refused(path, metric="cosine")
    await refused(path, config=StoreConfig(metric="ip"))
    await refused(path, read_only=True, embedder=Embedder("two", 3))
    async with MemoryPersistence(path, embedder=Embedder("one", 3), embedding_dimension=3, metric="l2") as store:
        assert [hit.memory_id for hit in await store.search("text")] == ["m"]
    async with MemoryPersistence(path) as store:
        assert store.stats()["metric"] == "l2"
        with pytest.raises(UsageError):
            await store.search("text")


async def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "memories").mkdir()
    (tmp_path / "memories" / "mine.json").write_text("{}")
    with pytest.raises(NotAStoreError):
        await MemoryPersistence(tmp_path).initialize()
    assert sorted(os.listdir(tmp_path)) == ["memories"]
    assert (tmp_path / "memories" / "mine.json").read_text() == "{}"


async def test_the_directory_is_made_with_those_above_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "store"
    async with MemoryPersistence(path) as store:
        await store.save_memory(memory())
        assert store.stats()["location"] == str(path)
    assert path.stat().st_mode & 0o777 == 0o700


async def test_the_backend_may_be_given(path: Path) -> None:
    def refuse() -> Any:
        raise NotAStoreError("no medium today")

    with pytest.raises(NotAStoreError, match="no medium today"):
        await MemoryPersistence(path, backend=refuse).initialize()
