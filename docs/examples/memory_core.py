"""A memory core for an agent: it listens, remembers, groups what belongs together, and answers, all in one event loop.

    python docs/examples/memory_core.py STORE FEED.jsonl

It prints one JSON object a line. A line "remembered" is printed when the store has acknowledged the memory: from then on
neither `kill -9` nor a power cut takes it away. Start it again with the same arguments, and it goes on where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synthians_memory import ABSENT, Embedder, MemoryAssembly, MemoryEntry, MemoryPersistence
from synthians_memory.embedding import open_embedder
from synthians_memory.errors import ConflictError

NEAR_ENOUGH = 0.5  # cosine between a memory and the mean of an assembly
QUESTIONS = ["when are annotations evaluated", "how does a generator hand its work to another", "join two dictionaries"]


class MemoryCore:
    """What the agent knows, and which of it belongs together; any number of tasks may use it at once."""

    def __init__(self, store: MemoryPersistence, embedder: Embedder) -> None:
        self._store = store
        self._embedder = embedder

    async def remember(self, memory_id: str, content: str) -> str:
        """Store a memory together with its assembly, all or nothing; returns the id of the assembly."""
        (vector,) = await asyncio.to_thread(self._embedder.embed, [content])
        entry = MemoryEntry(memory_id=memory_id, content=content, embedding=vector if vector.any() else None)
        while True:
            old = await self._nearest_assembly(entry)
            assembly = grown(old, entry) if old is not None else begun(entry)
            try:
                async with self._store.transaction() as changes:
                    changes.save_memory(entry)
                    changes.save_assembly(assembly, expected_updated_at=old.updated_at if old is not None else ABSENT)
                return assembly.assembly_id
            except ConflictError:
                continue  # another task has changed the assembly in between: look again

    async def _nearest_assembly(self, entry: MemoryEntry) -> MemoryAssembly | None:
        """The assembly that the entry belongs to; None where it is near to none."""
        if entry.embedding is None:
            return None
        hits = await self._store.search(entry.embedding, 1, kind="assembly")
        near = [hit.memory_id for hit in hits if hit.score >= NEAR_ENOUGH]
        return await self._store.load_assembly(near[0]) if near else None

    async def recall(self, question: str) -> list[tuple[float, MemoryEntry]]:
        """The three memories nearest to a question, best first, and a sign of life for the assembly nearest to it."""
        hits = await self._store.search(question, 3)
        found = await self._store.load_memories(hit.memory_id for hit in hits)
        for hit in await self._store.search(question, 1, kind="assembly"):
            await self._activate(hit.memory_id)
        return [(hit.score, found[hit.memory_id]) for hit in hits if hit.memory_id in found]

    async def _activate(self, assembly_id: str) -> None:
        old = await self._store.load_assembly(assembly_id)
        if old is None:
            return
        active = old.replace(activation_count=old.activation_count + 1)
        try:
            await self._store.save_assembly(active, expected_updated_at=old.updated_at)
        except ConflictError:
            return  # it has just grown, which is sign of life enough


def begun(entry: MemoryEntry) -> MemoryAssembly:
    """A new assembly of one memory."""
    return MemoryAssembly(
        assembly_id=f"about-{entry.memory_id}",
        name=" ".join(entry.content.split()[:6]),
        members=(entry.memory_id,),
        composite_embedding=entry.embedding,
    )


def grown(assembly: MemoryAssembly, entry: MemoryEntry) -> MemoryAssembly:
    """The assembly with one member more; its composite embedding is the mean of its members'."""
    count, mean = len(assembly.members), assembly.composite_embedding
    if mean is not None and entry.embedding is not None:
        mean = mean + (entry.embedding - mean) / np.float32(count + 1)
    return assembly.replace(members=(*assembly.members, entry.memory_id), composite_embedding=mean)


@dataclass
class Pulse:
    """Proof that the event loop was free: something else that ran all the time."""

    beats: int = 0
    longest_gap: float = 0.0

    async def beat(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.005)
            self.beats += 1
            self.longest_gap = max(self.longest_gap, time.perf_counter() - before)


def tell(event: str, **facts: object) -> None:
    """Print one line."""
    print(json.dumps({"event": event, **facts}), flush=True)


async def listen(core: MemoryCore, feed: list[dict[str, str]], pause: float) -> None:
    """Remember everything in the feed, one after the other."""
    for observation in feed:
        assembly_id = await core.remember(observation["id"], observation["content"])
        tell("remembered", memory_id=observation["id"], assembly_id=assembly_id)
        await asyncio.sleep(pause)


async def wonder(core: MemoryCore) -> None:
    """Ask something again and again while the core is listening."""
    while True:
        for question in QUESTIONS:
            for score, memory in (await core.recall(question))[:1]:
                tell("answered", question=question, memory_id=memory.memory_id, score=round(score, 3))
            await asyncio.sleep(0.05)


async def run(path: str, embedder: Embedder, feed: list[dict[str, str]], pause: float) -> None:
    """Open the store, listen to what it does not know yet, and answer questions meanwhile."""
    async with MemoryPersistence(path, embedder=embedder) as store:
        known = set(await store.list_memories())
        tell("started", memories=len(known))
        core, pulse = MemoryCore(store, embedder), Pulse()
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(pulse.beat()), group.create_task(wonder(core))]
            await listen(core, [one for one in feed if one["id"] not in known], pause)
            for task in beside:
                task.cancel()
        stats = store.stats()
        tell("done", memories=stats["memories"], assemblies=stats["assemblies"], beats=pulse.beats)
        tell("heartbeat", longest_gap_ms=round(pulse.longest_gap * 1000, 1))


def main() -> None:
    """Read the command line, and the weights of the embedder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", help="directory of the store; made where it is missing")
    parser.add_argument("feed", type=Path, help="JSONL with id and content, such as storage_fixtures/peps_sample.jsonl")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two observations")
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in arguments.feed.read_text(encoding="utf-8").splitlines()]
    feed = [line for line in lines if "content" in line]
    embedder = open_embedder()
    embedder.embed(["ready"])  # reads the weights now, and not while the loop is running
    asyncio.run(run(arguments.store, embedder, feed, arguments.pause))


if __name__ == "__main__":
    main()
