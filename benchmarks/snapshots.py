"""What snapshots cost: the first of a store, the next after a few changes, proving one, and restoring it.

It compares no other store.

    python -m benchmarks.snapshots [--size 100000] [--changes 100] [--dimension 384] [--restore] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.machine import machine
from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.maintenance.care import snapshots_in
from synthians_memory.maintenance.restore import Wanted, restore_store
from synthians_memory.maintenance.snapshots import verify_snapshots
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import SystemClock

DIMENSION = 384
CHUNK = 2000
SHARE = 0.05


def entry(number: int, edition: int, dimension: int) -> MemoryEntry:
    content = f"Memory {number}, edition {edition}: " + "what somebody said and somebody else remembers. " * 8
    vector = np.random.default_rng((number, edition)).random(dimension, np.float32) if dimension else None
    return MemoryEntry(memory_id=f"memory-{number:07d}", content=content, embedding=vector)


async def fill(path: Path, size: int, dimension: int) -> None:
    """Make the store; how quickly is no matter here."""
    async with MemoryPersistence(path, durability="interval", flush_threshold=10 * CHUNK, flush_interval=60.0) as store:
        for start in range(0, size, CHUNK):
            await store.save_memories_batch([entry(n, 0, dimension) for n in range(start, min(start + CHUNK, size))])


async def measure(
    folder: Path, size: int, changes: int, *, dimension: int = DIMENSION, restore: bool = False
) -> dict[str, Any]:
    """The figures; `folder` is empty, and what is made in it stays."""
    figures: dict[str, Any] = {"size": size, "changes": changes, "dimension": dimension}
    await fill(folder / "store", size, dimension)
    async with MemoryPersistence(folder / "store") as store:
        figures["first"] = await _backup(store, folder / "to")
        rng = np.random.default_rng(1)
        figures["second"], figures["unchanged"] = [], []
        for edition in (1, 2, 3):
            for number in rng.choice(size, changes, replace=False):
                await store.save_memory(entry(int(number), edition, dimension))
            figures["second"].append(await _backup(store, folder / "to"))
            figures["unchanged"].append(await _backup(store, folder / "to"))
    figures["share_of_seconds"] = max(one["seconds"] for one in figures["second"]) / figures["first"]["seconds"]
    figures["share_of_bytes"] = max(one["bytes"] for one in figures["second"]) / figures["first"]["bytes"]
    if restore:
        place = folder / "restored"
        figures["verify_seconds"] = await _timed(lambda: asyncio.to_thread(_verify, folder / "to"))
        figures["restore_seconds"] = await _timed(lambda: asyncio.to_thread(_restore, folder / "to", place))
    return figures


async def _backup(store: MemoryPersistence, to: Path) -> dict[str, Any]:
    """One backup, and for how long the event loop could do nothing else meanwhile."""
    waits = [0.0]

    async def tick() -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(0.001)
            waits.append(time.perf_counter() - begun - 0.001)

    ticking = asyncio.create_task(tick())
    begun = time.perf_counter()
    report = await store.backup(to)
    seconds = time.perf_counter() - begun
    ticking.cancel()
    return {
        "seconds": seconds,
        "files": report.written_files,
        "bytes": report.written_bytes,
        "longest_wait_ms": max(waits) * 1000,
    }


async def _timed(work: Callable[[], Awaitable[None]]) -> float:
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


def _verify(to: Path) -> None:
    with snapshots_in(str(to)) as folder:
        wrong = [info for info in verify_snapshots(folder) if not info.whole]
    if wrong:
        raise SystemExit(f"snapshots are not whole: {wrong}")


def _restore(to: Path, place: Path) -> None:
    with snapshots_in(str(to)) as folder:
        restore_store(lambda: LocalBackend(place, create=True), folder, Wanted(), SystemClock(), elsewhere=True)


def main(arguments: list[str] | None = None) -> int:
    """Print the figures as JSON; 1 where the second snapshot costs more than its share of the first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=100_000, help="memories in the store")
    parser.add_argument("--changes", type=int, default=100, help="memories that change before the second snapshot")
    parser.add_argument("--dimension", type=int, default=DIMENSION, help="numbers in each vector; 0: no vectors")
    parser.add_argument("--restore", action="store_true", help="prove and restore the last snapshot as well")
    parser.add_argument("--folder", type=Path, help="where; default: a temporary folder")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="snapshots-", dir=options.folder))
    try:
        figures = asyncio.run(
            measure(folder, options.size, options.changes, dimension=options.dimension, restore=options.restore)
        )
    finally:
        shutil.rmtree(folder)
    document = {"machine": machine(options.folder or Path(tempfile.gettempdir())), **figures}
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    within = max(figures["share_of_seconds"], figures["share_of_bytes"]) <= SHARE
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
