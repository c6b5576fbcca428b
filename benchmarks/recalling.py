"""How fast recall answers over many memories, and how fast the text index catches up with new ones.

It does not judge what is found, which `finding` does, and measures no other store.

    python -m benchmarks.recalling FOLDER --data DATA [--size 100000]

DATA holds peps_memories.jsonl.gz and peps_queries.jsonl.gz. Beyond its paragraphs, memories are made of the halves of two of
them, so that words are as common as in real text.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from benchmarks.finding import read_lines
from benchmarks.machine import machine, new_folder
from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.embedding import open_embedder

NEW = 10_000
CHUNK = 2000
TURNS = 5
MOST_MS = 20.0
MOST_SECONDS = 1.0

# What is asked for, as arguments of `recall`.
WAYS: Mapping[str, Mapping[str, Any]] = {
    "text": {"mode": "text"},
    "hybrid": {},
    "hybrid, one in twenty": {"where": {"topic": 7}},
}


def texts(data: Path, count: int) -> Iterator[str]:
    """So many texts: the paragraphs, then halves of two of them put together, the same in every run."""
    paragraphs = [str(line["content"]) for line in read_lines(data / "peps_memories.jsonl.gz")]
    yield from paragraphs[:count]
    draw = random.Random(11)
    for _ in range(count - len(paragraphs)):
        one, other = draw.choice(paragraphs).split(" "), draw.choice(paragraphs).split(" ")
        yield " ".join(one[: len(one) // 2] + other[len(other) // 2 :])


async def chunks(data: Path, count: int) -> AsyncIterator[list[bytes]]:
    """The memories as lines of an import; one in twenty has each topic."""
    lines: list[bytes] = []
    for number, text in enumerate(texts(data, count)):
        lines.append(orjson.dumps({"id": f"m-{number}", "content": text, "metadata": {"topic": number % 20}}))
        if len(lines) == CHUNK:
            yield lines
            lines = []
    yield lines


async def ask(store: MemoryPersistence, questions: Sequence[str], how: Mapping[str, Any]) -> list[float]:
    """Milliseconds of each question."""
    samples = []
    for question in questions:
        start = time.perf_counter()
        await store.recall(question, timeout=None, **how)
        samples.append((time.perf_counter() - start) * 1000)
    return samples


async def catch_up(store: MemoryPersistence, data: Path) -> float:
    """Seconds that the first question after NEW new memories waits for the text index."""
    new = [MemoryEntry(memory_id=f"new-{i}", content=text) for i, text in enumerate(texts(data, NEW))]
    await store.save_memories_batch(new)
    start = time.perf_counter()
    await store.recall("kettle", 1, "text", timeout=None)
    return time.perf_counter() - start


async def measure(folder: Path, data: Path, size: int) -> dict[str, Any]:
    """Fill a store, ask every title in every way, in turns, then let it catch up."""
    questions = [str(query["query"]) for query in read_lines(data / "peps_queries.jsonl.gz")]
    samples: dict[str, list[float]] = {way: [] for way in WAYS}
    async with MemoryPersistence(folder / "store", embedder=open_embedder()) as store:
        await store.import_memories(chunks(data, size), embed=True)
        start = time.perf_counter()
        await ask(store, questions[:1], {})
        built = time.perf_counter() - start
        for turn in range(TURNS):
            for way, how in WAYS.items():
                samples[way] += await ask(store, questions[turn::TURNS], how)
        caught_up = await catch_up(store, data)
    ways = {way: summary(values) for way, values in samples.items()}
    return {"memories": size, "queries": ways, "index_built_seconds": round(built, 2), **judged(ways, caught_up)}


def summary(values: Sequence[float]) -> dict[str, float]:
    """The median and the 99th percentile, in milliseconds."""
    ordered = sorted(values)
    return {"p50_ms": round(statistics.median(ordered), 2), "p99_ms": round(ordered[int(len(ordered) * 0.99)], 2)}


def judged(ways: Mapping[str, Mapping[str, float]], caught_up: float) -> dict[str, Any]:
    """The goals beside what was measured."""
    asked = {way: ways[way]["p50_ms"] <= MOST_MS for way in ("text", "hybrid")}
    return {
        f"caught_up_{NEW}_seconds": round(caught_up, 3),
        "goals": {
            **{f"{way}: p50 at most {MOST_MS:g} ms": met for way, met in asked.items()},
            f"catching up at most {MOST_SECONDS:g} s": caught_up <= MOST_SECONDS,
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="on the disk that is to be measured")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, default=100_000, help="memories in the store")
    options = parser.parse_args(arguments)
    target = new_folder(options.folder.resolve(), "recalling")
    figures = asyncio.run(measure(target, options.data, options.size))
    document = {"benchmark": "recalling", "machine": machine(target), **figures}
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
