"""What the way through the service costs: saves and searches of a served store beside one that is embedded.

It compares no other store.

    python -m benchmarks.service [--size 10000] [--blocks 7] [--block 200] [--clients 16] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.machine import machine
from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.entrypoints.grpc_client import RemoteMemoryPersistence

DIMENSION = 384
CHUNK = 2000
ROOT = Path(__file__).resolve().parent.parent

Store = Any
Work = Callable[[Sequence[Store], int], Awaitable[list[float]]]


def entries(first: int, count: int) -> list[MemoryEntry]:
    rng = np.random.default_rng(first)
    content = "what somebody said and somebody else remembers. " * 8
    return [
        MemoryEntry(
            memory_id=f"memory-{n:07d}",
            content=f"Memory {n}: {content}",
            embedding=rng.standard_normal(DIMENSION, np.float32),
            metadata={"topic": n % 50},
        )
        for n in range(first, first + count)
    ]


async def fill(path: Path, size: int) -> None:
    """Make the store; how quickly is no matter here."""
    async with MemoryPersistence(path, durability="interval", flush_threshold=10 * CHUNK, flush_interval=60.0) as store:
        for start in range(0, size, CHUNK):
            await store.save_memories_batch(entries(start, min(CHUNK, size - start)))


@contextmanager
def serving(path: Path) -> Iterator[int]:
    """`serve --grpc` on the store; gives its port."""
    line = [
        sys.executable,
        "-m",
        "synthians_memory.entrypoints.cli",
        "--store",
        str(path),
        "serve",
        "--grpc",
        "--port",
        "0",
    ]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["port"]
        process.terminate()
        process.wait()


class Workloads:
    """The workloads, each a block of calls on all clients together; gives the seconds of each call."""

    def __init__(self, size: int) -> None:
        self._first = dict.fromkeys(("served", "embedded"), size)
        self._rng = np.random.default_rng(7)

    def _fresh(self, name: str, count: int) -> list[MemoryEntry]:
        first, self._first[name] = self._first[name], self._first[name] + count
        return entries(first, count)

    async def save(self, name: str, clients: Sequence[Store], block: int) -> list[float]:
        made = self._fresh(name, block)
        return await _spread(clients, [lambda client, entry=entry: client.save_memory(entry) for entry in made])

    async def search(self, name: str, clients: Sequence[Store], block: int) -> list[float]:
        queries = self._rng.standard_normal((block, DIMENSION), np.float32)
        return await _spread(clients, [lambda client, query=query: client.search(query, 10) for query in queries])

    async def load(self, name: str, clients: Sequence[Store], block: int) -> list[float]:
        ids = [f"memory-{n:07d}" for n in self._rng.integers(0, 1000, block)]
        return await _spread(clients, [lambda client, i=i: client.load_memory(i) for i in ids])

    async def batch(self, name: str, clients: Sequence[Store], block: int) -> list[float]:
        made = self._fresh(name, block)
        begun = time.perf_counter()
        await clients[0].save_memories_batch(made)
        return [(time.perf_counter() - begun) / block]


async def _spread(clients: Sequence[Store], calls: list[Callable[[Store], Awaitable[Any]]]) -> list[float]:
    waiting = iter(calls)
    seconds: list[float] = []

    async def run(client: Store) -> None:
        for call in waiting:
            begun = time.perf_counter()
            await call(client)
            seconds.append(time.perf_counter() - begun)

    await asyncio.gather(*(run(client) for client in clients))
    return seconds


async def measure(folder: Path, size: int, *, blocks: int, block: int, clients: int) -> dict[str, Any]:
    """The figures; `folder` is empty, and what is made in it stays."""
    for name in ("served", "embedded"):
        await fill(folder / name, size)
    figures: dict[str, Any] = {"size": size, "blocks": blocks, "block": block, "clients": clients}
    with serving(folder / "served") as port:
        async with MemoryPersistence(folder / "embedded") as embedded:
            remote = [RemoteMemoryPersistence(f"127.0.0.1:{port}") for _ in range(clients)]
            for one in remote:
                await one.initialize()
            try:
                figures |= await _take_turns(remote, embedded, Workloads(size), blocks, block)
            finally:
                for one in remote:
                    await one.close()
    return figures


async def _take_turns(
    remote: Sequence[Store], embedded: Store, workloads: Workloads, blocks: int, block: int
) -> dict[str, Any]:
    """Each workload, the two stores in turn, one caller and many."""
    figures: dict[str, Any] = {}
    for work, many in itertools.product(("save", "search", "load", "batch"), (False, True)):
        if work == "batch" and many:
            continue
        count = len(remote) if many else 1
        stores = {"embedded": [embedded] * count, "served": list(remote[:count])}
        kept: dict[str, list[dict[str, float]]] = {name: [] for name in stores}
        for turn in range(blocks + 1):
            for name in sorted(stores, reverse=bool(turn % 2)):
                begun = time.perf_counter()
                seconds = await getattr(workloads, work)(name, stores[name], block)
                passed = time.perf_counter() - begun
                # The first turn warms up.
                if turn:
                    kept[name].append(_block(seconds, passed, block))
        figures[f"{work}, {count} at once"] = _compared(kept)
    return figures


def _block(seconds: list[float], passed: float, block: int) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "median_us": statistics.median(ordered) * 1e6,
        "p99_us": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e6,
        "per_second": block / passed,
    }


def _compared(kept: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    medians = {
        name: {key: round(statistics.median(one[key] for one in blocks), 1) for key in blocks[0]}
        for name, blocks in kept.items()
    }
    ratios = [s["median_us"] / e["median_us"] for s, e in zip(kept["served"], kept["embedded"], strict=True)]
    return {**medians, "ratio_of_medians": round(statistics.median(ratios), 2)}


def main(arguments: list[str] | None = None) -> int:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=10_000, help="memories in each store")
    parser.add_argument("--blocks", type=int, default=7, help="turns of each store")
    parser.add_argument("--block", type=int, default=200, help="calls in a turn")
    parser.add_argument("--clients", type=int, default=16, help="clients at once")
    parser.add_argument("--folder", type=Path, help="where; default: a temporary folder")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="service-", dir=options.folder))
    try:
        figures = asyncio.run(
            measure(folder, options.size, blocks=options.blocks, block=options.block, clients=options.clients)
        )
    finally:
        shutil.rmtree(folder)
    document = {"machine": machine(options.folder or Path(tempfile.gettempdir())), **figures}
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
