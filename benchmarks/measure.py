"""What every benchmark here shares: seeded data, medians of interleaved blocks, and facts of the machine.

It is not a benchmark itself.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import faiss
import numpy as np
import orjson

from synthians_memory import MemoryEntry

DIMENSION = 384
CLUSTERS = 200


def machine() -> dict[str, object]:
    """What the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "faiss": faiss.__version__,
        "orjson": orjson.__version__,
    }


def entries(count: int, *, seed: int, prefix: str) -> list[MemoryEntry]:
    """`count` memories of about 5.5 kB as files, their vectors drawn around seeded centres."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((CLUSTERS, DIMENSION), dtype=np.float32)
    vectors = centres[rng.integers(CLUSTERS, size=count)]
    vectors = vectors + 0.4 * rng.standard_normal((count, DIMENSION), dtype=np.float32)
    return [
        MemoryEntry(
            memory_id=f"{prefix}-{i:07d}",
            content=f"memory {i} of {prefix}: " + "what was said and decided, and why. " * 8,
            embedding=vectors[i],
            metadata={"topic": f"topic-{i % 20}", "number": i},
            tags=["benchmark"],
        )
        for i in range(count)
    ]


async def interleaved(
    contenders: dict[str, Callable[[int], Awaitable[None]]], *, blocks: int, block: int
) -> dict[str, list[float]]:
    """Seconds of each call, contenders taking turns block by block so that a noisy moment hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(blocks):
        for name, call in contenders.items():
            for i in range(turn * block, (turn + 1) * block):
                start = time.perf_counter()
                await call(i)
                seconds[name].append(time.perf_counter() - start)
    return seconds


def micros(seconds: Sequence[float]) -> dict[str, float]:
    """Median and tail in microseconds."""
    ordered = sorted(seconds)
    return {
        "p50_us": round(statistics.median(ordered) * 1e6, 1),
        "p99_us": round(ordered[int(len(ordered) * 0.99)] * 1e6, 1),
    }


def peak_megabytes() -> float:
    """The most memory that this process ever held resident."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def fresh_folder(root: Path, name: str) -> Path:
    """A folder that was never there before: freed inodes of a deleted one would be measured instead."""
    for number in range(10_000):
        path = root / f"{name}-{number:04d}"
        if not path.exists():
            path.mkdir(parents=True)
            return path
    raise SystemExit(f"{root} is full of old benchmark folders: remove them, wait some minutes, and try again")


def report(title: str, figures: dict[str, object]) -> None:
    """One JSON document on stdout."""
    print(orjson.dumps({"benchmark": title, "machine": machine(), **figures}, option=orjson.OPT_INDENT_2).decode())
