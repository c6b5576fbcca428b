"""A process that pushes critical events is killed: whatever it was told is durable is in the working tier, once."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from synthians_memory import MemoryPersistence
from synthians_memory.tiers import Tiers

PUSHING = """
import asyncio, sys
from synthians_memory import MemoryPersistence
from synthians_memory.tiers import Event, Tiers

async def push(tiers, name):
    number = 0
    while True:
        pushed = await tiers.push_event(Event(category="c", source=name, data={"n": number}, critical=number % 3 != 2))
        if pushed.critical:
            print(pushed.id, flush=True)
        number += 1
        await asyncio.sleep(0)

async def main():
    async with MemoryPersistence(sys.argv[1]) as store, Tiers(store, capacity=10, migrate_every=0.01) as tiers:
        await asyncio.gather(*(push(tiers, name) for name in "abc"))

asyncio.run(main())
"""


def killed(store: Path, after: int) -> list[str]:
    """What it said was durable, before it was killed soon after so many."""
    told: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PUSHING, str(store)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                told.append(line.strip())
                if len(told) == after:
                    process.kill()
        finally:
            process.kill()
    assert process.returncode < 0
    # The last line may be torn.
    return told[:after]


async def kills(store: Path, rounds: int) -> None:
    draw, acknowledged = random.Random(7), list[str]()
    for _ in range(rounds):
        acknowledged += killed(store, draw.randint(1, 120))
        async with MemoryPersistence(store) as opened, Tiers(opened) as tiers:
            events = await tiers.working.get_events(1_000_000)
            found = Counter(event.id for event in events)
            assert set(acknowledged) <= set(found)
            assert set(found.values()) == {1}
            assert await opened.verify_consistency("full") == []


async def test_acknowledged_critical_events_survive(tmp_path: Path) -> None:
    await kills(tmp_path / "store", 3)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_acknowledged_critical_events_survive_many_kills(tmp_path: Path) -> None:
    await kills(tmp_path / "store", 60)
