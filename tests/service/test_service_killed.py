"""Sixty-four clients at once, and the service is killed among them: nothing acknowledged is lost, and all go on."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_process import Serving
from typer.testing import CliRunner

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.entrypoints.cli.app import app
from synthians_memory.entrypoints.grpc_client import RemoteMemoryPersistence
from synthians_memory.errors import ServiceUnavailableError

CLIENTS = 64


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    assert CliRunner().invoke(app, ["--store", str(path), "init"]).exit_code == 0
    return path


@pytest.fixture
def lives(store: Path) -> Iterator[list[Serving]]:
    """The service's processes, one after the other; none outlives the test."""
    found = [Serving(store)]
    yield found
    for one in found:
        if one.process.poll() is None:
            one.kill()


class Clients:
    """What the clients were told: contents acknowledged, and how often the service was away."""

    def __init__(self, port: int, seconds: float) -> None:
        self._port = port
        self._seconds = seconds
        self.acknowledged: dict[str, str] = {}
        self.saves = 0
        self.away: Counter[int] = Counter()
        self.after_kill: Counter[int] = Counter()
        self.lives = 0

    async def run(self, number: int, ended: asyncio.Event) -> None:
        generator = random.Random(number)
        target = f"127.0.0.1:{self._port}"
        async with RemoteMemoryPersistence(target, retry_seconds=self._seconds, timeout=60) as remote:
            edition = 0
            while not ended.is_set():
                edition += 1
                size = generator.choice((1, 1, 1, 5))
                ids = [f"c{number:02}-{generator.randrange(8)}" for _ in range(size)]
                await self._save(remote, number, dict.fromkeys(ids, f"edition {edition} of client {number}"))

    async def _save(self, remote: RemoteMemoryPersistence, number: int, contents: dict[str, str]) -> None:
        entries = [MemoryEntry(memory_id=i, content=text, embedding=[1.0, number]) for i, text in contents.items()]
        while True:
            life = self.lives
            try:
                if len(entries) == 1:
                    await remote.save_memory(entries[0])
                else:
                    await remote.save_memories_batch(entries)
            except ServiceUnavailableError:
                self.away[number] += 1
                await asyncio.sleep(0.05)
                continue
            self.acknowledged.update(contents)
            self.saves += 1
            if life == self.lives:
                self.after_kill[number] += life > 0
            return


async def until(clients: Clients, saves: int) -> None:
    wanted = clients.saves + saves
    while clients.saves < wanted:  # noqa: ASYNC110 - other ends of connections
        await asyncio.sleep(0.01)


async def kill_and_restart(store: Path, lives: list[Serving], clients: Clients) -> None:
    """In the middle of calls: no client has one between its saves."""
    port = lives[-1].port
    await asyncio.to_thread(lives[-1].kill)
    known = dict(clients.acknowledged)
    lives.append(await asyncio.to_thread(Serving, store, port=port))
    clients.lives += 1
    # What was acknowledged before the kill is there, or something newer of the same client.
    async with RemoteMemoryPersistence(f"127.0.0.1:{port}") as remote:
        found = await remote.load_memories(known)
    lost = [i for i, text in known.items() if i not in found or edition_of(found[i].content) < edition_of(text)]
    assert lost == []


def edition_of(content: str) -> int:
    return int(content.split()[1])


@pytest.mark.parametrize(
    ("seconds", "kills", "saves"),
    [
        pytest.param(0.0, 1, 300, id="told"),
        pytest.param(30.0, 1, 300, id="repeated"),
        pytest.param(0.0, 12, 1500, id="told, many kills", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
        pytest.param(60.0, 12, 1500, id="repeated, many kills", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
async def test_nothing_acknowledged_is_lost(
    store: Path, lives: list[Serving], seconds: float, kills: int, saves: int
) -> None:
    ended = asyncio.Event()
    clients = Clients(lives[0].port, seconds)
    running = [asyncio.ensure_future(clients.run(number, ended)) for number in range(CLIENTS)]
    for _ in range(kills):
        await until(clients, saves)
        await kill_and_restart(store, lives, clients)
    await until(clients, saves)
    while len(+clients.after_kill) < CLIENTS:  # noqa: ASYNC110 - other ends of connections
        await asyncio.sleep(0.05)
    ended.set()
    await asyncio.gather(*running)
    assert await asyncio.to_thread(lives[-1].stop) == 0
    assert all(one.log[0]["event"] == "opened" for one in lives)
    if seconds:
        assert not clients.away
    else:
        assert len(clients.away) == CLIENTS
    async with MemoryPersistence(store) as there:
        assert {entry.memory_id: entry.content for entry in await there.load_all()} == clients.acknowledged
        assert [finding for finding in await there.verify_consistency() if finding.severity != "note"] == []
