"""docs/examples/memory_core.py does what it says: killed at any time it has lost nothing, and goes on where it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from synthians_memory import MemoryPersistence

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "docs" / "examples" / "memory_core.py"
FEED = ROOT / "storage_fixtures" / "peps_sample.jsonl"
OBSERVED = 150

Event = dict[str, Any]


def shortened_feed(folder: Path) -> tuple[Path, dict[str, str]]:
    """A feed of OBSERVED memories, and their contents by id."""
    lines = FEED.read_text(encoding="utf-8").splitlines()[:OBSERVED]
    path = folder / "feed.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path, {entry["id"]: entry["content"] for entry in map(json.loads, lines)}


@contextmanager
def started(store: Path, feed: Path, pause: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """The example as a process of its own; nothing of it is left behind."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(EXAMPLE), str(store), str(feed), f"--pause={pause}"],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HOME": str(store.parent)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def killed_after(store: Path, feed: Path, memories: int) -> list[Event]:
    """What it said before it was killed, soon after it had acknowledged `memories`."""
    events: list[Event] = []
    # With the pause the whole feed would take ten times as long as any test here waits.
    with started(store, feed, pause=0.02) as process:
        assert process.stdout is not None
        for line in process.stdout:
            events.append(json.loads(line))
            if len(of(events, "remembered")) == memories:
                process.kill()
    assert process.returncode < 0
    return events


def of(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["event"] == kind]


def remembered(events: list[Event]) -> list[str]:
    return [event["memory_id"] for event in of(events, "remembered")]


async def test_killed_again_and_again_it_loses_nothing_and_goes_on_where_it_was(tmp_path: Path) -> None:
    store = tmp_path / "store"
    feed, contents = shortened_feed(tmp_path)
    acknowledged: list[str] = []
    for memories in (1, 30, 10):
        events = killed_after(store, feed, memories)
        assert of(events, "started")[0]["memories"] >= len(acknowledged)
        acknowledged += remembered(events)
    assert len(acknowledged) < OBSERVED
    async with MemoryPersistence(store, read_only=True) as opened:
        stored = {memory.memory_id: memory async for memory in opened.iter_memories()}
        assert set(acknowledged) <= set(stored)
        await every_memory_is_in_one_assembly(opened, stored.keys())
    with started(store, feed) as process:
        last = [json.loads(line) for line in process.stdout or ()]
    assert process.returncode == 0
    assert of(last, "started")[0]["memories"] == len(stored)
    assert remembered(last) == [memory_id for memory_id in contents if memory_id not in stored]
    await the_store_holds_everything(store, contents)


async def test_it_answers_while_it_listens_and_its_heart_beats(tmp_path: Path) -> None:
    feed, contents = shortened_feed(tmp_path)
    with started(tmp_path / "store", feed) as process:
        events = [json.loads(line) for line in process.stdout or ()]
    assert process.returncode == 0
    (done,) = of(events, "done")
    assert done["memories"] == OBSERVED
    assert 1 < done["assemblies"] < OBSERVED
    assert done["beats"] > 10
    assert of(events, "heartbeat")[0]["longest_gap_ms"] > 0
    first, last = (events.index(one) for one in (of(events, "remembered")[0], of(events, "remembered")[-1]))
    assert of(events[first:last], "answered")
    await the_store_holds_everything(tmp_path / "store", contents)


async def every_memory_is_in_one_assembly(store: MemoryPersistence, memory_ids: Iterable[str]) -> None:
    members = Counter([member async for assembly in store.iter_assemblies() for member in assembly.members])
    assert members == Counter(list(memory_ids))


async def the_store_holds_everything(path: Path, contents: dict[str, str]) -> None:
    async with MemoryPersistence(path) as store:
        found = {memory.memory_id: memory.content async for memory in store.iter_memories()}
        assert found == contents
        await every_memory_is_in_one_assembly(store, contents)
        findings = await store.verify_consistency("full")
    assert not [finding for finding in findings if finding.severity != "note"]
