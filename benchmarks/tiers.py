"""What the tiers cost: events pushed, a snapshot, a read of working memory, a search by meaning; beside what is beneath them.

It compares no other library.

    python -m benchmarks.tiers [--size 50000] [--events 500000] [--questions 200] [--folder FOLDER]

Beside each figure stands its floor, measured in turns with it: for a push a bare deque, for a snapshot the copy of the events that it
shows, for a read the same statement through SQLite alone, for a search by words a search of SQLite's FTS5, for a search by meaning
the embedder and a product of all vectors with the question's.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.machine import machine
from synthians_memory import MemoryPersistence
from synthians_memory.embedder import Embedder
from synthians_memory.embedding import CallableEmbedder, open_embedder
from synthians_memory.tiers import Decision, Event, Goal, Incident, OperationalMemory, Procedure, Record, Task, Tiers
from synthians_memory.tiers.database import Database
from synthians_memory.tiers.descriptions import row_memory
from synthians_memory.tiers.tables import DECISIONS, GOALS, INCIDENTS, LONGTERM, PROCEDURES, TASKS, WORKING, Table

# What is promised: events a second, and milliseconds.
GOALS_OF = {"push": 100_000, "snapshot": 1.0, "working read": 5.0, "semantic search": 50.0}
BLOCKS = 5
CHUNK = 1000
AT = 1_700_000_000
KINDS = ("disk", "network", "database", "queue", "cache", "certificate", "backup", "scheduler", "login", "billing")
VERBS = ("fails", "is slow", "is full", "was replaced", "leaks memory", "times out", "was restarted", "loses writes")
PLACES = (
    "in the east",
    "after the deploy",
    "at night",
    "under load",
    "on two hosts",
    "for one customer",
    "since March",
)


def sentence(rng: random.Random) -> str:
    extra = " ".join(f"{rng.choice(KINDS)}{rng.randrange(2000)}" for _ in range(6))
    return f"The {rng.choice(KINDS)} {rng.choice(VERBS)} {rng.choice(PLACES)}: {extra}"


def rows_of(size: int) -> list[tuple[Table[Any], Record]]:
    """Decisions, incidents and procedures, together `size`."""
    rng = random.Random(1)
    made: list[tuple[Table[Any], Record]] = []
    for number in range(size):
        text, key = sentence(rng), f"{number:06}"
        made.append(
            [
                (DECISIONS, Decision(id=key, context=text, chosen="wait", reasoning=sentence(rng), timestamp=AT)),
                (INCIDENTS, Incident(id=key, description=text, resolution=sentence(rng), timestamp=AT)),
                (PROCEDURES, Procedure(id=key, name=f"Procedure {number}", description=text, created_at=AT)),
            ][number % 3]
        )
    return made


async def fill(folder: Path, size: int, embedder: Embedder) -> list[str]:
    """Rows and memories in bulk; how quickly is no matter here. Returns the texts of the memories."""
    made = rows_of(size)
    tasks: list[tuple[Table[Any], Record]] = [
        (
            GOALS,
            Goal(
                id=f"g{n}",
                description=f"Goal {n}",
                status="completed" if n % 100 else "pending",
                created_at=n,
                completed_at=AT,
            ),
        )
        for n in range(size // 5)
    ]
    tasks += [(TASKS, Task(id=f"t{n}", goal_id=f"g{n // 5}", description=f"Task {n}")) for n in range(size // 5 * 5)]
    memories = [row_memory(record).told_in(None) for _, record in made]
    async with MemoryPersistence(folder, embedder=embedder) as store:
        for start in range(0, size, CHUNK):
            part = memories[start : start + CHUNK]
            vectors = embedder.embed([entry.content for entry in part])
            await store.save_memories_batch(
                [entry.replace(embedding=vector) for entry, vector in zip(part, vectors, strict=True)]
            )
    for schema in (WORKING, LONGTERM):
        database = await Database(folder, schema).open()
        for table in schema.tables:
            values = [table.encode(record) for held, record in (*tasks, *made) if held is table]
            await database.transact(lambda c, table=table, values=values: c.executemany(table.upsert, values) and None)  # type: ignore[misc]
        await database.close()
    return [entry.content for entry in memories]


# Measuring


def summary(ours: Sequence[float], floor: Sequence[float], unit: str) -> dict[str, Any]:
    """Medians over all calls, the worst call, and the median over the blocks of the ratio of the two."""
    halves = [len(ours) // BLOCKS, len(floor) // BLOCKS]
    ratios = [
        statistics.median(ours[b * halves[0] : (b + 1) * halves[0]])
        / statistics.median(floor[b * halves[1] : (b + 1) * halves[1]])
        for b in range(BLOCKS)
    ]
    return {
        "unit": unit,
        "p50": statistics.median(ours),
        "p99": sorted(ours)[len(ours) * 99 // 100],
        "worst": max(ours),
        "floor_p50": statistics.median(floor),
        "ratio": statistics.median(ratios),
    }


async def in_turns(
    ours: Callable[[int], Awaitable[object]], floor: Callable[[int], object], count: int
) -> dict[str, Any]:
    """Milliseconds of `count` calls of each, block by block in turns, after one call of each that does not count."""
    await ours(0)
    floor(0)
    taken: tuple[list[float], list[float]] = ([], [])
    for block in range(BLOCKS):
        for number in range(block * count // BLOCKS, (block + 1) * count // BLOCKS):
            begun = time.perf_counter()
            await ours(number)
            taken[0].append((time.perf_counter() - begun) * 1000)
        for number in range(block * count // BLOCKS, (block + 1) * count // BLOCKS):
            begun = time.perf_counter()
            floor(number)
            taken[1].append((time.perf_counter() - begun) * 1000)
    return summary(*taken, "ms")


def pushed(count: int) -> dict[str, Any]:
    """Events a second, the ring being full from the first ten thousand on."""
    events = [Event(category="disk", source="probe", data={"free": n % 100}) for n in range(1000)]
    ring, bare = OperationalMemory(), deque[Event](maxlen=10_000)
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(BLOCKS):
        for push, found in ((ring.push, rates[0]), (bare.append, rates[1])):
            block = itertools.islice(itertools.cycle(events), count // BLOCKS)
            begun = time.perf_counter()
            for event in block:
                push(event)
            found.append(count // BLOCKS / (time.perf_counter() - begun))
    ratio = statistics.median(floor / ours for ours, floor in zip(*rates, strict=True))
    return {
        "unit": "events/s",
        "p50": statistics.median(rates[0]),
        "worst": min(rates[0]),
        "floor_p50": statistics.median(rates[1]),
        "ratio": ratio,
    }


async def snapshots(tiers: Tiers, count: int) -> dict[str, Any]:
    """Of a ring that is full, with metrics and active tasks."""
    ring = tiers.operational
    for number in range(10_000):
        ring.push(Event(category="disk", source="probe", data={"n": number}))
    for number in range(50):
        ring.update_metric(f"metric {number}", number)
    latest = deque(
        (Event(id=str(n), timestamp=AT, category="disk", source="probe") for n in range(10_000)), maxlen=10_000
    )

    async def ours(_: int) -> object:
        return ring.snapshot()

    return await in_turns(ours, lambda _: list(itertools.islice(reversed(latest), 100)), count)


async def working_reads(tiers: Tiers, folder: Path, size: int, count: int) -> dict[str, Any]:
    """The tasks of one goal, by SQLite alone and through the tier; and the other reads of it."""
    rng = random.Random(2)
    goals = [f"g{rng.randrange(size // 5)}" for _ in range(count)]
    connection = sqlite3.connect(f"file:{folder}/tiers/working.db?mode=ro", uri=True)
    sql = TASKS.select("WHERE goal_id = ? ORDER BY row")
    rng_text = [sentence(rng) for _ in range(count)]
    try:
        found = {
            "working read": await in_turns(
                lambda n: tiers.working.get_tasks_for_goal(goals[n]),
                lambda n: connection.execute(sql, (goals[n],)).fetchall(),
                count,
            )
        }
        active = GOALS.select(
            "WHERE status NOT IN ('completed', 'failed', 'cancelled') ORDER BY priority, created_at, row"
        )
        found["active goals"] = await in_turns(
            lambda _: tiers.working.get_active_goals(), lambda _: connection.execute(active).fetchall(), count
        )
        words = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank LIMIT 5"
        found["relevant rows"] = await in_turns(
            lambda n: tiers.working.find_relevant(rng_text[n]),
            lambda n: connection.execute(words, (expression(rng_text[n]),)).fetchall(),
            max(BLOCKS, count // 5),
        )
    finally:
        connection.close()
    return found


def expression(text: str) -> str:
    return " OR ".join(f'"{word}"' for word in text.replace(":", "").split())


def word_index(texts: Sequence[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = 'porter unicode61 remove_diacritics 2')"
    )
    connection.executemany("INSERT INTO words (text) VALUES (?)", [(text,) for text in texts])
    return connection


async def searches(tiers: Tiers, texts: Sequence[str], embedder: Embedder | None, count: int) -> dict[str, Any]:
    """A search in decisions, incidents and procedures; the floor knows no collection and loads nothing."""
    rng = random.Random(3)
    questions = [sentence(rng) for _ in range(count)]
    if embedder is None:
        connection = word_index(texts)
        sql = "SELECT rowid, bm25(words) AS rank FROM words WHERE words MATCH ? ORDER BY rank LIMIT 5"
        try:
            return await in_turns(
                lambda n: tiers.longterm.semantic_search(questions[n]),
                lambda n: connection.execute(sql, (expression(questions[n]),)).fetchall(),
                count,
            )
        finally:
            connection.close()
    rows = np.concatenate([embedder.embed(texts[start : start + CHUNK]) for start in range(0, len(texts), CHUNK)])
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    most = min(5, len(rows)) - 1
    return await in_turns(
        lambda n: tiers.longterm.semantic_search(questions[n]),
        lambda n: np.argpartition(-(rows @ embedder.embed([questions[n]])[0]), most)[: most + 1],
        count,
    )


async def contexts(tiers: Tiers, count: int) -> dict[str, Any]:
    """From all tiers; there is no floor."""
    rng = random.Random(4)
    taken: list[float] = []
    for _ in range(count):
        begun = time.perf_counter()
        await tiers.assemble_context(sentence(rng))
        taken.append((time.perf_counter() - begun) * 1000)
    return {"unit": "ms", "p50": statistics.median(taken), "worst": max(taken)}


async def measure(folder: Path, size: int, events: int, count: int, embedder: Embedder) -> dict[str, Any]:
    """The figures; `folder` is empty, and what is made in it stays."""
    texts = await fill(folder, size, embedder)
    figures: dict[str, Any] = {"size": size, "push": await asyncio.to_thread(pushed, events)}
    async with MemoryPersistence(folder, embedder=embedder) as store:
        for name in ("first_opening_seconds", "next_opening_seconds"):
            begun = time.perf_counter()
            async with Tiers(store) as tiers:
                figures[name] = time.perf_counter() - begun
                if tiers.reconciled.made or tiers.reconciled.replaced:
                    raise SystemExit("the memories did not say what the rows say")
        async with Tiers(store) as tiers:
            figures["snapshot"] = await snapshots(tiers, count * 5)
            figures |= await working_reads(tiers, folder, size, count)
            figures["semantic search"] = await searches(tiers, texts, embedder, count)
            figures["context"] = await contexts(tiers, max(BLOCKS, count // 5))
    async with MemoryPersistence(folder) as store, Tiers(store) as tiers:
        figures["search by words"] = await searches(tiers, texts, None, count)
    return figures


def judged(figures: dict[str, Any]) -> dict[str, bool]:
    """Whether each promise was kept, by the median."""
    return {
        name: figures[name]["p50"] >= goal if name == "push" else figures[name]["p50"] <= goal
        for name, goal in GOALS_OF.items()
    }


def hashed_words(dimension: int) -> CallableEmbedder:
    """An embedder that needs no model: each word has a direction of its own."""

    def vector(text: str) -> Any:
        return sum(
            (np.random.default_rng(list(word.encode())).standard_normal(dimension) for word in text.split()),
            np.zeros(dimension),
        )

    return CallableEmbedder("hashed-words", dimension, lambda texts: [vector(text) for text in texts])


def main(arguments: list[str] | None = None) -> int:
    """Print the figures as JSON; 1 where a promise was not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=50_000, help="rows with memories, and tasks")
    parser.add_argument("--events", type=int, default=500_000, help="events to push")
    parser.add_argument("--questions", type=int, default=200, help="reads and searches of each kind; at least 5")
    parser.add_argument(
        "--dimension", type=int, help="vectors of made-up words of this length; default: the offline embedder"
    )
    parser.add_argument("--folder", type=Path, help="where; default: a temporary folder")
    options = parser.parse_args(arguments)
    embedder = open_embedder() if options.dimension is None else hashed_words(options.dimension)
    folder = Path(tempfile.mkdtemp(prefix="tiers-", dir=options.folder))
    try:
        figures = asyncio.run(measure(folder / "store", options.size, options.events, options.questions, embedder))
    finally:
        shutil.rmtree(folder)
    document = {"machine": machine(options.folder or Path(tempfile.gettempdir())), **figures, "met": judged(figures)}
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    return 0 if all(document["met"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
