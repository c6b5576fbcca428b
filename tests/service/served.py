"""A store served from a thread of its own, as another process would, and clients of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from synthians_memory import MemoryPersistence
from synthians_memory.entrypoints.grpc_client import RemoteMemoryPersistence
from synthians_memory.entrypoints.grpc_server.server import Server
from synthians_memory.entrypoints.grpc_server.settings import ServiceSettings


@contextmanager
def served(make_store: Callable[[], MemoryPersistence], **settings: Any) -> Iterator[int]:
    """Serve a store from an event loop in a thread; gives the port. What opening raises is raised here."""
    opened: asyncio.Future[int] | Any = threading.Event()
    told: dict[str, Any] = {}

    async def serve() -> None:
        told["loop"], told["end"] = asyncio.get_running_loop(), asyncio.Event()
        async with make_store() as store, Server(store, ServiceSettings(**{"port": 0, **settings})) as server:
            told["port"] = server.port
            opened.set()
            await told["end"].wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            told["error"] = error
            opened.set()

    thread = threading.Thread(target=run)
    thread.start()
    opened.wait()
    try:
        if "error" in told:
            raise told["error"]
        yield told["port"]
    finally:
        if "port" in told:
            told["loop"].call_soon_threadsafe(told["end"].set)
        thread.join()
    if "error" in told:
        raise told["error"]


def remote_opener(path: Path) -> Callable[..., Any]:
    """Opens the store in `path` behind a service, and a client of it, as the conformance suite wants it."""

    @asynccontextmanager
    async def open_store(*, clock: Any = None, **settings: Any) -> AsyncIterator[RemoteMemoryPersistence]:
        serving = served(lambda: MemoryPersistence(path, clock=clock, **settings))
        port = await asyncio.to_thread(serving.__enter__)
        try:
            async with RemoteMemoryPersistence(f"127.0.0.1:{port}", clock=clock) as client:
                yield client
        finally:
            await asyncio.to_thread(serving.__exit__, None, None, None)

    return open_store
