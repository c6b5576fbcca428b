"""Does a durable save cost more in a large store, and do concurrent savers share a sync?

It is not a comparison with other stores.

    python benchmarks/growth.py FOLDER [--size 100000]

Goals: p50 of a single save at `size` memories at most 1.25 times that of an empty store; 64 concurrent
savers at least twice the throughput of one saver in a loop.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from measure import DIMENSION, entries, fresh_folder, interleaved, micros, report

from synthians_memory import MemoryEntry, MemoryPersistence

BLOCKS, BLOCK = 20, 50
SAVERS = 64


async def fill(store: MemoryPersistence, size: int) -> float:
    """Put `size` memories into the store; returns memories per second, encoding included."""
    start = time.perf_counter()
    for first in range(0, size, 2000):
        await store.save_memories_batch(entries(min(2000, size - first), seed=first, prefix=f"base{first}"))
    await store.checkpoint()
    return size / (time.perf_counter() - start)


async def compare_sizes(root: Path, size: int) -> dict[str, object]:
    """Single saves into an empty and into a full store, taking turns in one process."""
    async with (
        MemoryPersistence(fresh_folder(root, "empty"), embedding_dimension=DIMENSION) as empty,
        MemoryPersistence(fresh_folder(root, "full"), embedding_dimension=DIMENSION) as full,
    ):
        rate = await fill(full, size)
        new = {name: entries(BLOCKS * BLOCK, seed=1, prefix=name) for name in ("empty", "full")}

        async def save_empty(i: int) -> None:
            await empty.save_memory(new["empty"][i])

        async def save_full(i: int) -> None:
            await full.save_memory(new["full"][i])

        seconds = await interleaved({"empty": save_empty, "full": save_full}, blocks=BLOCKS, block=BLOCK)
    figures = {name: micros(values) for name, values in seconds.items()}
    ratio = round(figures["full"]["p50_us"] / figures["empty"]["p50_us"], 3)
    return {"size": size, "fill_per_second": round(rate), **figures, "full_to_empty": ratio, "goal": "at most 1.25"}


async def compare_savers(root: Path) -> dict[str, object]:
    """One saver in a loop against 64 at once, in turns, into one store."""
    rounds, count = 5, 20
    async with MemoryPersistence(fresh_folder(root, "savers"), embedding_dimension=DIMENSION) as store:
        rates: dict[str, list[float]] = {"one": [], "many": []}
        for turn in range(rounds):
            alone = entries(count * 10, seed=turn, prefix=f"one{turn}")
            rates["one"].append(len(alone) / await timed(save_all(store, alone)))
            together = entries(count * SAVERS, seed=turn, prefix=f"many{turn}")
            parts = [save_all(store, together[i::SAVERS]) for i in range(SAVERS)]
            rates["many"].append(len(together) / await timed(asyncio.gather(*parts)))
    one, many = (sorted(rates[name])[rounds // 2] for name in ("one", "many"))
    return {
        "one_per_second": round(one),
        "savers": SAVERS,
        "many_per_second": round(many),
        "many_to_one": round(many / one, 2),
        "goal": "at least 2",
    }


async def save_all(store: MemoryPersistence, part: list[MemoryEntry]) -> None:
    """Save one after the other, each acknowledged before the next."""
    for entry in part:
        await store.save_memory(entry)


async def timed(work: object) -> float:
    """Seconds that awaiting `work` takes."""
    start = time.perf_counter()
    await work  # type: ignore[misc]
    return time.perf_counter() - start


async def main() -> None:
    """Run both comparisons and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="on the disk that is to be measured")
    parser.add_argument("--size", type=int, default=100_000)
    options = parser.parse_args()
    figures = {
        "sizes": await compare_sizes(options.folder, options.size),
        "savers": await compare_savers(options.folder),
    }
    report("growth", figures)


if __name__ == "__main__":
    asyncio.run(main())
