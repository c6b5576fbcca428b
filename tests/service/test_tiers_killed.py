"""The service is killed among clients that store rows; other commands work beside it, or say who holds the store."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_process import Serving

from synthians_memory import MemoryPersistence
from synthians_memory.entrypoints.grpc_client import RemoteMemoryPersistence, RemoteTiers
from synthians_memory.errors import ServiceUnavailableError
from synthians_memory.tiers import Decision, Event, Goal, Tiers

CLIENTS = 8


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    assert command(path, "init").returncode == 0
    return path


@pytest.fixture
def serving(store: Path) -> Iterator[Serving]:
    """The service, which does not outlive the test."""
    found = Serving(store)
    yield found
    if found.process.poll() is None:
        found.kill()


def command(store: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "synthians_memory.entrypoints.cli", "--store", str(store), *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)


async def store_rows(port: int, number: int, acknowledged: set[str]) -> None:
    async with RemoteMemoryPersistence(f"127.0.0.1:{port}", retry_seconds=0, timeout=30) as client:
        tiers = RemoteTiers(client)
        for n in range(100_000):
            name = f"c{number}-{n}"
            try:
                await tiers.working.store_goal(Goal(id=name, description=f"goal {name}"))
                acknowledged.add(f"goals {name}")
                await tiers.working.log_decision(Decision(id=name, context=f"context {name}", chosen="this"))
                acknowledged.add(f"decisions {name}")
                await tiers.push_event(Event(id=name, category="test", source="client", critical=True))
                acknowledged.add(f"events {name}")
            except ServiceUnavailableError:
                return


async def test_every_acknowledged_row_is_there_and_has_its_memory(store: Path, serving: Serving) -> None:
    acknowledged: set[str] = set()
    clients = [asyncio.create_task(store_rows(serving.port, n, acknowledged)) for n in range(CLIENTS)]
    while len(acknowledged) < 150:  # noqa: ASYNC110 - other ends of connections
        await asyncio.sleep(0.01)
    await asyncio.to_thread(serving.kill)
    await asyncio.gather(*clients)
    async with MemoryPersistence(store) as opened, Tiers(opened) as tiers:
        goals = {f"goals {goal.id}" for goal in await tiers.working.get_active_goals()}
        events = {f"events {event.id}" for event in await tiers.working.get_events(10**6)}
        decisions = {key for key in acknowledged if key.startswith("decisions")}
        assert {key for key in acknowledged if key.startswith(("goals", "events"))} <= goals | events
        names = {f"decisions-{key.split()[1]}" for key in decisions}
        assert set(await opened.load_memories(names)) == names
        found = await tiers.longterm.semantic_search("context", ["decisions"], n_results=10**4)
        assert decisions <= {f"decisions {row.id}" for row in found}
        assert [f for f in await opened.verify_consistency() if f.severity != "note"] == []


def test_commands_beside_the_service(store: Path, serving: Serving) -> None:
    holder = str(serving.process.pid)
    for words in (("backup",), ("check",), ("health",), ("doctor",), ("list",), ("tiers", "goal"), ("tiers", "recent")):
        done = command(store, *words, "--json")
        assert done.returncode == 0, (words, done.stderr)
        assert words == ("list",) or json.loads(done.stdout)
    assert command(store, "report", "--out", str(store.parent / "report.html")).returncode == 0
    for words in (
        ("tiers", "goal", "Sort"),
        ("tiers", "migrate"),
        ("tiers", "push", "--category", "c", "--source", "x"),
    ):
        done = command(store, *words)
        assert done.returncode == 4, (words, done.stderr)
        assert holder in done.stderr
