"""The process of one contender: commands as lines of JSON on stdin, answers on stdout, the clock in between.

It knows no workload; `workloads` puts the commands together.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import importlib
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import orjson

from benchmarks.contender import Contender, UnsupportedError
from benchmarks.contenders import CONTENDERS
from benchmarks.machine import disk_megabytes, memory_megabytes
from benchmarks.records import base_chunks, queries, record_id, records

NEAREST = 10
LAG_STEP = 0.001
INDEX_STEP = 0.01

Answer = dict[str, Any]


class Server:
    """One contender, driven by commands; each method that is public is one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._module = CONTENDERS[name][0]
        start = time.perf_counter()
        self._class: type[Contender] = importlib.import_module(f"benchmarks.contenders.{self._module}").Store
        self._import_seconds = time.perf_counter() - start
        self._store: Contender
        self._sets: dict[str, list[Any]] = {}
        self._next: dict[str, int] = {}

    async def open(self, folder: str, settings: dict[str, Any]) -> Answer:
        """Open the store; answers with what stands beside the figures."""
        os.makedirs(folder, exist_ok=True)
        start = time.perf_counter()
        self._store = self._class(Path(folder), {**CONTENDERS[self._name][1], **settings})
        await self._store.open()
        return {
            "seconds": time.perf_counter() - start,
            "import_seconds": self._import_seconds,
            "python": sys.version.split()[0],
            "versions": self._store.versions(),
            "durability": self._store.durability,
            "note": self._store.note,
        }

    async def close(self) -> Answer:
        """Close the store."""
        start = time.perf_counter()
        await self._store.close()
        return {"seconds": time.perf_counter() - start}

    async def fill(self, start: int, size: int) -> Answer:
        """Bring the store from `start` to `size` base records."""
        begin = time.perf_counter()
        for chunk in base_chunks(start, size):
            await self._store.fill(chunk)
        await self._store.settle()
        return {"seconds": time.perf_counter() - begin}

    async def make(self, name: str, prefix: str, first: int, count: int, seed: int) -> Answer:
        """Prepare a set of items for later commands."""
        self._sets[name] = self._store.prepare(records(prefix, first, count, seed=seed))
        self._next[name] = 0
        gc.collect()
        gc.freeze()
        return {}

    async def save(self, name: str, count: int, budget: float) -> Answer:
        """Save the next `count` items of a set one by one; what is left to do is done here, not in another's turn."""
        start = time.perf_counter()
        samples = await _timed_each(self._store.save, self._take(name, count), budget)
        await self._store.settle()
        return {"samples": samples, "settled": (time.perf_counter() - start) / len(samples)}

    async def update(self, name: str, count: int, budget: float) -> Answer:
        """Update with the next items of a set one by one."""
        return {"samples": await _timed_each(self._store.update, self._take(name, count), budget)}

    async def update_batch(self, name: str, count: int) -> Answer:
        """Update with the next items of a set in one batch."""
        return await self._timed(self._store.update_batch(self._take(name, count)))

    async def save_batch(self, name: str, count: int) -> Answer:
        """Save the next items of a set in one batch."""
        return await self._timed(self._store.save_batch(self._take(name, count)))

    async def save_together(self, name: str, count: int, savers: int) -> Answer:
        """Save the next items of a set one by one in several loops at once."""
        return await self._timed(self._store.save_together(self._take(name, count), savers))

    async def delete(self, numbers: Sequence[int], budget: float) -> Answer:
        """Delete base records one by one."""
        return {"samples": await _timed_each(self._store.delete, _base_ids(numbers), budget)}

    async def load(self, numbers: Sequence[int], budget: float, again: bool) -> Answer:
        """Load base records one by one; `again`: once before the clock runs."""
        ids = _base_ids(numbers)
        if again:
            await _timed_each(self._store.load, ids, budget)
        samples = await _timed_each(self._store.load, ids, budget)
        if await self._store.load(ids[0]) is None:
            raise LookupError(f"{ids[0]} is not there")
        return {"samples": samples}

    async def search(self, first: int, count: int, topics: Sequence[str | None], budget: float) -> Answer:
        """Search with the queries `first` and on, each under its topic."""
        found: list[list[str]] = []

        async def one(query: tuple[Any, str | None]) -> None:
            found.append(await self._store.search(query[0], NEAREST, query[1]))

        wanted = list(zip(queries(first + count)[first:], topics, strict=True))
        return {"samples": await _timed_each(one, wanted, budget), "found": found}

    async def search_many(self, first: int, count: int) -> Answer:
        """Search with the queries `first` and on in one call; the sample is the time for each."""
        wanted = queries(first + count)[first:]
        start = time.perf_counter()
        found = await self._store.search_many(wanted, NEAREST)
        return {"samples": [(time.perf_counter() - start) / count], "found": found}

    async def index(self) -> Answer:
        """Make what searches of many vectors are fast by, and wait for it."""
        start = time.perf_counter()
        await self._store.start_index()
        while self._store.is_indexing():  # noqa: ASYNC110 - a contender's thread sets no event
            await asyncio.sleep(INDEX_STEP)
        return {"seconds": time.perf_counter() - start}

    async def save_beside_index(self, name: str, count: int) -> Answer:
        """Save the next items of a set one by one for as long as the index is being made, at most `count`."""
        await self._store.start_index()
        samples: list[float] = []
        while self._store.is_indexing() and len(samples) < count:
            samples += await _timed_each(self._store.save, self._take(name, 1), 0.0)
        await self._store.settle()
        return {"samples": samples}

    async def check(self, level: str) -> Answer:
        """Look for damage."""
        start = time.perf_counter()
        findings = await self._store.check(level)
        return {"seconds": time.perf_counter() - start, "findings": findings}

    async def lag(self, prefix: str, count: int, chunk: int) -> Answer:
        """Import records; the samples are how late another task of the loop wakes meanwhile."""
        prepared = await self._store.prepare_import(records(prefix, 0, count))
        late: list[float] = []
        done = asyncio.Event()
        probe = asyncio.create_task(_probe(late, done))
        await asyncio.sleep(0.05)
        late.clear()
        start = time.perf_counter()
        await self._store.import_all(prepared, chunk)
        seconds = time.perf_counter() - start
        done.set()
        await probe
        return {"seconds": seconds, "samples": late}

    async def read(self, paths: Sequence[str]) -> Answer:
        """Read and hash files."""
        start = time.perf_counter()
        size = sum(_hashed(path) for path in paths)
        return {"seconds": time.perf_counter() - start, "bytes": size}

    async def usage(self) -> Answer:
        """Memory of this process, disk of the store."""
        return {**memory_megabytes(), **disk_megabytes(self._store.folder)}

    def _take(self, name: str, count: int) -> list[Any]:
        first = self._next[name]
        items = self._sets[name][first : first + count]
        if not items:
            raise LookupError(f"the set {name} is used up")
        self._next[name] = first + len(items)
        return items

    async def _timed(self, work: Awaitable[None]) -> Answer:
        start = time.perf_counter()
        await work
        seconds = time.perf_counter() - start
        await self._store.settle()
        return {"seconds": seconds, "settled_seconds": time.perf_counter() - start}


async def _timed_each(call: Callable[[Any], Awaitable[Any]], items: Sequence[Any], budget: float) -> list[float]:
    """Seconds of each call; none is begun after `budget` seconds."""
    samples: list[float] = []
    end = time.perf_counter() + budget
    for item in items:
        start = time.perf_counter()
        await call(item)
        now = time.perf_counter()
        samples.append(now - start)
        if now > end:
            break
    return samples


async def _probe(late: list[float], done: asyncio.Event) -> None:
    while not done.is_set():
        due = time.perf_counter() + LAG_STEP
        await asyncio.sleep(LAG_STEP)
        late.append(max(0.0, time.perf_counter() - due))


def _base_ids(numbers: Sequence[int]) -> list[str]:
    return [record_id("base", number) for number in numbers]


def _hashed(path: str) -> int:
    with open(path, "rb") as file:
        data = file.read()
    hashlib.sha256(data).digest()
    return len(data)


async def _answer(server: Server, line: str) -> Answer:
    command = orjson.loads(line)
    try:
        return await getattr(server, command.pop("do"))(**command)
    except UnsupportedError as error:
        return {"error": str(error), "unsupported": True}
    except Exception as error:  # noqa: BLE001 - whatever a contender raises belongs in the report, under its name
        return {"error": f"{type(error).__name__}: {error}"}


async def _serve(server: Server, answers: TextIO) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        answers.write(orjson.dumps(await _answer(server, line)).decode() + "\n")
        answers.flush()


def main() -> None:
    """Serve the contender named by the first argument until stdin ends."""
    random.seed(7)
    # What a contender prints goes to stderr, so that stdout holds answers only.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asyncio.run(_serve(Server(sys.argv[1]), answers))


if __name__ == "__main__":
    main()
