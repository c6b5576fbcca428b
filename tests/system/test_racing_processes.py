"""Processes that race for one store: exactly one gets it, and the other is told who has it."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from fork_server import Child, ForkServer

from synthians_memory import MemoryPersistence

# Of each of both kinds; a hundred races in all.
PAIRS = 5
ROUNDS = 10


def start(server: ForkServer, stack: ExitStack, path: str, pair: int) -> list[Child]:
    """Two processes that will race for the same store in every round."""
    settings: dict[str, Any] = {"path": path, "rounds": ROUNDS}
    names = (f"{pair} left", f"{pair} right")
    return [stack.enter_context(closing(server.start("race", name=name, **settings))) for name in names]


def require_one_winner(racers: list[Child]) -> bool:
    """Whether the other one was told who has it, which on a busy machine may not be written down yet."""
    lines = [racer.line() or {} for racer in racers]
    winners = [racer for racer, line in zip(racers, lines, strict=True) if "won" in line]
    holders = [line["locked"] for line in lines if "locked" in line]
    assert len(winners) == len(holders) == 1, lines
    assert not holders[0] or holders[0].startswith(f"pid {winners[0].pid} on "), lines
    for racer in racers:
        racer.go()
    assert winners[0].line() == {"released": True}
    return bool(holders[0])


@pytest.mark.parametrize("fresh", [False, True], ids=["the same store", "a new store each time"])
async def test_one_of_two_processes_gets_the_store(fork_server: ForkServer, place: Path, fresh: bool) -> None:
    """Half of the hundred races are for stores that nobody has made yet."""
    with ExitStack() as stack:
        paths = [place / (f"pair {pair} {{}}" if fresh else f"pair {pair}") for pair in range(PAIRS)]
        pairs = [start(fork_server, stack, str(path), pair) for pair, path in enumerate(paths)]
        told = 0
        for _ in range(ROUNDS):
            for racers in pairs:
                for racer in racers:
                    racer.go()
            told += sum(require_one_winner(racers) for racers in pairs)
        assert told
        for racers in pairs:
            assert [racer.end() for racer in racers] == [0, 0]
    stores = [path for path in place.iterdir() if path.is_dir()]
    kept = 0
    for path in stores:
        async with MemoryPersistence(path) as store:
            kept += len(await store.list_memories())
    assert len(stores) == (ROUNDS if fresh else 1) * len(paths)
    assert kept == ROUNDS * len(paths)
