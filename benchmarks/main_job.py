"""The main job on real input: import, embed, close, open, check, search, export; each step in a process of its own.

It is not a comparison with other stores.

    python -m benchmarks.main_job FOLDER --data DATA

DATA holds peps_memories.jsonl.gz, peps_assemblies.jsonl.gz and peps_queries.jsonl.gz.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import subprocess
import sys
import time
from pathlib import Path

import orjson

from benchmarks.child import ROOT
from benchmarks.machine import machine, memory_megabytes, new_folder
from synthians_memory import MemoryPersistence
from synthians_memory.codec import line_of
from synthians_memory.embedding import open_embedder

STEPS = ("import", "import_embedded", "reimport", "open", "check", "search", "export")


async def run_step(step: str, folder: Path, data: Path) -> dict[str, object]:
    """One step, measured inside its own process."""
    plain, embedded = folder / "plain", folder / "embedded"
    if step == "import":
        return await import_all(plain, data, embed=False)
    if step in ("import_embedded", "reimport"):
        return await import_all(embedded, data, embed=True)
    start = time.perf_counter()
    async with MemoryPersistence(embedded, embedder=open_embedder()) as store:
        opened = time.perf_counter() - start
        if step == "open":
            return {"seconds": round(opened, 3), "memories": store.stats()["memories"]}
        return await {"check": check_all, "search": search_all, "export": export_all}[step](store, data)


async def import_all(path: Path, data: Path, *, embed: bool) -> dict[str, object]:
    """Both files of the data set; a repetition stores nothing twice."""
    embedder = open_embedder() if embed else None
    if embedder is not None:
        embedder.embed(["warm up"])
    async with MemoryPersistence(path, embedder=embedder) as store:
        start = time.perf_counter()
        memories = await store.import_memories(data / "peps_memories.jsonl.gz", embed=embed)
        assemblies = await store.import_memories(data / "peps_assemblies.jsonl.gz")
        seconds = time.perf_counter() - start
    handled = sum(r.imported + r.skipped for r in (memories, assemblies))
    return {
        "imported": memories.imported + assemblies.imported,
        "skipped": memories.skipped + assemblies.skipped,
        "problems": memories.problem_count + assemblies.problem_count,
        "records_per_second": round(handled / seconds),
    }


async def check_all(store: MemoryPersistence, data: Path) -> dict[str, object]:
    """Both levels of the check."""
    figures: dict[str, object] = {}
    for level in ("quick", "full"):
        start = time.perf_counter()
        found = await store.verify_consistency(level=level)  # type: ignore[arg-type]
        figures[f"{level}_seconds"] = round(time.perf_counter() - start, 3)
        figures[f"{level}_findings"] = len(found)
    return figures


async def search_all(store: MemoryPersistence, data: Path) -> dict[str, object]:
    """Every title; a hit is a paragraph of the document that has it."""
    with gzip.open(data / "peps_queries.jsonl.gz") as file:
        queries = [orjson.loads(line) for line in file]
    found, seconds = {1: 0, 10: 0}, []
    for query in queries:
        start = time.perf_counter()
        hits = await store.search(query["query"], k=10)
        seconds.append(time.perf_counter() - start)
        ranks = [i for i, hit in enumerate(hits, 1) if hit.memory_id.startswith(query["assembly_id"])]
        for limit in found:
            found[limit] += bool(ranks) and ranks[0] <= limit
    seconds.sort()
    shares = {f"hit_rate_at_{limit}": round(count / len(queries), 3) for limit, count in found.items()}
    return {"queries": len(queries), **shares, "p50_ms": round(seconds[len(seconds) // 2] * 1000, 2)}


async def export_all(store: MemoryPersistence, data: Path) -> dict[str, object]:
    """Every entity as its canonical line; the digest shows that two runs export the same."""
    start = time.perf_counter()
    digest, count = hashlib.sha256(), 0
    for entities in (store.iter_memories(), store.iter_assemblies()):
        async for entity in entities:
            digest.update(line_of(entity) + b"\n")
            count += 1
    return {"records_per_second": round(count / (time.perf_counter() - start)), "sha256": digest.hexdigest()[:16]}


def run_all(folder: Path, data: Path) -> None:
    """Every step in a fresh process, so that its peak memory is its own."""
    target = new_folder(folder.resolve(), "main-job")
    figures: dict[str, object] = {}
    for step in STEPS:
        command = [sys.executable, "-m", "benchmarks.main_job", str(target), "--data", str(data), "--step", step]
        done = subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        figures[step] = orjson.loads(done.stdout)
    document = {"benchmark": "main job", "machine": machine(target), **figures}
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


def main() -> None:
    """Run all steps, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="on the disk that is to be measured")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step is None:
        run_all(options.folder, options.data.resolve())
        return
    figures = asyncio.run(run_step(options.step, options.folder, options.data))
    print(orjson.dumps({**figures, "peak_megabytes": memory_megabytes()["peak_mb"]}).decode())


if __name__ == "__main__":
    main()
