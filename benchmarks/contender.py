"""What a contender is: the few calls that a workload makes on a store, whatever the store.

It is not a store, and measures nothing.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.records import Record, Vector


class UnsupportedError(Exception):
    """The contender has no such call; the message says why."""


class Contender(ABC):
    """One store in one folder, used from one event loop.

    Items are what `prepare` makes of records before the clock runs: the values that a user of the store would hold.
    """

    durability: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    note: str = ""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.settings = settings

    def versions(self) -> dict[str, str]:
        """Of the packages that do the work."""
        return {name: _version(name) for name in self.packages}

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    def prepare(self, records: Sequence[Record]) -> list[Any]:
        """The items of these records; not measured."""

    @abstractmethod
    async def save(self, item: Any) -> None: ...

    @abstractmethod
    async def save_batch(self, items: Sequence[Any]) -> None: ...

    async def update(self, item: Any) -> None:
        """Replace what is stored under the item's id."""
        await self.save(item)

    async def update_batch(self, items: Sequence[Any]) -> None:
        await self.save_batch(items)

    async def fill(self, records: Sequence[Record]) -> None:
        """Store records by the fastest way that ends in the same store; not measured."""
        await self.save_batch(self.prepare(records))

    async def save_together(self, items: Sequence[Any], savers: int) -> None:
        """Save one by one, in `savers` loops at once."""

        async def saver(part: Sequence[Any]) -> None:
            for item in part:
                await self.save(item)

        await asyncio.gather(*(saver(items[i::savers]) for i in range(savers)))

    async def prepare_import(self, records: Sequence[Record]) -> Any:
        """What `import_all` takes; not measured."""
        return self.prepare(records)

    async def import_all(self, prepared: Any, chunk: int) -> None:
        """Bring many records in beside other work in the same event loop."""
        for first in range(0, len(prepared), chunk):
            await self.save_batch(prepared[first : first + chunk])

    async def settle(self) -> None:
        """Finish what was acknowledged and is still to be done; measured apart."""
        return

    @abstractmethod
    async def load(self, record_id: str) -> Any:
        """The memory, without its vector where the store can leave that out; None where there is none."""

    @abstractmethod
    async def delete(self, record_id: str) -> None: ...

    @abstractmethod
    async def search(self, vector: Vector, k: int, topic: str | None) -> list[str]:
        """The ids of the nearest under cosine, best first; of this topic only, where one is given."""

    async def search_many(self, vectors: Sequence[Vector], k: int) -> list[list[str]]:
        """What `search` finds for each; in one call where the store has one."""
        return [await self.search(vector, k, None) for vector in vectors]

    async def start_index(self) -> None:
        """Begin to make the index by which searches of many vectors are fast; nothing for a store that has none to make."""
        return

    def is_indexing(self) -> bool:
        """Whether that goes on."""
        return False

    async def check(self, level: str) -> int:
        """Look for damage, "quick" or "full"; returns the number of findings."""
        raise UnsupportedError("has no check")


class BlockingContender(Contender):
    """A store whose calls block: concurrent savers are threads, and an import is handed to a thread by chunks."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        super().__init__(folder, settings)
        self.turn = threading.Lock()

    @abstractmethod
    def put(self, items: Sequence[Any]) -> None:
        """Store new items, all of them in one call of the store where it has one."""

    @abstractmethod
    def get(self, record_id: str) -> Any: ...

    @abstractmethod
    def remove(self, record_id: str) -> None: ...

    @abstractmethod
    def find(self, vector: Vector, k: int, topic: str | None) -> list[str]: ...

    def replace(self, items: Sequence[Any]) -> None:
        """Store new versions of items."""
        self.put(items)

    async def save(self, item: Any) -> None:
        self.put([item])

    async def save_batch(self, items: Sequence[Any]) -> None:
        self.put(items)

    async def update(self, item: Any) -> None:
        self.replace([item])

    async def update_batch(self, items: Sequence[Any]) -> None:
        self.replace(items)

    async def save_together(self, items: Sequence[Any], savers: int) -> None:
        def saver(part: Sequence[Any]) -> None:
            for item in part:
                with self.turn:
                    self.put([item])

        await asyncio.to_thread(_in_threads, saver, [items[i::savers] for i in range(savers)])

    async def import_all(self, prepared: Any, chunk: int) -> None:
        for first in range(0, len(prepared), chunk):
            await asyncio.to_thread(self.put, prepared[first : first + chunk])

    async def load(self, record_id: str) -> Any:
        return self.get(record_id)

    async def delete(self, record_id: str) -> None:
        self.remove(record_id)

    async def search(self, vector: Vector, k: int, topic: str | None) -> list[str]:
        return self.find(vector, k, topic)


def _in_threads(work: Callable[[Sequence[Any]], None], parts: Sequence[Sequence[Any]]) -> None:
    with ThreadPoolExecutor(len(parts)) as threads:
        list(threads.map(work, parts))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed as a package"
