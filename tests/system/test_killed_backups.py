"""Backups and restores killed with SIGKILL at random moments: every snapshot is whole, and no store is half."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fork_server import ForkServer

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.errors import UnsupportedFormatError
from synthians_memory.maintenance.care import snapshots_in
from synthians_memory.maintenance.restore import Wanted, restore_store
from synthians_memory.maintenance.snapshots import verify_snapshots
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import SystemClock

KILLS = 12
MANY_KILLS = 300
MEMORIES = 150

Contents = dict[str, str]


def contents_of(edition: int) -> Contents:
    """What the store holds in one edition: most of it as before."""
    return {f"m{n}": f"edition {edition if n % 10 == edition % 10 else 0} of m{n}" for n in range(MEMORIES)}


async def write(path: Path, edition: int) -> Contents:
    wanted = contents_of(edition)
    async with MemoryPersistence(path) as store:
        held = await contents(store)
        changed = [name for name, content in wanted.items() if held.get(name) != content]
        await store.save_memories_batch([MemoryEntry(memory_id=name, content=wanted[name]) for name in changed])
    return wanted


async def contents(store: MemoryPersistence) -> Contents:
    return {memory.memory_id: memory.content async for memory in store.iter_memories()}


async def contents_at(path: Path) -> Contents:
    async with MemoryPersistence(path) as store:
        assert not [finding for finding in await store.verify_consistency() if finding.severity != "note"]
        return await contents(store)


def restore(path: Path, to: Path, name: str, *, elsewhere: bool = False) -> None:
    with snapshots_in(str(to)) as folder:
        restore_store(lambda: LocalBackend(path, create=True), folder, Wanted(name), SystemClock(), elsewhere=elsewhere)


async def kill_backups(server: ForkServer, place: Path, kills: int, seed: int) -> int:
    """How many snapshots were done between the kills, each proved and restored."""
    rng, taken, states = Random(seed), {}, []
    for number in range(kills):
        states.append(await write(place / "store", number))
        done: list[Any] = []
        settings = {"path": str(place / "store"), "to": str(place / "to"), "full": rng.random() < 0.3}
        with closing(server.start("back_up", **settings)) as child:
            done += child.lines_for(rng.uniform(0.01, 0.15))
            child.kill()
            done += child.lines()
        named = [line["taken"] for line in done if "taken" in line]
        taken |= dict.fromkeys(named, number)
        if not (place / "to").is_dir():
            continue
        with snapshots_in(str(place / "to")) as folder:
            found = verify_snapshots(folder)
        assert all(info.whole for info in found), found
        assert set(named[-5:]) <= {info.name for info in found}
    for info in found:
        copy = place / info.name
        restore(copy, place / "to", info.name, elsewhere=True)
        edition = taken.get(info.name)
        assert await contents_at(copy) in ([states[edition]] if edition is not None else states)
    return len(taken)


async def kill_restores(server: ForkServer, place: Path, kills: int, seed: int) -> dict[str, int]:
    """What the store was after each kill: "old", "new" or "half", which nobody can open."""
    rng, outcomes = Random(seed), {"old": 0, "new": 0, "half": 0}
    states, names = {}, []
    for edition in (1, 2):
        state = await write(place / "store", edition)
        async with MemoryPersistence(place / "store") as store:
            names.append((await store.backup(place / "to")).snapshot.name)
        states[names[-1]] = state
    present = names[1]
    for number in range(kills):
        wanted = names[number % 2]
        with closing(server.start("restore", path=str(place / "store"), to=str(place / "to"), name=wanted)) as child:
            assert child.line() == {"begins": True}
            list(child.lines_for(rng.uniform(0, 0.2)))
            child.kill()
            list(child.lines())
        try:
            found = await contents_at(place / "store")
            outcomes["new" if found == states[wanted] else "old"] += 1
            assert found in (states[wanted], states[present])
        except UnsupportedFormatError as error:
            outcomes["half"] += 1
            assert "restore" in error.hint
        restore(place / "store", place / "to", wanted)
        assert await contents_at(place / "store") == states[wanted]
        present = wanted
    return outcomes


async def test_killed_backups_leave_whole_snapshots(fork_server: ForkServer, place: Path) -> None:
    assert await kill_backups(fork_server, place, KILLS, 1) > 0


async def test_killed_restores_leave_no_half_store(fork_server: ForkServer, place: Path) -> None:
    outcomes = await kill_restores(fork_server, place, KILLS, 2)
    assert sum(outcomes.values()) == KILLS


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_many_killed_backups_leave_whole_snapshots(fork_server: ForkServer, place: Path) -> None:
    done = await kill_backups(fork_server, place, MANY_KILLS, 3)
    print(f"{MANY_KILLS} kills of backups, {done} snapshots done, all whole")


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_many_killed_restores_leave_no_half_store(fork_server: ForkServer, place: Path) -> None:
    outcomes = await kill_restores(fork_server, place, MANY_KILLS, 4)
    print(f"{MANY_KILLS} kills of restores: {outcomes}")
