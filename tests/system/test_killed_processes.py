"""Processes killed with SIGKILL at random moments, again and again over one store: nothing acknowledged is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from acknowledged import Acknowledged
from editions import DIMENSION
from fork_server import ForkServer
from verdict import require_kept, seen_by_reader

KILLS = 15
MANY_KILLS = 400
# Small segments and frequent checkpoints, so that a kill is never far from one.
CONFIG: dict[str, Any] = {
    "embedding_dimension": DIMENSION,
    "segment_bytes": 32 * 1024,
    "checkpoint_interval": 0.03,
    "index_backup_count": 2,
    "backup_interval": 0.2,
}


MODES: dict[str, dict[str, Any]] = {
    "commit": {"durability": "commit"},
    "interval": {"durability": "interval"},
    "behind": {"write_mode": "behind"},
}


def moments(rng: Random) -> Iterator[tuple[int, float]]:
    """How many lines an opened store has said, and the seconds after that, at its kill; a part lies within recovery."""
    while True:
        yield (0, rng.uniform(0, 0.06)) if rng.random() < 0.4 else (rng.randrange(1, 300), rng.uniform(0, 0.03))


async def kill_again_and_again(
    server: ForkServer, path: Path, kills: int, seed: int, *, falling: bool = False, **config: Any
) -> Acknowledged:
    """The store at `path` after so many kills, with its history."""
    rng = Random(seed)
    history = Acknowledged()
    for life, (lines, seconds) in zip(range(1, kills + 1), moments(rng), strict=False):
        logged = rng.choice((0, 0.6, 100.0))
        settings: dict[str, Any] = {
            "path": str(path),
            "config": CONFIG | config,
            "seed": seed,
            "life": life,
            "logged": logged,
            "falling": falling,
            "waits": True,
        }
        with closing(server.start("work", **settings)) as child:
            assert child.line() == {"ready": True}
            child.go()
            history.note_all(islice(child.lines(), lines))
            history.note_all(child.lines_for(seconds))
            child.kill()
            history.note_all(child.lines())
        if rng.random() < 0.5:
            await require_kept(path, history)
        elif path.is_dir():
            # The next life begins where this one was cut off, so that one crash comes upon another.
            await require_kept(shutil.copytree(path, path.with_name(f"copy {life}")), history.copy())
            history.settle(await seen_by_reader(path))
    await require_kept(path, history)
    return history


@pytest.mark.parametrize("mode", MODES)
async def test_killed_processes_lose_nothing_acknowledged(fork_server: ForkServer, place: Path, mode: str) -> None:
    kills = KILLS if mode == "commit" else KILLS // 3
    history = await kill_again_and_again(fork_server, place / "store", kills, 1, **MODES[mode])
    assert history.operations > kills


async def test_killed_processes_whose_clock_goes_backwards_lose_nothing_acknowledged(
    fork_server: ForkServer, place: Path
) -> None:
    """By a day at each look, over all kills: no time that is stored says which write is the newer one."""
    history = await kill_again_and_again(fork_server, place / "store", KILLS // 2, 3, falling=True)
    assert history.operations > KILLS // 2


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", MODES)
async def test_many_killed_processes_lose_nothing_acknowledged(fork_server: ForkServer, place: Path, mode: str) -> None:
    history = await kill_again_and_again(fork_server, place / "store", MANY_KILLS, 2, **MODES[mode])
    print(f"{mode}: {MANY_KILLS} kills, {history.lives} lives, {history.operations} acknowledged operations, 0 lost")
