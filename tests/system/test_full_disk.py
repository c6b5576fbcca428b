"""A full disk: writes fail with the library's error, reads go on, deletes free space, and nothing acknowledged is lost."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from acknowledged import Acknowledged, Notes
from editions import DIMENSION, ids_of
from fork_server import ForkServer
from mounts import make_image, mounted_image, require_disks, require_mounts, tmpfs
from verdict import require_kept, worse_than_notes
from workload import Operations, Report, fill, observe

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.errors import DiskFullError, NotStoredError

CONFIG: dict[str, Any] = {
    "embedding_dimension": DIMENSION,
    "segment_bytes": 64 * 1024,
    "checkpoint_interval": 0.05,
    "index_backup_count": 1,
    "backup_interval": 0.0,
}
# More than any of the disks holds.
IDS = 5_000
OTHER = "file of another program"
REFUSALS = {"DiskFullError", "OverloadedError"}


@contextmanager
def small_disk(kind: str, place: Path) -> Iterator[Path]:
    """A disk that is soon full."""
    if kind == "ext4":
        require_disks(kind)
        make_image(place / "image", kind, mebibytes=8)
        with mounted_image(place / "image", place / "disk", kind) as disk:
            yield disk
    else:
        require_mounts()
        options = {"bytes": "size=2m", "inodes": "size=64m,nr_inodes=150"}[kind]
        with tmpfs(place / "disk", options) as disk:
            yield disk


@pytest.fixture(params=["bytes", "inodes", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    with small_disk(request.param, tmp_path) as directory:
        (directory / OTHER).touch()
        yield directory


@asynccontextmanager
async def opened(disk: Path, *, full: bool = False) -> AsyncIterator[MemoryPersistence]:
    """The store on the disk; where that stays full its last checkpoint may find no space, and it is released."""
    store = MemoryPersistence(disk / "store", **CONFIG)
    await store.initialize()
    try:
        yield store
    except BaseException:
        full = True
        raise
    finally:
        try:
            await store.close()
        except DiskFullError:
            assert full


def operations_of(store: MemoryPersistence, history: Acknowledged, numbers: Iterator[int]) -> Operations:
    return Operations(store, cast(Report, Notes(history)), 0, numbers.__next__)


def take_the_rest(disk: Path) -> None:
    """Another program fills what is left."""
    with open(disk / OTHER, "wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            while _grows(file.fileno(), size):
                pass


def _grows(descriptor: int, size: int) -> bool:
    try:
        return os.write(descriptor, bytes(size)) > 0
    except OSError as error:
        assert error.errno == errno.ENOSPC
        return False


async def require_readable(store: MemoryPersistence, history: Acknowledged) -> None:
    """What was acknowledged is served, found and listed; what waits for its file is reported as that."""
    assert await observe(store) == history.last
    assert len(await store.list_memories()) == len(history.last)
    assert len(await store.search([1.0] * DIMENSION, 5)) == 5
    worse = worse_than_notes(await store.verify_consistency(level="full"))
    assert {finding.code for finding in worse} <= {"apply_pending"}
    assert len(worse) == store.stats()["pending_files"]


async def make_space(store: MemoryPersistence, operations: Operations, history: Acknowledged) -> None:
    """Deletes are taken, one after the other, and soon saves are again."""
    ids = [entity_id for _, entity_id in sorted(history.last)]
    for entity_id in ids[: len(ids) // 2]:
        assert await operations.delete(entity_id), "a delete was refused"
    await store.checkpoint()
    assert store.stats()["pending_files"] == 0
    for entity_id in ids[:5]:
        assert await operations.save(entity_id), "a save was refused, though there is space again"


async def test_a_full_disk_serves_what_it_holds_and_deletes_make_space(disk: Path) -> None:
    history, numbers = Acknowledged(), itertools.count(1)
    async with opened(disk) as store:
        operations = operations_of(store, history, numbers)
        await fill(operations, ids_of(0, IDS))
        take_the_rest(disk)
        assert history.operations > 20
        assert history.refusals.keys() <= REFUSALS
        assert "DiskFullError" in history.refusals
        await require_readable(store, history)
        await make_space(store, operations, history)
        await require_readable(store, history)
    await require_kept(disk / "store", history)


async def test_a_store_is_opened_on_the_full_disk(disk: Path) -> None:
    history, numbers = Acknowledged(), itertools.count(1)
    async with opened(disk, full=True) as store:
        await fill(operations_of(store, history, numbers), ids_of(0, IDS))
        take_the_rest(disk)
    async with MemoryPersistence(disk / "store", read_only=True) as reader:
        assert await observe(reader) == history.last
    await require_space_can_be_made(disk, history, numbers)


async def test_a_store_that_was_killed_on_the_full_disk_is_opened_there(disk: Path, fork_server: ForkServer) -> None:
    history = Acknowledged()
    settings = {"path": str(disk / "store"), "config": CONFIG, "life": 1, "ids": IDS}
    with closing(fork_server.start("fill_and_wait", **settings)) as child:
        while "full" not in (line := child.line() or {"full": None}):
            history.note(line)
        assert line["full"], "the child died"
        take_the_rest(disk)
        child.kill()
    async with MemoryPersistence(disk / "store", read_only=True) as reader:
        assert await observe(reader) == history.last
    await require_space_can_be_made(disk, history, itertools.count(200_000))


async def require_space_can_be_made(disk: Path, history: Acknowledged, numbers: Iterator[int]) -> None:
    """Opened on the full disk, as often as one likes, the store holds all, and deletes make space."""
    for _ in range(2):
        async with opened(disk, full=True) as store:
            await require_readable(store, history)
    async with opened(disk) as store:
        await require_readable(store, history)
        await make_space(store, operations_of(store, history, numbers), history)
    await require_kept(disk / "store", history)


async def test_a_memory_to_remember_is_parked_on_the_full_disk(disk: Path) -> None:
    said: list[str] = []
    parked: list[str] = []
    async with opened(disk, full=True) as store:
        said.append((await store.remember("while there was room")).content)
        take_the_rest(disk)
        for number in range(2000):
            try:
                said.append((await store.remember(f"{number}: {'word ' * 40}")).content)
            except NotStoredError as error:
                assert error.parked, error
                parked.append(cast(MemoryEntry, error.entry).content)
            if len(parked) == 3:
                break
        assert len(parked) == 3
    (disk / OTHER).unlink()
    async with opened(disk) as store:
        assert sorted(entry.content for entry in await store.load_all()) == sorted([*said, *parked])
        assert len(store.opening_report.actions) == 3
