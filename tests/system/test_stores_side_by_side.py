"""Several stores open in one process: each keeps its own, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from acknowledged import Acknowledged, Notes
from editions import DIMENSION
from programs import RandomTask
from verdict import require_kept, require_sound
from workload import Operations, Report, observe

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.errors import DiskError
from synthians_memory.layout import JOURNAL

STORES = 3
STEPS = 40
CONFIG: dict[str, Any] = {"embedding_dimension": DIMENSION, "segment_bytes": 16 * 1024, "checkpoint_interval": 0.03}


async def work(store: MemoryPersistence, history: Acknowledged, numbers: Iterator[int], seed: int) -> None:
    """Change the store at random; all stores have the same ids, and no two the same edition of one."""
    task = RandomTask(Operations(store, cast(Report, Notes(history)), 0, numbers.__next__), Random(seed))
    for _ in range(STEPS):
        await task.step()


async def test_stores_open_at_once_keep_each_their_own(place: Path) -> None:
    paths = [place / f"store {number}" for number in range(STORES)]
    histories, numbers = [Acknowledged() for _ in paths], itertools.count(1)
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(MemoryPersistence(path, **CONFIG)) for path in paths]
        for first in (0, 1):
            rest = list(zip(stores, histories, strict=True))[first:]
            await asyncio.gather(*(work(*one, numbers, seed) for seed, one in enumerate(rest)))
            for store, history in rest:
                assert await observe(store) == history.last
                await require_sound(store, history.last)
            await stores[0].close()
        await require_kept(paths[0], histories[0])
    for path, history in zip(paths, histories, strict=True):
        assert history.operations > STEPS // 2
        assert history.refusals == {}
        await require_kept(path, history)


async def test_a_store_whose_disk_is_gone_does_not_touch_the_others(place: Path) -> None:
    history, numbers = Acknowledged(), itertools.count(1)
    robbed = MemoryPersistence(place / "robbed", **CONFIG)
    async with MemoryPersistence(place / "store", **CONFIG) as store, robbed:
        await robbed.save_memory(MemoryEntry(memory_id="m", content="acknowledged"))
        os.rename(place / "robbed" / JOURNAL, place / "away")
        with pytest.raises(DiskError):
            await robbed.checkpoint()
        await work(store, history, numbers, 1)
        assert history.refusals == {}
        await require_sound(store, history.last)
        os.rename(place / "away", place / "robbed" / JOURNAL)
    await require_kept(place / "store", history)
