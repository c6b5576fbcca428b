"""A writer thread that is made to wait, so that a test decides what it finds when it goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from synthians_memory import MemoryPersistence
from synthians_memory.engine.session import Session


def session_of(store: MemoryPersistence) -> Session:
    session = store._session
    assert session is not None
    return session


@asynccontextmanager
async def stalled(store: MemoryPersistence) -> AsyncIterator[threading.Event]:
    """The writer of `store` waits until the block ends, or the event is set."""
    gate = threading.Event()
    waiting = asyncio.ensure_future(session_of(store).in_writer(gate.wait))
    await asyncio.sleep(0)
    try:
        yield gate
    finally:
        gate.set()
        await waiting


async def until_all_wait() -> None:
    """Let every task run until it waits for something else than its turn."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds, looking again and again."""
    while not condition():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.002)
